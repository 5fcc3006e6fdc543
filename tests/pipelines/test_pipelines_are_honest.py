"""Laws of the graph: who may see a label, what passes between rounds, and that parameters arrive typed."""

from __future__ import annotations

import typing

import yaml
from pydantic import BaseModel

from conftest import ROOT
from rlmba_pipelines.benchmark import pipeline as benchmark
from rlmba_pipelines.benchmark.runs import OF_A_RUN
from rlmba_pipelines.config import Parameters
from rlmba_pipelines.rounds.parameters import BLOCK_FILES
from rlmba_pipelines.rounds.unroll import CARRIED, SHARED, build_final, build_round, stage_name, unroll


def _readers(dataset: str) -> set[str]:
    return {node.name for node in unroll(3).nodes if dataset in node.inputs}


def test_hidden_labels_are_asked_for_by_the_purchase_alone() -> None:
    assert _readers("answers") == {f"round_{k:02d}.buy_labels" for k in range(4)} | {"simulate_reference"}


def test_test_labels_are_read_by_evaluation_alone() -> None:
    assert _readers("test_labels") == {
        "round_01.measure_test",
        "round_02.measure_test",
        "round_03.measure_test",
        "final.measure_test",
        "simulate_reference",
    }


def test_the_reference_is_simulated_with_all_that_a_run_hangs_on_but_its_features() -> None:
    (reference,) = (node for node in unroll(1).nodes if node.name == "simulate_reference")
    assert {f"params:{block}" for block in OF_A_RUN} - set(reference.inputs) == {"params:ingest", "params:encoders"}


def test_test_metrics_reach_the_report_and_nothing_else() -> None:
    for stage in ("round_01", "round_02", "round_03", "final"):
        assert _readers(f"{stage}.test_metrics") == {"collect_history"}


def test_the_table_that_still_holds_all_labels_never_leaves_ingest() -> None:
    assert _readers("readable") == {"divide_samples"}


def test_a_round_reads_of_the_round_before_only_what_is_carried() -> None:
    for stage in (build_round(3), build_final(2)):
        outside = {name for name in stage.inputs() if not name.startswith("params:")}
        assert outside - set(SHARED) <= {f"round_02.{source}" for source in CARRIED.values()}


def test_every_stage_lives_in_its_own_namespace() -> None:
    for k in range(3):
        assert {node.namespace for node in build_round(k).nodes} == {stage_name(k)}


def test_every_parameter_input_arrives_as_its_typed_block() -> None:
    untyped = []
    for node in [*unroll(1).nodes, *benchmark.create_pipeline().nodes]:
        hints = typing.get_type_hints(node.func)
        names = list(hints)
        for position, dataset in enumerate(node.inputs):
            if dataset.startswith("params:") and position < len(names):
                kind = hints[names[position]]
                block = type(getattr(Parameters(), dataset.removeprefix("params:")))
                if not (isinstance(kind, type) and issubclass(kind, BaseModel) and kind is block):
                    untyped.append((node.name, dataset, kind))
    assert untyped == []


def test_the_yaml_files_and_the_defaults_say_the_same() -> None:
    found: dict = {}
    for path in sorted((ROOT / "conf/base").glob("parameters_*.yml")):
        for block, values in yaml.safe_load(path.read_text()).items():
            assert f"parameters_{BLOCK_FILES[block]}.yml" == path.name
            found[block] = values
    assert Parameters(**found) == Parameters()
    defaults = Parameters().model_dump(mode="json")
    assert {block: set(values) for block, values in found.items()} == {
        block: set(defaults[block]) for block in BLOCK_FILES
    }


def test_every_dataset_of_the_graph_is_persisted_or_meant_to_stay_in_memory() -> None:
    catalog = {}
    for path in sorted((ROOT / "conf/base").glob("catalog_*.yml")):
        catalog.update(yaml.safe_load(path.read_text()))
    roles = {name.removeprefix("{stage}.") for name in catalog}
    in_memory = {
        name
        for name in unroll(2).datasets()
        if not name.startswith("params:") and name.partition(".")[2 if "." in name else 0] not in roles
    }
    assert in_memory == {"readable", "facts", "gallery"}


def test_no_dataset_of_the_catalog_can_unpickle() -> None:
    for path in (ROOT / "conf").rglob("catalog*.yml"):
        assert "pickle" not in path.read_text().lower()

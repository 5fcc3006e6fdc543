"""The whole benchmark, small: through Kedro, from a set on the disk to the page; stopped and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from conftest import ROOT, SMALL, Project
from rlmba_pipelines.benchmark.protocol import ALL_LABELS, Protocol

RUNS = "data/08_reporting/benchmark/runs"
ASKED = ("experiment=bench", "benchmark.workers=1")
SMOKE = "benchmark.plan=smoke"


@pytest.fixture
def benchmarked(project: Project, media: Callable[..., Path]) -> Project:
    manifest = media(100, ("image", "text"))
    project.ok("rounds", "run", "--manifest", str(manifest), "--experiment", "bench-small", "--last", "0", *SMALL)
    path = project.path / "conf" / "benchmark" / "protocol.yml"
    protocol = yaml.safe_load(path.read_text())
    protocol["sets"] = {"small": {"manifest": "m.csv", "family": "f", "start_size": 12, "query_size": 8, "rounds": 2}}
    protocol["standard_sets"] = ["small"]
    protocol["seeds"]["reported"] = [1000, 1001]
    protocol["candidates"] = 30
    protocol["controls"] = {"noise": {"data": {"label_noise": 0.2}}}
    protocol["control_strategies"] = ["random", "rl_mba"]
    path.write_text(yaml.safe_dump(protocol))
    (project.path / "docs").mkdir(exist_ok=True)
    return project


def run(project: Project, *asked: str) -> None:
    project.ok("run", "--pipelines=benchmark", "--params", ",".join((*ASKED, *asked)))


def test_a_benchmark_measures_compares_and_goes_on_where_it_stopped(benchmarked: Project) -> None:
    run(benchmarked, SMOKE)
    runs = pd.read_csv(benchmarked.path / "data/08_reporting/benchmark/runs.csv")
    assert set(runs["strategy"]) == {"random", "margin", "rl_mba", ALL_LABELS}
    assert sorted(set(runs["seed"])) == [1000, 1001]
    curves = runs[runs["strategy"] != ALL_LABELS]
    assert (curves.groupby(["strategy", "seed"])["labels"].apply(list).map(tuple) == (12, 20, 28)).all()
    whole = runs[runs["strategy"] == ALL_LABELS]["labels"]
    assert (whole > 30).all()  # of the pool, not of the candidates of a round
    first = curves[curves["labels"] == 12].groupby("seed")["accuracy"].nunique()
    assert (first == 1).all()  # every strategy begins with the same labels and the same model
    page = (benchmarked.path / "docs/benchmarks.md").read_text()
    assert "**rl_mba minus random**" in page
    found = json.loads((benchmarked.path / "docs/benchmarks.json").read_text())
    assert {row["strategy"] for row in found["against_reference"]} == {"random", "margin", "rl_mba"}

    files = sorted((benchmarked.path / RUNS).rglob("*.json"))
    kept = {path: path.stat().st_mtime_ns for path in files[1:]}
    before = json.loads(files[0].read_text())
    files[0].unlink()
    run(benchmarked, SMOKE)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # run once
    assert json.loads(files[0].read_text())["curve"] == before["curve"]  # and the same again

    # one control alone, beside what is on file in all its seeds
    (benchmarked.path / RUNS / "small/main/margin/1001.json").unlink()
    run(benchmarked, "benchmark.sets=[small]", "benchmark.conditions=[noise]", "benchmark.strategies=[random]")
    runs = pd.read_csv(benchmarked.path / "data/08_reporting/benchmark/runs.csv")
    shown = set(runs[["condition", "strategy"]].itertuples(index=False, name=None))
    assert shown == {("noise", "random"), ("main", "random"), ("main", "rl_mba"), ("main", ALL_LABELS)}
    page = (benchmarked.path / "docs/benchmarks.md").read_text()
    assert "| noise | small | random |" in page
    assert "--conditions noise --strategies random" in page
    asked = (*ASKED, "benchmark.sets=[small]", "benchmark.conditions=[nise]")
    sentence = benchmarked.refused("run", "--pipelines=benchmark", "--params", ",".join(asked))
    assert "'nise'" in sentence


def test_a_set_that_is_not_prepared_is_named_with_what_to_do(project: Project) -> None:
    sentence = project.refused("run", "--pipelines=benchmark", "--params", "experiment=bench")
    assert "'emoji-70'" in sentence
    assert "make bench" in sentence


def test_a_set_without_test_samples_is_refused_before_any_run(benchmarked: Project) -> None:
    labels = benchmarked.path / "data/03_primary/bench-small/test_labels.parquet"
    pd.read_parquet(labels).iloc[:0].to_parquet(labels)
    asked = (*ASKED, SMOKE)
    sentence = benchmarked.refused("run", "--pipelines=benchmark", "--params", ",".join(asked))
    assert "No sample of the set 'small' has the split 'test'" in sentence
    assert not (benchmarked.path / RUNS).exists()


def test_the_protocol_is_read_whole_and_its_seeds_never_overlap() -> None:
    protocol = Protocol.read(ROOT)
    tuning, pretraining, reported = protocol.seeds.tuning, protocol.seeds.pretraining, protocol.seeds.reported
    assert tuning[1] < pretraining[0] <= pretraining[1] < reported[0]
    assert reported[1] - reported[0] + 1 >= 20
    modalities = dict.fromkeys(protocol.sets, ("image", "text"))
    cells = protocol.cells("full", list(protocol.sets), modalities)
    assert len(cells) == len(set(cells))
    strategies = {cell.strategy for cell in cells}
    assert {"unimodal:text:badge", "rank_aggregation", "rl_mba_published", "uncertainty_herding"} <= strategies
    system = [cell for cell in cells if cell.condition == "system" and cell.strategy == "rl_mba"]
    assert all(protocol.parameters(cell)["balance"]["enter_fusion"] for cell in system)
    ours = [cell for cell in cells if cell.strategy == "uherding_our_kernels" and cell.condition == "main"]
    form = {"name": "fixed", "fused_uncertainty": 1.0, "exponent": 1.0, "rarity": 0.0}  # UHerding's
    assert all(protocol.parameters(cell)["policy"] == form for cell in ours)
    assert all("strategy" not in protocol.parameters(cell)["rounds"] for cell in ours)
    assert {cell.condition for cell in cells} == {"main", *protocol.controls}

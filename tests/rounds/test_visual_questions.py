"""Active-VLM on the same loop: rounds, people, going on after a kill, the report."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import Project
from fake_label_studio import LEGACY, FakeLabelStudio
from rlmba_pipelines.config import Parameters
from rlmba_pipelines.labeling import SimulatedOracle
from rlmba_pipelines.labeling.label_studio import Client
from rlmba_pipelines.learning.vlm.choices import lettered
from rlmba_pipelines.learning.vlm.scenes import ANSWERS, Knobs
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.models.vlm.state import base_folder, load_base
from rlmba_pipelines.pipelines.vlm_ingest.nodes import reader
from rlmba_pipelines.rounds import desk as desks
from rlmba_pipelines.rounds.commits import PREPARED, Experiment, read_object, read_table
from rlmba_pipelines.rounds.parameters import merged
from rlmba_pipelines.simulation import questions
from rlmba_pipelines.simulation.question_rounds import QuestionRound, QuestionTask, simulate_questions
from rlmba_pipelines.sources.scenes import write_scenes

KNOBS = Knobs(images=16, validation_images=4, test_images=2, questions=3)
FAST = (
    "system: active_vlm\n"
    "vlm: {base_steps: 4, min_steps: 4, epochs: 0.01, chains: 2, max_tokens: 24, predict_batch_size: 64}\n"
)


@pytest.fixture
def asked(project: Project, tmp_path: Path) -> tuple[Project, Path]:
    """A project whose models learn next to nothing, and 48 questions in the pool."""
    (project.path / "conf" / "vqa" / "parameters_vlm.yml").write_text(FAST)
    write_scenes(tmp_path / "scenes", KNOBS)
    return project, tmp_path / "scenes" / "questions.jsonl"


def _run(project: Project, manifest: Path, *more: str, experiment: str = "q") -> str:
    sizes = ("--rounds", "1", "--start-size", "10", "--query-size", "6")
    return project.ok(
        "rounds", "run", "--env", "vqa", "--manifest", str(manifest), "--experiment", experiment, *sizes, *more
    )


def _nobody_has_answered(
    project: Project, manifest: Path, classes: Sequence[str] = ANSWERS
) -> dict[str, dict[str, Any]]:
    """The pool without answers and chains, which are given back by id."""
    truth = {row["id"]: row for row in map(json.loads, manifest.read_text().splitlines())}
    unanswered = [
        {**row, "answer": None, "chain": None, "regions": None} if row["split"] == "pool" else row
        for row in truth.values()
    ]
    manifest.write_text("\n".join(map(json.dumps, unanswered)))
    rounds = project.path / "conf" / "vqa" / "parameters_rounds.yml"
    rounds.write_text(f"{rounds.read_text()}  classes: {json.dumps(classes)}\n")
    return truth


def _start_sheet(project: Project) -> pd.DataFrame:
    """What people fill in for the start batch of experiment ``q``."""
    (sheet,) = (project.path / "data/07_model_output/q").glob("round_00/annotation_sheet.csv/*/*.csv")
    return pd.read_csv(sheet, dtype=str, keep_default_na=False)


def _table(project: Project, experiment: str, layer: str, stage: str, name: str) -> pd.DataFrame:
    (path,) = (project.path / "data" / layer / experiment / stage / name).glob(f"*/{name}")
    return pd.read_parquet(path)


def test_rounds_of_questions_are_bought_measured_and_shown(asked: tuple[Project, Path]) -> None:
    project, manifest = asked
    project.drawn = True
    told = _run(project, manifest)
    assert "lineage  KEDRO_ENV=vqa RLMBA_EXPERIMENT=q RLMBA_ROUNDS=1 make viz" in told
    truth = {row["id"]: row for row in map(json.loads, manifest.read_text().splitlines())}
    with Ledger(project.path / "data/03_primary/q/ledger.sqlite") as ledger:
        bought = ledger.rows()
    assert len(bought) == 16
    for sample_id, label, explanation in bought[["sample_id", "label", "explanation"]].itertuples(index=False):
        told = truth[sample_id]
        assert label == told["answer"]
        assert (json.loads(explanation)["chain"] if explanation else []) == told["chain"]
    samples = pd.read_parquet(project.path / "data/03_primary/q/samples.parquet")
    assert "explanation" not in samples
    assert not samples.loc[samples["split"] == "pool", "meta_scene"].astype(bool).any()  # it tells the answers

    terms = _table(project, "q", "07_model_output", "round_01", "terms.parquet")
    assert {"visual", "language", "reasoning", "boundary", "depth"} <= set(terms)
    assert (terms[["visual", "language", "reasoning"]] >= 0).all(axis=None)
    batch = _table(project, "q", "07_model_output", "round_01", "annotation_batch.parquet")
    assert len(batch) == 6
    assert "proposed_chain" in batch
    (path,) = (project.path / "data/08_reporting/q/final/test_metrics.json").glob("*/test_metrics.json")
    measured = json.loads(path.read_text())
    assert measured["n"] == 6  # the ordinary set alone
    assert {"constant", "set_unseen", "set_noise", "set_shortcut"} <= set(measured)
    assert {"chain_valid", "hallucination", "attention_in_region", "pointing"} <= set(measured)
    page = (project.path / "data/08_reporting/q/report.html").read_text()
    assert "Where the model looked" in page
    assert "What the model thought" in page
    assert "kedro rounds run --env vqa --strategy active_vlm" in page
    assert 'id="questions"' in page


def test_a_second_run_and_one_that_goes_on_buy_the_same(asked: tuple[Project, Path]) -> None:
    project, manifest = asked
    _run(project, manifest, experiment="whole")
    project.ok(
        "rounds", "run", "--env", "vqa", "--manifest", str(manifest), "--experiment", "torn", "--last", "0",
        "--rounds", "1", "--start-size", "10", "--query-size", "6",
    )
    project.ok("rounds", "run", "--rounds", "1", "--experiment", "torn")  # knows its environment
    for stage in ("round_00", "round_01"):
        one, other = (
            _table(project, name, "07_model_output", stage, "selection.parquet") for name in ("whole", "torn")
        )
        pd.testing.assert_frame_equal(one, other)
    assert "whole" in project.ok("rounds", "verify", "--experiment", "whole")


def _in_memory(project: Project, manifest: Path, changes: dict[str, Any]) -> list[QuestionRound]:
    """The rounds that ``_run`` has run, again in memory."""
    experiment, told = Experiment.of(project.path, "q"), dict[str, Any]()
    for path in sorted((project.path / "conf" / "vqa").glob("parameters_*.yml")):
        told = merged(told, yaml.safe_load(path.read_text()))
    sizes = {"rounds": 1, "start_size": 10, "query_size": 6}
    p = Parameters(**merged(merged(told, {"rounds": sizes}), changes))

    names = ("samples", "validation_labels", "test_labels", "answers")
    samples, validation, test, hidden = (read_table(experiment.path_of(PREPARED, name)) for name in names)
    setup = read_object(experiment.path_of(PREPARED, "setup"))
    base = load_base(base_folder(p.vlm, project.path / "data/06_models/vlm_base"), p.vlm)
    read = reader(manifest, p.ingest)
    ids = np.sort(samples["sample_id"].to_numpy(dtype=str))
    features = questions.encode_questions(base, questions.questions_of(samples, ids, read), p.vlm, "base")
    task = QuestionTask(base, features, samples, validation, test, tuple(setup["classes"]), p, read)
    oracle = SimulatedOracle(lambda wanted: hidden[hidden["sample_id"].isin(wanted)])
    return list(simulate_questions(task, oracle.label))


@pytest.mark.parametrize("policy", ["vlm_stages", "reinforce"])
def test_rounds_in_memory_buy_what_kedro_buys_under_any_policy(asked: tuple[Project, Path], policy: str) -> None:
    project, manifest = asked
    _run(project, manifest, "--params", f"policy.name={policy},rounds.candidates=20")
    first, last = _in_memory(project, manifest, {"policy": {"name": policy}, "rounds": {"candidates": 20}})

    chosen = [_table(project, "q", "07_model_output", stage, "selection.parquet") for stage in ("round_00", "round_01")]
    assert set(first.labels["sample_id"]) == set(chosen[0]["sample_id"])
    assert first.batch["sample_id"].tolist() == chosen[1]["sample_id"].tolist()
    setup = read_object(Experiment.of(project.path, "q").path_of(PREPARED, "setup"))
    seen = read_object(Experiment.of(project.path, "q").path_of("round_01", "round_state_next"))["observed"]
    assert seen["spent"] == (10 + setup["n_validation"]) / setup["n_pool"]  # of the pool, not of the candidates
    (path,) = (project.path / "data/08_reporting/q/final/test_metrics.json").glob("*/test_metrics.json")
    measured = json.loads(path.read_text())
    assert last.test.items() <= measured.items()
    of_modalities = {f"{what}_{name}" for what in ("accuracy", "shapley") for name in ("image", "text")}
    assert measured.keys() - last.test.keys() == {*of_modalities, "worst_modality", "imbalance"}


@pytest.mark.parametrize("limit", ["budget", "max_cost"])
def test_rounds_in_memory_stop_where_kedro_stops_and_measure_on_the_slice_that_was_bought(
    asked: tuple[Project, Path], limit: str
) -> None:
    project, manifest = asked
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows = [row | {"split": "pool"} if row["split"] == "validation" else row for row in rows]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    _run(project, manifest, "--rounds", "3", "--params", f"rounds.{limit}=13,ingest.validation_share=0")
    first, last = _in_memory(project, manifest, {"rounds": {"rounds": 3, limit: 13}})

    chosen = _table(project, "q", "07_model_output", "round_01", "selection.parquet")
    assert first.batch["sample_id"].tolist() == chosen["sample_id"].tolist()
    assert (len(first.batch), len(last.batch), len(last.labels)) == (3, 0, 13)
    for stage, result in (("round_01", first), ("final", last)):
        (path,) = (project.path / f"data/08_reporting/q/{stage}/validation_metrics.json").glob("*/*.json")
        assert result.validation == json.loads(path.read_text())
        assert result.validation["n"] == (result.labels["purpose"] == "validation").sum()


def test_people_answer_with_chains_of_their_own_in_files_and_on_a_server(
    asked: tuple[Project, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, manifest = asked
    truth = _nobody_has_answered(project, manifest)
    _run(project, manifest)
    table = _start_sheet(project)
    assert set(table["explanation"]) == {""}  # its column waits to be filled in
    project.ok("rounds", "export", str(tmp_path), "--experiment", "q")
    exported = pd.read_csv(tmp_path / "q-round_00.csv", dtype=str, keep_default_na=False)
    assert list(exported.columns[:3]) == ["sample_id", "label", "explanation"]
    table["label"] = [truth[i]["answer"] for i in table["sample_id"]]
    table["explanation"] = ["; ".join(truth[i]["chain"]) for i in table["sample_id"]]
    answers = tmp_path / "answers.csv"
    table.to_csv(answers, index=False)
    project.ok("rounds", "import", str(answers), "--by", "ann", "--experiment", "q")

    server = FakeLabelStudio()
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY)
    monkeypatch.setattr(desks, "Client", functools.partial(Client, transport=server.transport))
    project.ok("rounds", "push", "--experiment", "q")
    batch = _table(project, "q", "07_model_output", "round_01", "annotation_batch.parquet").set_index("sample_id")
    assert len(server.tasks()) == len(batch)
    for task in server.tasks():
        row = batch.loc[task["data"]["sample_id"]]
        shown = f"The model would say: {row['proposed_chain']}" if row["proposed_chain"] else ""
        assert task["data"]["proposed"] == (shown if row["purpose"] == "training" else "")
        server.say(row.name, truth[row.name]["answer"], why="; ".join(truth[row.name]["chain"]))
    assert all('name="explanation"' in project["label_config"] for project in server.projects.values())
    project.ok("rounds", "pull", "--experiment", "q")
    with Ledger(project.path / "data/03_primary/q/ledger.sqlite") as ledger:
        rows = ledger.rows()
    assert len(rows) == 16
    chains = rows.set_index("sample_id")["explanation"].to_dict()
    assert chains == {i: "; ".join(truth[i]["chain"]) for i in chains}
    assert np.sum([bool(chain) for chain in chains.values()]) > 10


def test_a_withdrawn_question_is_forgotten_with_its_chains(asked: tuple[Project, Path]) -> None:
    project, manifest = asked
    _run(project, manifest)
    batch = _table(project, "q", "07_model_output", "round_01", "annotation_batch.parquet")
    gone = str(batch["sample_id"].iloc[0])
    project.ok("rounds", "withdraw", gone, "--reason", "asked to", "--experiment", "q")
    labels = _table(project, "q", "03_primary", "round_01", "labels_next.parquet").set_index("sample_id")
    assert labels.loc[gone, ["label", "explanation"]].tolist() == ["(withdrawn)", ""]
    for layer, name in (("07_model_output", "proposals.parquet"), ("07_model_output", "terms.parquet")):
        assert gone not in set(_table(project, "q", layer, "round_01", name)["sample_id"])
    shown = _table(project, "q", "07_model_output", "round_01", "annotation_batch.parquet").set_index("sample_id")
    assert shown.loc[gone, ["image", "text", "guess", "proposed_chain"]].tolist() == [""] * 4
    assert "visual questions" in project.refused("rounds", "bundle", "--experiment", "q")


def test_questions_with_choices_are_answered_by_a_letter_or_by_the_choice(
    asked: tuple[Project, Path], tmp_path: Path
) -> None:
    project, manifest = asked
    truth = {row["id"]: row for row in map(json.loads, manifest.read_text().splitlines())}
    for i, row in enumerate(truth.values()):
        row["choices"] = [f"not {row['answer']}", row["answer"], "neither", "both"][i % 2 : 3 + i % 3]
    unanswered = [row | {"answer": None} if row["split"] == "pool" else row for row in truth.values()]
    manifest.write_text("\n".join(map(json.dumps, unanswered)))
    _run(project, manifest)
    table = _start_sheet(project)
    for row in table.itertuples():
        assert row.text.endswith(f"? {lettered(truth[row.sample_id]['choices'])}")
    table["label"] = [truth[i]["answer"] for i in table["sample_id"]]
    first, wrong = table["sample_id"].iloc[:2]
    letter = "AB"[truth[first]["choices"].index(truth[first]["answer"])]
    table.loc[:1, "label"] = [f"({letter.lower()})", "perhaps"]
    table.to_csv(tmp_path / "answers.csv", index=False)
    told = project.ok("rounds", "import", str(tmp_path / "answers.csv"), "--by", "ann", "--experiment", "q")
    assert f"'perhaps' is none of the choices of '{wrong}', or several; write one" in " ".join(told.split())
    with Ledger(project.path / "data/03_primary/q/ledger.sqlite") as ledger:
        labels = ledger.rows().set_index("sample_id")["label"]
    assert labels.to_dict() == {
        i: "AB"[truth[i]["choices"].index(truth[i]["answer"])] for i in table["sample_id"] if i != wrong
    }
    project.ok("rounds", "close", "--experiment", "q")
    batch = _table(project, "q", "07_model_output", "round_01", "annotation_batch.parquet")
    for row in batch.itertuples():
        assert row.guess in "ABCD"[: len(truth[row.sample_id]["choices"])]


def test_open_questions_take_any_answer_and_are_measured_on_all_that_the_split_has(
    asked: tuple[Project, Path], tmp_path: Path
) -> None:
    project, manifest = asked
    truth = _nobody_has_answered(project, manifest, classes=())
    _run(project, manifest)
    table = _start_sheet(project)
    table["label"] = ["disc", "yes", *["no"] * 8]
    table.to_csv(tmp_path / "answers.csv", index=False)
    told = project.ok("rounds", "import", str(tmp_path / "answers.csv"), "--by", "ann", "--experiment", "q")
    assert "10 new answers taken" in told, told
    (path,) = (project.path / "data/08_reporting/q/round_01/validation_metrics.json").glob("*/*.json")
    measured = json.loads(path.read_text())
    answers = [row["answer"] for row in truth.values() if row["split"] == "validation"]
    assert (measured["n"], measured["n_classes"]) == (len(answers), 3)
    assert measured["n_unknown"] == sum(answer not in ("yes", "no") for answer in answers) > 0
    assert measured["accuracy"] <= 1 - measured["n_unknown"] / len(answers)

    batch = _table(project, "q", "07_model_output", "round_01", "annotation_batch.parquet")
    batch[["sample_id"]].assign(label="a word of its own").to_csv(tmp_path / "more.csv", index=False)
    told = project.ok("rounds", "import", str(tmp_path / "more.csv"), "--by", "ann", "--experiment", "q")
    assert "6 new answers taken" in told, told


def test_a_question_without_its_image_is_set_aside(asked: tuple[Project, Path]) -> None:
    project, manifest = asked
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[0]["image"], rows[4]["image"] = "gone.png", "torn.png"
    (manifest.parent / "torn.png").write_bytes((manifest.parent / rows[1]["image"]).read_bytes()[:60])
    manifest.write_text("\n".join(map(json.dumps, rows)))
    sizes = ("--rounds", "1", "--start-size", "10", "--query-size", "6", "--experiment", "q")
    told = project.refused("rounds", "run", "--env", "vqa", "--manifest", str(manifest), *sizes)
    assert "--max-bad-media" in told
    _run(project, manifest, "--max-bad-media", "10%")
    found = project.path / "data/02_intermediate/q/quarantine.csv"
    samples = pd.read_parquet(project.path / "data/03_primary/q/samples.parquet")
    assert not {rows[0]["id"], rows[4]["id"]} & set(samples["sample_id"])
    assert len(samples) == len(rows) - 2
    assert set(pd.read_csv(found)["sample_id"]) == {rows[0]["id"], rows[4]["id"]}


def test_a_chain_that_is_too_long_can_be_shortened_or_given_more_room(
    asked: tuple[Project, Path], tmp_path: Path
) -> None:
    project, manifest = asked
    truth = _nobody_has_answered(project, manifest)
    _run(project, manifest)
    table = _start_sheet(project)
    table["label"] = [truth[i]["answer"] for i in table["sample_id"]]
    table.loc[0, "explanation"] = "; ".join(["shape red circle"] * 9)
    answers = tmp_path / "answers.csv"
    table.to_csv(answers, index=False)
    told = project.refused("rounds", "import", str(answers), "--by", "ann", "--experiment", "q")
    assert "more than vlm.max_tokens (24)" in told
    table.loc[0, "explanation"] = "shape red circle"
    table.to_csv(answers, index=False)
    told = project.ok("rounds", "import", str(answers), "--by", "ann", "--correct", "--experiment", "q")
    assert "1 corrected" in told, told
    with Ledger(project.path / "data/03_primary/q/ledger.sqlite") as ledger:
        rows_now = ledger.rows().set_index("sample_id")
    assert rows_now.loc[table["sample_id"].iloc[0], "explanation"] == "shape red circle"
    assert rows_now["cost"].sum() == len(table)
    project.ok("rounds", "run", "--experiment", "q", "--params", "vlm.max_tokens=40")  # is no other experiment


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"question": " "}, "the question of 'pool_00000_0' is empty"),
        ({"choices": ["a", "b"]}, "is not among the choices"),
        ({"regions": [[0.9, 0, 0.5, 0.1]], "chain": ["x"]}, "leaves the image"),
        ({"chain": ["shape red circle"] * 40}, "more than vlm.max_tokens"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(
    asked: tuple[Project, Path], change: dict[str, object], words: str
) -> None:
    project, manifest = asked
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for row in rows[: 48 if "chain" in change and "regions" not in change else 1]:
        row |= {"regions": []} | change
    manifest.write_text("\n".join(map(json.dumps, rows)))
    result = project(
        "rounds", "run", "--env", "vqa", "--manifest", str(manifest), "--experiment", "q", "--rounds", "1",
        "--start-size", "10", "--query-size", "6",
    )
    assert result.exit_code != 0
    assert words in result.output
    assert "Traceback" not in result.output

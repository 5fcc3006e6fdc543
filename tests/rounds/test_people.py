"""Cold start: nobody knows a label yet, and people answer through files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from conftest import Project
from rlmba_pipelines.ledger import Ledger

OPTIONS = ("--start-size", "20", "--query-size", "10", "--rounds", "2", "--experiment", "a")


def _truth(manifest: Path) -> dict[str, str]:
    """Labels that people would give; they stand in no file that the run can read."""
    colors = ("red", "green", "blue", "gray")
    return {s: colors[i % 4] for i, s in enumerate(pd.read_csv(manifest, dtype=str)["sample_id"])}


def _sheet(project: Project, stage: str) -> Path:
    return next(
        (project.path / "data/07_model_output/a" / stage / "annotation_sheet.csv").glob("*/annotation_sheet.csv")
    )


def _fill(project: Project, stage: str, truth: dict[str, str], rows: slice = slice(None)) -> Path:
    sheet = pd.read_csv(_sheet(project, stage), dtype=str, keep_default_na=False)
    sheet["label"] = sheet["sample_id"].map(truth)
    path = project.path / f"{stage}.csv"
    sheet[rows].to_csv(path, index=False, encoding="utf-8-sig", lineterminator="\r\n")
    return path


def test_an_unlabeled_pool_is_labeled_round_by_round_through_files(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = media(100, labeled=False, split=False)
    truth = _truth(manifest)
    output = project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    assert "20 samples of round 0 wait for labels" in output
    assert "kedro rounds import FILE --experiment a" in output
    assert "(0/20 answered)" in project.ok("rounds", "status", "--experiment", "a")

    half = _fill(project, "round_00", truth, slice(0, 9))
    assert "9 new answers taken, 0 rows not taken, 11 samples still open" in project.ok(
        "rounds", "import", str(half), "--experiment", "a"
    )
    assert "0 new answers taken" in project.ok("rounds", "import", str(half), "--experiment", "a")
    assert "(9/20 answered)" in project.ok("rounds", "status", "--experiment", "a")

    output = project.ok("rounds", "import", str(_fill(project, "round_00", truth)), "--experiment", "a")
    assert "10 samples of round 1 wait for labels" in output
    output = project.ok("rounds", "import", str(_fill(project, "round_01", truth)), "--experiment", "a")
    assert "10 samples of round 2 wait for labels" in output
    assert "report" in project.ok("rounds", "import", str(_fill(project, "round_02", truth)), "--experiment", "a")

    with Ledger(project.path / "data/03_primary/a/ledger.sqlite") as ledger:
        rows = ledger.rows()
    assert len(rows) == 40
    assert rows.groupby("round")["purpose"].value_counts().to_dict() == {
        (0, "training"): 16,
        (0, "validation"): 4,
        (1, "training"): 8,
        (1, "validation"): 2,
        (2, "training"): 10,
    }
    assert all(truth[s] == label for s, label in zip(rows["sample_id"], rows["label"], strict=True))
    page = (project.path / "data/08_reporting/a/report.html").read_text()
    assert "random validation slice (6 samples)" in page


def test_the_choice_stands_once_it_was_sent_whatever_runs_later(project: Project, media: Callable[..., Path]) -> None:
    manifest = media(100, labeled=False, split=False)
    project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    before = _sheet(project, "round_00").read_bytes()
    assert "20 samples of round 0 wait" in project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    assert _sheet(project, "round_00").read_bytes() == before


def test_labels_that_a_manifest_already_has_are_the_start_and_cost_nothing(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = media(100, labeled=True, split=False)
    table = pd.read_csv(manifest, dtype=str)
    table.loc[30:, "label"] = ""
    table.to_csv(manifest, index=False)
    output = project.ok("rounds", "run", "--manifest", str(manifest), "--start-size", "40", *OPTIONS[2:])
    assert "10 samples of round 0 wait for labels" in output  # 30 of the 40 are there
    truth = _truth(manifest)
    project.ok("rounds", "import", str(_fill(project, "round_00", truth)), "--experiment", "a")
    labels = project.table("03_primary", "a", "round_00", "labels_next.parquet")
    assert len(labels) == 40
    assert labels.loc[labels["annotator"] == "manifest", "cost"].sum() == 0


def test_enough_given_labels_still_leave_a_fair_sample_to_be_labeled(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = media(100, labeled=True, split=False)
    table = pd.read_csv(manifest, dtype=str)
    table.loc[60:, "label"] = ""
    table.to_csv(manifest, index=False)
    project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    sheet = pd.read_csv(_sheet(project, "round_00"), dtype=str)
    assert sheet["purpose"].tolist() == ["validation"] * 4  # a fifth of a start batch of 20


def test_answers_come_back_as_json_lines_and_what_was_not_asked_is_not_taken(
    project: Project, media: Callable[..., Path]
) -> None:
    manifest = media(100, labeled=False, split=False)
    project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    truth = _truth(manifest)
    tasks = next(
        (project.path / "data/07_model_output/a/round_00").glob("annotation_tasks.jsonl/*/annotation_tasks.jsonl")
    )
    asked = [json.loads(line)["sample_id"] for line in tasks.read_text().splitlines()]
    other = next(s for s in truth if s not in asked)
    answers = project.path / "answers.jsonl"
    lines = [{"sample_id": s, "label": truth[s]} for s in asked[:5]]
    lines += [
        {"sample_id": other, "label": "red"},
        {"sample_id": asked[6], "label": "red"},
        {"sample_id": asked[6], "label": "blue"},
    ]
    answers.write_text("\n".join(json.dumps(line) for line in lines))
    output = project.ok("rounds", "import", str(answers), "--experiment", "a")
    assert f"answers.jsonl, row 6: sample {other!r} was not asked for in this round" in output
    assert f"answers.jsonl, row 8: {asked[6]!r} is 'red' and 'blue' at once" in output
    assert "5 new answers taken, 2 rows not taken, 15 samples still open" in output


def test_an_answer_file_that_is_none_is_refused_in_one_sentence(project: Project, media: Callable[..., Path]) -> None:
    project.ok("rounds", "run", "--manifest", str(media(100, labeled=False, split=False)), *OPTIONS)
    broken = project.path / "broken.csv"
    broken.write_bytes(b"\xff\xfe\x00junk")
    for file, word in ((broken, "broken.csv"), (project.path / "none.csv", "none.csv")):
        assert word in project.refused("rounds", "import", str(file), "--experiment", "a")
    assert "no experiment 'b'" in project.refused("rounds", "import", str(broken), "--experiment", "b")


def test_a_start_batch_of_one_class_goes_on(project: Project, media: Callable[..., Path]) -> None:
    manifest = media(80, labeled=False, split=False)
    project.ok("rounds", "run", "--manifest", str(manifest), *OPTIONS)
    same = dict.fromkeys(_truth(manifest), "red")
    output = project.ok("rounds", "import", str(_fill(project, "round_00", same)), "--experiment", "a")
    assert "10 samples of round 1 wait for labels" in output
    output = project.ok("rounds", "import", str(_fill(project, "round_01", _truth(manifest))), "--experiment", "a")
    assert "10 samples of round 2 wait for labels" in output

"""People fill in the sheet where it lies: it is theirs, so nothing of the experiment stands or falls with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from conftest import Project, waiting_project
from rlmba_pipelines.rounds.commits import Experiment

COLORS = ("red", "green", "blue", "gray")
NAME = ("--experiment", "a")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    sizes = ("--start-size", "20", "--query-size", "10")
    with waiting_project(tmp_path_factory.mktemp("asked"), 100, *sizes) as project:
        yield project


@pytest.fixture
def asked(standing: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the test's own, whose start batch waits for people."""
    copied = standing.copied_to(tmp_path / "project")
    monkeypatch.chdir(copied.path)
    return copied


def _place(project: Project, role: str = "annotation_sheet") -> Path:
    return Experiment.of(project.path, "a").path_of("round_00", role)


def _filled(project: Project, n: int = 20) -> pd.DataFrame:
    sheet = pd.read_csv(_place(project), dtype=str, keep_default_na=False)
    sheet["label"] = [COLORS[int(s[1:]) % 4] if i < n else "" for i, s in enumerate(sheet["sample_id"])]
    return sheet


def test_a_sheet_that_was_filled_in_where_it_lies_is_no_damage(asked: Project) -> None:
    _filled(asked).to_csv(_place(asked), index=False)
    assert "10 samples of round 1 wait" in asked.ok("rounds", "import", str(_place(asked)), *NAME)
    assert "are as committed" in asked.ok("rounds", "verify", *NAME)
    asked.ok("rounds", "branch", "--of", "a", "--from-round", "1", "--experiment", "b")
    branched = Experiment.of(asked.path, "b").path_of("round_00", "annotation_sheet")
    before = branched.read_bytes()
    with _place(asked).open("a") as stream:  # as a spreadsheet does that writes in place
        stream.write("\n")
    assert branched.read_bytes() == before


SAVED: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "semicolons": lambda sheet, path: sheet.to_csv(path, index=False, sep=";"),
    "cp1252": lambda sheet, path: sheet.assign(label="grün").to_csv(path, index=False, encoding="cp1252"),
    "no table": lambda _sheet, path: path.write_bytes(b"\xff\xfe\x00junk"),
}


@pytest.mark.parametrize("how", SAVED)
def test_samples_are_withdrawn_however_the_sheet_was_saved_and_no_answer_in_it_is_lost(
    asked: Project, how: str
) -> None:
    path = _place(asked)
    sheet, ids = _filled(asked), _filled(asked)["sample_id"]
    SAVED[how](sheet, path)
    typed, withdrawal = path.read_bytes(), ("rounds", "withdraw", ids[0], "--reason", "asked to", *NAME)
    assert "changes that were not imported" in asked.refused(*withdrawal)
    assert path.read_bytes() == typed
    asked.ok("rounds", "run", *NAME)  # nothing was withdrawn by half

    path.rename(asked.path / "mine.csv")
    assert "1 samples withdrawn" in asked.ok(*withdrawal)
    assert "are as committed" in asked.ok("rounds", "verify", *NAME)
    written = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("sample_id")
    assert (written["label"] == "").all()
    assert (written["text"] == "").sum() == 1
    assert written.loc[ids[0], ["image", "text"]].tolist() == ["", ""]
    tasks = [json.loads(line) for line in _place(asked, "annotation_tasks").read_text().splitlines()]
    assert [t["text"] for t in tasks] == written["text"].tolist()


def test_a_sheet_whose_answers_were_imported_is_written_anew_and_can_be_filled_in_again(asked: Project) -> None:
    path = _place(asked)
    half, ids = _filled(asked, 9), _filled(asked)["sample_id"]
    half.to_csv(path, index=False)
    assert "9 new answers taken" in asked.ok("rounds", "import", str(path), *NAME)
    asked.ok("rounds", "withdraw", ids[0], "--reason", "asked to", *NAME)
    assert (pd.read_csv(path, dtype=str, keep_default_na=False)["label"] == "").all()
    _filled(asked).iloc[9:].to_csv(path, index=False)
    assert "11 new answers taken" in asked.ok("rounds", "import", str(path), *NAME)
    labels = asked.table("a", "round_00", "labels_next").set_index("sample_id")["label"]
    assert (labels == "(withdrawn)").sum() == (labels[ids[0]] == "(withdrawn)") == 1
    assert len(labels) == 20

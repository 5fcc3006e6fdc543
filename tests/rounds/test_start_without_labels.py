"""A start batch that nothing can be learned from is no dead end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from conftest import Project, waiting_project, write_media
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.simulation import tables

COLORS = ("red", "green", "blue", "gray")
NAME = ("--experiment", "a")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    sizes = ("--start-size", "10", "--query-size", "5")
    with waiting_project(tmp_path_factory.mktemp("asked"), 60, *sizes) as project:
        yield project


@pytest.fixture
def asked(standing: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the test's own, whose start batch waits for people."""
    copied = standing.copied_to(tmp_path / "project")
    monkeypatch.chdir(copied.path)
    return copied


def _asked_for(project: Project) -> list[str]:
    return project.table("a", "round_00", "annotation_batch")["sample_id"].tolist()


def _answers(project: Project, labels: dict[str, str]) -> str:
    path = project.path / "answers.csv"
    pd.DataFrame({"sample_id": list(labels), "label": list(labels.values())}).to_csv(path, index=False)
    return str(path)


def _colored(project: Project) -> str:
    return _answers(project, {s: COLORS[int(s[1:]) % 4] for s in _asked_for(project)})


def test_a_start_batch_of_abstentions_waits_until_labels_are_given(asked: Project) -> None:
    nothing = _answers(asked, dict.fromkeys(_asked_for(asked), "?"))
    assert "come to 0 training labels" in asked.refused("rounds", "import", nothing, *NAME)
    assert "round 0 waits for labels (10/10 answered)" in asked.ok("rounds", "status", *NAME)
    assert "come to 0 training labels" in asked.refused("rounds", "run", *NAME)
    output = asked.ok("rounds", "import", _colored(asked), "--correct", *NAME)
    assert "10 corrected" in output
    assert "5 samples of round 1 wait for labels" in output


def test_one_that_an_earlier_version_closed_goes_on_once_it_is_corrected(
    asked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tables, "LEAST_LABELS", 0)
        nothing = _answers(asked, dict.fromkeys(_asked_for(asked), "?"))
        assert "There is no label to train on" in asked.refused("rounds", "import", nothing, *NAME)
    assert Experiment.of(asked.path, "a").is_done("round_00")
    assert "10 corrected" in asked.ok("rounds", "import", _colored(asked), "--correct", *NAME)
    assert "5 samples of round 1 wait for labels" in asked.ok("rounds", "run", *NAME)
    assert "are as committed" in asked.ok("rounds", "verify", *NAME)


def test_another_one_is_chosen_where_all_of_it_was_withdrawn(asked: Project) -> None:
    first = _asked_for(asked)
    asked.ok("rounds", "import", _answers(asked, {first[0]: "red"}), *NAME)
    asked.ok("rounds", "withdraw", *first, "--reason", "asked to", *NAME)
    assert "10 samples of round 0 wait for labels" in asked.ok("rounds", "run", *NAME)
    assert not set(first) & set(_asked_for(asked))
    output = asked.ok("rounds", "import", _colored(asked), *NAME)
    assert "5 samples of round 1 wait for labels" in output
    labels = asked.table("a", "round_00", "labels_next")["label"]
    assert sorted(labels.value_counts().to_dict()) == ["(withdrawn)", *sorted(COLORS)]


def test_a_start_batch_is_closed_where_labels_were_given(project: Project, tmp_path: Path) -> None:
    manifest = write_media(tmp_path / "media", 60, ("image", "text"), split=False)
    table = pd.read_csv(manifest, dtype=str)
    table.loc[30:, "label"] = ""
    table.to_csv(manifest, index=False)
    sizes = ("--start-size", "20", "--query-size", "5", "--rounds", "1")
    project.ok("rounds", "run", "--manifest", str(manifest), *sizes, *NAME)
    first, *_ = _asked_for(project)
    project.ok("rounds", "import", _answers(project, {first: COLORS[int(first[1:]) % 4]}), *NAME)
    assert "5 samples of round 1 wait for labels" in project.ok("rounds", "close", *NAME)

"""One class however it is typed; experiments of before keep what they stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from conftest import Project
from rlmba_pipelines.sources import manifest as manifests

NAME = ("--experiment", "a")
SIZES = ("--start-size", "20", "--query-size", "5", "--rounds", "1")
NFC, NFD = "caf\u00e9", "cafe\u0301"


def _asked(project: Project, manifest: Path) -> list[str]:
    """Start an experiment whose pool nobody has labeled; gives what is asked."""
    project.ok("rounds", "run", "--manifest", str(manifest), "--annotator", "files", *SIZES, *NAME)
    return project.table("a", "round_00", "annotation_batch")["sample_id"].tolist()


def _import(project: Project, labels: dict[str, str], *flags: str) -> str:
    path = project.path / "answers.csv"
    pd.DataFrame({"sample_id": list(labels), "label": list(labels.values())}).to_csv(path, index=False)
    return project.ok("rounds", "import", str(path), *flags, *NAME)


def _labeled_validation(manifest: Path, label: str) -> Path:
    """The manifest without labels of the pool, one class of the rest spelled another way."""
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    table.loc[table["label"] == "red", "label"] = label
    table.loc[table["split"] == "pool", "label"] = ""
    table.to_csv(manifest, index=False)
    return manifest


def test_what_looks_alike_is_one_class_from_the_first_batch_on(project: Project, media: Callable[..., Path]) -> None:
    asked = _asked(project, media(60, labeled=False, split=False))
    spelled = [NFC, NFD, f" {NFD}\u00a0", "tea"]
    output = _import(project, {s: spelled[i % 4] for i, s in enumerate(asked)})
    assert f"classes met for the first time: {NFC}, tea" in output
    assert set(project.table("a", "round_00", "labels_next")["label"]) == {NFC, "tea"}


def test_a_class_of_the_manifest_is_answered_however_it_is_typed(project: Project, media: Callable[..., Path]) -> None:
    asked = _asked(project, _labeled_validation(media(), f"{NFD} "))
    output = _import(project, {asked[0]: NFC, asked[1]: NFD})
    assert "2 new answers taken, 0 rows not taken" in output
    assert project.ok("rounds", "classes", *NAME).split() == ["blue", NFC, "gray", "green"]


def test_a_class_that_an_experiment_of_before_stored_with_a_space_can_be_answered(
    project: Project, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(manifests, "canonical_label", lambda text: text)
        asked = _asked(project, _labeled_validation(media(), "red "))
    colors = ("red", "green", "blue", "gray")
    output = _import(project, {s: colors[int(s[1:]) % 4] for s in asked})
    assert "20 new answers taken, 0 rows not taken" in output
    assert "5 samples of round 1 wait for labels" in output
    assert set(project.table("a", "round_00", "labels_next")["label"]) == {"red ", "green", "blue", "gray"}
    project.ok("rounds", "classes", "red", *NAME)
    assert len(project.ok("rounds", "classes", *NAME).splitlines()) == 4


def test_names_that_nobody_can_answer_are_refused_as_classes(project: Project, media: Callable[..., Path]) -> None:
    manifest = _labeled_validation(media(), "?")
    assert "the label '?' stands for an answer" in project.refused("rounds", "run", "--manifest", str(manifest), *NAME)
    manifest = _labeled_validation(media(), "red")
    told = project.path / "conf/local/parameters_rounds.yml"
    told.write_text("rounds: {classes: [red, green, blue, gray, (abstain)]}")
    refused = project.refused("rounds", "run", "--manifest", str(manifest), *NAME)
    assert "rounds.classes has the name '(abstain)'" in refused
    told.write_text("rounds: {classes: [red, ' green', blue, gray]}")
    asked = _asked(project, manifest)
    assert "1 set aside" in _import(project, {asked[0]: NFC, asked[1]: "green"})
    assert "'?' cannot be a class" in project.refused("rounds", "classes", "?", *NAME)
    assert "1 new answers taken" in project.ok("rounds", "classes", f" {NFD}", *NAME)

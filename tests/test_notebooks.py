"""Notebooks do what they say: every cell runs, in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import COLORS, ROOT, SMALL, Project, waiting_project
from rlmba_pipelines.learning.acquisition import registry


def run(name: str) -> dict[str, Any]:
    cells = json.loads((ROOT / "notebooks" / name).read_text())["cells"]
    assert not any(cell.get("outputs") for cell in cells)  # what a cell printed on somebody's machine is not committed
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{name} {cell['id']}", "exec"), names)
    return names


def test_a_round_can_be_looked_into(
    project: Project, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = media(100, ("image", "text"))
    project.ok("rounds", "run", "--manifest", str(manifest), "--experiment", "seen", *SMALL)
    monkeypatch.chdir(project.path)
    monkeypatch.setenv("RLMBA_EXPERIMENT", "seen")
    names = run("look_inside_a_round.ipynb")
    assert names["history"].index.tolist() == [1, 2]
    assert names["ranks"].between(0, 1).all()


def test_a_round_that_people_answered_can_be_looked_into_as_far_as_that_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--start-size", "12", "--query-size", "8")
    with waiting_project(tmp_path, 40, *sizes) as project, pytest.MonkeyPatch.context() as patch:
        for stage in ("round_00", "round_01"):
            batch = project.table("a", stage, "annotation_batch")
            batch["label"] = [list(COLORS)[int(s[1:]) % 4] for s in batch["sample_id"]]
            batch[["sample_id", "label"]].to_csv("answers.csv", index=False)
            project.ok("rounds", "import", "answers.csv", "--experiment", "a")
        patch.chdir(project.path)
        patch.setenv("RLMBA_EXPERIMENT", "a")
        names = run("look_inside_a_round.ipynb")
    assert names["history"].index.tolist() == [1]
    assert names["history"]["accuracy"].between(0, 1).all()
    assert "'a' is labeled by people" in capsys.readouterr().out


def test_a_strategy_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_STRATEGIES", dict(registry._STRATEGIES))  # other tests know nothing of it
    names = run("write_a_strategy.ipynb")
    assert names["found"].shape == (5, 3)
    assert names["found"].to_numpy().min() > 1 / 3  # better than a guess among three classes

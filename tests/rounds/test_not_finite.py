"""A number that is not finite stops the round, is told with the samples, and the last good model stays."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conftest import SMALL, Project
from rlmba_pipelines.models import fit, predict


def _digests(folder: Path) -> dict[str, str]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and ("round_01" in str(p) or "commits" in str(p))]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _nan_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    true_loss = fit.cross_entropy

    def loss(*args: Any) -> Any:
        found = true_loss(*args)
        return found * float("nan")

    monkeypatch.setattr(fit, "cross_entropy", loss)


def _infinite_logit(monkeypatch: pytest.MonkeyPatch) -> None:
    true_opinions = predict._opinions

    def opinions(logits: Any, *args: Any) -> Any:
        logits = logits.clone()
        logits[-1, :, 0] = float("inf")
        return true_opinions(logits, *args)

    monkeypatch.setattr(predict, "_opinions", opinions)


@pytest.mark.parametrize("spoil", [_nan_loss, _infinite_logit])
def test_a_round_that_meets_nan_stops_by_name_and_goes_on_as_if_nothing_had_been(
    project: Project, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, spoil: Callable[..., None]
) -> None:
    manifest = media()
    asked = ("--manifest", str(manifest), *SMALL[2:], "--strategy", "margin", "--experiment")
    project.ok("rounds", "run", *asked, "a", "--rounds", "1")
    before = _digests(project.path / "data")
    assert any("06_models" in name for name in before)
    with monkeypatch.context() as broken:
        spoil(broken)
        sentence = project.refused("rounds", "run", *asked, "a", "--rounds", "2")
    assert "not finite" in sentence
    named = re.findall(r"s\d{4}", sentence)
    assert named
    assert set(named) <= set(pd.read_csv(manifest)["sample_id"])
    assert _digests(project.path / "data").items() >= before.items()
    assert not (project.path / "data/03_primary/a/commits/round_02.json").exists()
    project.ok("rounds", "run", *asked, "a", "--rounds", "2")
    project.ok("rounds", "run", *asked, "b", "--rounds", "2")
    assert project.selections("a", 2) == project.selections("b", 2)

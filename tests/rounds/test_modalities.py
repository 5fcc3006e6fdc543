"""Any subset of modalities makes a run, missing ones included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from conftest import SMALL, Project
from rlmba_pipelines.datasets import FeaturesDataset


@pytest.fixture(autouse=True)
def pictures(project: Project) -> None:
    project.drawn = True


def test_four_modalities_with_holes_make_a_run_and_a_report(project: Project, media: Callable[..., Path]) -> None:
    manifest = media(80, ("image", "text", "audio", "video"))
    table = pd.read_csv(manifest, dtype=str)
    for start, column in enumerate(("image", "text", "audio", "video")):
        table.loc[start::7, column] = ""
    table.to_csv(manifest, index=False)
    project.ok("rounds", "run", "--manifest", str(manifest), "--experiment", "a", *SMALL)
    features = FeaturesDataset(filepath=str(project.path / "data/04_feature/a/features")).load()
    assert features.modalities == ("image", "text", "audio", "video")
    assert (~features.present_NM).sum(axis=0).tolist() == [12, 12, 12, 11]
    page = (project.path / "data/08_reporting/a/report.html").read_text()
    assert "data:image/jpeg;base64," in page  # the poster of a video
    assert "<audio" in page


@pytest.mark.parametrize("modality", ["image", "text", "audio", "video"])
def test_one_modality_alone_makes_a_run(project: Project, media: Callable[..., Path], modality: str) -> None:
    manifest = media(60, (modality,))
    project.ok(
        "rounds",
        "run",
        "--manifest",
        str(manifest),
        *("--experiment", "a", "--rounds", "1", *SMALL[2:]),
    )
    assert [len(p) for p in project.selections("a", 1)] == [12, 8]

"""The loop on CUDA, checked against the CPU (``make test-gpu``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import SMALL, Project
from rlmba_pipelines.datasets import FeaturesDataset

pytestmark = pytest.mark.gpu


def test_the_loop_on_cuda_sees_what_the_cpu_sees(project: Project, media: Callable[..., Path]) -> None:
    manifest = str(media(120, ("image", "text", "audio")))
    (project.path / "conf/local/parameters.yml").write_text(
        "encoders: {image: auto, text: auto, audio: auto, workers: 1, amp: false}\ningest: {workers: 1}\n"
    )
    for device in ("cpu", "cuda"):
        # a cache of its own for each device, so that both really compute
        (project.path / "conf/local/catalog.yml").write_text(
            "feature_cache: {type: rlmba_pipelines.datasets.PathDataset, filepath: data/04_feature/cache_"
            + device
            + "}\n"
        )
        project.ok("rounds", "run", "--manifest", manifest, "--experiment", device, "--device", device, *SMALL)
    features = {
        device: FeaturesDataset(filepath=str(project.path / f"data/04_feature/{device}/encoded")).load()
        for device in ("cpu", "cuda")
    }
    for name, block in features["cpu"].blocks.items():
        np.testing.assert_allclose(features["cuda"].blocks[name], block, rtol=1e-2, atol=1e-3)
    # the start batch has no model, so both devices buy the same samples
    assert project.selections("cpu", 0) == project.selections("cuda", 0)

"""A simulated round and a Kedro round are the same round."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import SMALL, Project
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.replay import task_of
from rlmba_pipelines.simulation import simulate


@pytest.mark.parametrize("strategy", ["herding", "badge", "random"])
def test_memory_and_kedro_choose_the_same_samples_and_measure_the_same(
    project: Project, media: Callable[..., Path], strategy: str
) -> None:
    manifest = media(100, ("image", "text", "audio"))
    project.ok("rounds", "run", "--manifest", str(manifest), "--experiment", "a", "--strategy", strategy, *SMALL)
    task, oracle = task_of(Experiment.of(project.path, "a"))
    results = list(simulate(task, oracle.label))
    assert [r.batch["sample_id"].tolist() for r in results[:-1]] == project.selections("a", 2)
    experiment = Experiment.of(project.path, "a")
    for stage, result in zip(("round_01", "round_02", "final"), results[1:], strict=True):
        written = json.loads(experiment.path_of(stage, "test_metrics").read_text())
        assert written == result.test
    state = json.loads(experiment.path_of("round_02", "round_state_next").read_text())
    np.testing.assert_array_equal(state["weights_M"], results[2].state.weights_M)

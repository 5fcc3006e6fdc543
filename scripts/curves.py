"""Whole runs in memory on the prepared emoji experiment, for the scripts that compare them over seeds."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from kedro.framework.startup import bootstrap_project

from rlmba_pipelines.benchmark.runs import experiment_name, in_memory
from rlmba_pipelines.labeling import SimulatedOracle
from rlmba_pipelines.learning.metrics.learning_curve import area_under_curve
from rlmba_pipelines.rounds import replay
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.parameters import merged
from rlmba_pipelines.simulation.round import RoundResult, Task
from rlmba_pipelines.simulation.tables import TRAINING

ROOT = Path(__file__).resolve().parents[1]
BASE = experiment_name("emoji-67")
ROUNDS = 5
REPORTED_SEEDS = tuple(range(10))  # tuning used 100 and up
LEARNER = {"fusion": {"self_training": 0}}  # the pages were made before the student was the default
SETTING = (
    "67 classes, pool of 4,021, start 200, five rounds of 200, seeds "
    f"{REPORTED_SEEDS[0]}–{REPORTED_SEEDS[-1]} (tuning used other seeds)"
)


@dataclass(frozen=True)
class Run:
    """What one run in memory came to.

    Attributes:
        area: under the learning curve on the test split, in points of accuracy.
        final: metrics of the last model on the test split.
        rewards: of the policy, in the order it learned from them.
        picks: digest of all bought ids in their order; two runs that share it bought the same.
    """

    area: float
    final: Mapping[str, float]
    rewards: tuple[float, ...]
    picks: str


def prepare() -> None:
    """Make sure that samples and features of the experiment are there."""
    logging.getLogger("kedro").setLevel(logging.WARNING)
    bootstrap_project(ROOT)
    replay.prepare(ROOT, BASE)


@lru_cache(1)
def prepared_task() -> tuple[Task, SimulatedOracle]:
    """The experiment in memory, read once a process."""
    return replay.task_of(Experiment.of(ROOT, BASE))


def with_changes(changes: Mapping[str, Any]) -> list[RoundResult]:
    """All rounds with some parameters (nested like the YAML files) changed."""
    task, oracle = prepared_task()
    return in_memory(task, oracle.label, merged(merged(task.parameters.model_dump(), LEARNER), changes))


def run_in_memory(changes: Mapping[str, Any], seed: int) -> Run:
    """All rounds with some parameters changed and the seed given; what they came to."""
    results = with_changes(merged(changes, {"rounds": {"seed": seed, "rounds": ROUNDS}}))
    points = [(int((r.labels["purpose"] == TRAINING).sum()), r.test["accuracy"]) for r in results if r.test]
    labels, accuracy = np.array(points).T
    bought = ",".join(sample_id for r in results for sample_id in r.batch["sample_id"])
    return Run(
        area=100 * area_under_curve(labels, accuracy),
        final=results[-1].test,
        rewards=results[-1].state.rewards,
        picks=hashlib.sha256(bought.encode()).hexdigest()[:16],
    )


def write(path: Path, text: str) -> None:
    """Replace a file whole."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as stream:
        stream.write(text)
    os.replace(stream.name, path)
    path.chmod(0o644)

"""On the committed data: learned difficulty tells test errors better than the margin does, over 10 seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from kedro.framework.startup import bootstrap_project

from conftest import ROOT
from rlmba_pipelines.benchmark.runs import experiment_name
from rlmba_pipelines.config import DifficultyConfig
from rlmba_pipelines.labeling import SimulatedOracle
from rlmba_pipelines.learning.difficulty import auroc
from rlmba_pipelines.learning.evidence import FUSED_TERMS
from rlmba_pipelines.learning.metrics.calibration import event_calibration_error
from rlmba_pipelines.learning.metrics.statistics import paired_difference
from rlmba_pipelines.rounds.replay import prepare, task_of
from rlmba_pipelines.simulation import steps
from rlmba_pipelines.simulation.appraisal import appraise
from rlmba_pipelines.simulation.round import Task
from rlmba_pipelines.simulation.tables import TRAINING, VALIDATION, labels_for

pytestmark = pytest.mark.statistical
SEEDS, N_LABELS = range(10), 400


@pytest.fixture(scope="module")
def emoji() -> tuple[Task, SimulatedOracle]:
    """The committed data, encoded once, as for ``make bench``."""
    bootstrap_project(ROOT)
    return task_of(prepare(ROOT, experiment_name("emoji-67")))


def appraised_test(task: Task, oracle: SimulatedOracle, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Terms of the test split after 400 random labels, and where the model is wrong there."""
    p = task.parameters
    state = replace(steps.first_state(task.features.modalities, task.classes, seed, p.policy), round_idx=1)
    chosen = np.random.default_rng(seed).permutation(task.pool_ids)[:N_LABELS]
    batch = pd.DataFrame({"sample_id": chosen, "purpose": TRAINING, "round": 0, "cost": 1.0})
    labels = oracle.label(batch)
    model = steps.learn(task.features, labels, task.validation, task.classes, state, p.fusion)
    truth = labels_for(task.test.assign(purpose=VALIDATION), model.classes, VALIDATION)
    seen = appraise(
        model, task.features, truth.sample_ids, labels, task.validation, state, p.fusion, p.evidence,
        DifficultyConfig(enabled=True), p.balance,
    )
    return dict(seen.terms.columns), seen.predictions.probabilities_NC.argmax(axis=1) != truth.y


def test_difficulty_tells_test_errors_better_than_the_margin(emoji: tuple[Task, SimulatedOracle]) -> None:
    tried = [appraised_test(*emoji, seed) for seed in SEEDS]
    area = {name: np.array([auroc(t[name], wrong) for t, wrong in tried]) for name in (*FUSED_TERMS, "difficulty")}
    for name, values in sorted(area.items(), key=lambda item: -item[1].mean()):
        print(f"AUROC of {name:20} {values.mean():.3f}")
    for name in ("margin", "difficulty"):
        error = np.mean([event_calibration_error(terms[name], wrong) for terms, wrong in tried])
        print(f"calibration error of {name:12} {error:.3f}")
    found = paired_difference(area["difficulty"], area["margin"])
    print(f"difficulty minus margin {found.mean:+.4f}, 95 % {found.low:+.4f} to {found.high:+.4f}, p = {found.p:.1e}")
    assert found.low > 0

"""One step ahead: what several θ, tried from the same state, come to. What a policy is pre-trained on.

Concept  imitating an oracle that may look at what a batch will bring, on data sets whose labels are all known.
Source   Konyushkova et al. 2017 (arXiv 1703.03365), Liu et al. 2018 (ACL P18-1174): learning to choose by imitation.
Stated   a regressor or a policy of single samples, trained on the gain that each would bring.
Chosen   the θ of a whole batch; gains on all held-out labels, compared within a state only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from rlmba_pipelines.learning.metrics.classification import accuracy
from rlmba_pipelines.learning.pretraining import Trials
from rlmba_pipelines.learning.theta import MODALITY_COORDINATES, SHARED_COORDINATES, action_at
from rlmba_pipelines.learning.types import Action
from rlmba_pipelines.models.predict import predict_fusion
from rlmba_pipelines.simulation import steps
from rlmba_pipelines.simulation.decide import prior_of
from rlmba_pipelines.simulation.round import RoundResult, Task, decide_with, open_round, start_round
from rlmba_pipelines.simulation.tables import VALIDATION, Answer, labels_for


def episode(
    task: Task, answer: Answer, rng: np.random.Generator, *, n_drawn: int, spread: float
) -> Iterator[Trials]:
    """The rounds of a run, each with the prior θ and ``n_drawn`` others tried; goes on with one of them at random.

    Args:
        task: its strategy obeys θ; has a validation split.
        spread: standard deviation of what is drawn, in the coordinates of ``learning.theta``.
    """
    prior, modalities = prior_of(task.parameters.policy), task.features.modalities
    held = pd.concat([task.validation, task.test])
    result = start_round(task, answer)
    for _ in range(task.parameters.rounds.rounds):
        opened = open_round(result.state, task, result.labels_next)
        assert opened.observation is not None
        drawn = [draw_action(prior, modalities, spread, rng) for _ in range(n_drawn)]
        actions = (prior, *drawn)
        results = [decide_with(opened, task, answer, action) for action in actions]
        yield Trials(opened.observation.state, actions, tuple(_accuracy_after(r, task, held) for r in results))
        result = results[int(rng.integers(len(results)))]


def draw_action(prior: Action, modalities: tuple[str, ...], spread: float, rng: np.random.Generator) -> Action:
    """A θ around the prior: normal in every coordinate."""
    shared_G = spread * rng.normal(size=len(SHARED_COORDINATES))
    tilt_MT = spread * rng.normal(size=(len(modalities), len(MODALITY_COORDINATES)))
    return action_at(prior, shared_G, tilt_MT, modalities)


def _accuracy_after(result: RoundResult, task: Task, held: pd.DataFrame) -> float:
    """Of the model that learned the batch; its weights start as those of all other trials of the round."""
    p = task.parameters
    model = steps.learn(
        task.features, result.labels_next, task.validation, task.classes, result.state, p.fusion, task.pool_ids,
        weigh=p.balance.enter_fusion,
    )  # fmt: skip
    known = labels_for(held.assign(purpose=VALIDATION), model.classes, VALIDATION)
    return accuracy(predict_fusion(model, task.features.take(known.sample_ids), p.fusion).probabilities_NC, known.y)

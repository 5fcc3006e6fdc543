"""One whole round in memory: ``run_round(state, task, labels, answer) -> RoundResult``.

What the benchmark, the reference of the report and tests run: no files, no Kedro, no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.learning.types import Features, RoundState
from rlmba_pipelines.models.state import FusionState
from rlmba_pipelines.simulation import steps
from rlmba_pipelines.simulation.tables import (
    TRAINING,
    Answer,
    add_answers,
    annotation_batch,
    empty_batch,
    empty_labels,
    known_classes,
    labels_for,
    pool_ids,
    spent,
)


@dataclass(frozen=True)
class Task:
    """What stays the same from round to round.

    Attributes:
        features: of every sample, held-out ones included.
        samples: ``sample_id, split, cost`` and media columns.
        validation, test: ``sample_id, label`` of the given splits; may be empty.
        classes: names known in advance; empty = from the labels.
        parameters: every knob.
        given: labels of pool samples that were there before the run; they cost nothing.
    """

    features: Features
    samples: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    classes: tuple[str, ...]
    parameters: Parameters
    given: pd.DataFrame = field(default_factory=empty_labels)

    @property
    def pool_ids(self) -> np.ndarray:
        return pool_ids(self.samples)


@dataclass(frozen=True)
class RoundResult:
    """What a round came to: ``labels`` went in, ``labels_next`` and ``state`` start the next round.

    ``validation`` and ``test`` are empty where there is nothing to measure on, ``model`` is None in round 0.
    """

    model: FusionState | None
    validation: dict[str, float]
    test: dict[str, float]
    batch: pd.DataFrame
    labels: pd.DataFrame
    labels_next: pd.DataFrame
    state: RoundState


def start_round(task: Task, answer: Answer) -> RoundResult:
    """Round 0: no model yet, a start batch."""
    p = task.parameters
    state = steps.first_state(task.features.modalities, p.rounds.seed, p.policy)
    batch = steps.choose_start(
        task.features, task.pool_ids, len(task.validation), task.given, task.classes, state, p.rounds
    )
    labels_next = add_answers(task.given, annotation_batch(batch, task.samples, None, ()), answer)
    return RoundResult(None, {}, {}, batch, task.given, labels_next, steps.next_state(state))


def run_round(state: RoundState, task: Task, labels: pd.DataFrame, answer: Answer, *, buy: bool = True) -> RoundResult:
    """Train, measure, adapt, appraise the pool, choose and buy; with ``buy=False`` only train and measure."""
    p, features = task.parameters, task.features
    classes = known_classes(task.classes, labels)
    model = steps.learn(features, labels_for(labels, classes, TRAINING), state, p.fusion)
    validation = steps.measure_validation(model, features, task.validation, labels, p.fusion)
    test = steps.measure_on(model, features, task.test, p.fusion)
    if not buy:
        return RoundResult(model, validation, test, empty_batch(state.round_idx), labels, labels, state)
    labels_spent = spent(labels, len(task.validation))
    adapted = steps.adapt(state, validation, features.modalities, labels_spent, p.balance, p.rounds)
    predictions, _, terms = steps.appraise(model, features.take(task.pool_ids), state, p.fusion, p.evidence)
    batch = steps.choose_batch(
        features, predictions, terms, task.pool_ids, labels, len(task.validation), task.classes, adapted, p.rounds
    )
    asked = annotation_batch(batch, task.samples, predictions, classes)
    return RoundResult(
        model, validation, test, batch, labels, add_answers(labels, asked, answer), steps.next_state(adapted)
    )


def simulate(task: Task, answer: Answer, *, start: pd.DataFrame | None = None) -> Iterator[RoundResult]:
    """All rounds of a run and the closing measurement, one result each.

    Args:
        start: the labels after a start batch that another run bought already; None buys one.
    """
    p = task.parameters
    if start is None:
        result = start_round(task, answer)
        yield result
        state, labels = result.state, result.labels_next
    else:
        state = steps.next_state(steps.first_state(task.features.modalities, p.rounds.seed, p.policy))
        labels = start
    for _ in range(p.rounds.rounds):
        result = run_round(state, task, labels, answer)
        yield result
        state, labels = result.state, result.labels_next
        if state.stopped:
            return
    yield run_round(state, task, labels, answer, buy=False)

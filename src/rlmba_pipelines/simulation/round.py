"""One whole round in memory: ``run_round(state, task, labels, answer) -> RoundResult``.

What the benchmark, the reference of the report and tests run: no files, no Kedro, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from rlmba_pipelines.config import Parameters, RoundsConfig
from rlmba_pipelines.learning.policy.fixed import FixedPolicy
from rlmba_pipelines.learning.types import Action, Features, Predictions, RoundState, Terms
from rlmba_pipelines.models.state import FusionState
from rlmba_pipelines.simulation import measurement, steps
from rlmba_pipelines.simulation.appraisal import appraise
from rlmba_pipelines.simulation.budget import nothing_to_buy
from rlmba_pipelines.simulation.decide import Observation, observe
from rlmba_pipelines.simulation.tables import (
    Answer,
    add_answers,
    annotation_batch,
    empty_batch,
    empty_labels,
    known_classes,
    looked_at_ids,
    pool_ids,
    pool_prices,
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

    @property
    def prices(self) -> pd.Series:
        return pool_prices(self.samples)


@dataclass(frozen=True)
class RoundResult:
    """What a round came to: ``labels`` went in, ``labels_next`` and ``state`` start the next round.

    ``validation`` and ``test`` are empty where there is nothing to measure on, ``model`` is None where no model chose.
    A row of ``batch`` holds what the strategy looked at, and all that was known of the sample when it was chosen.
    """

    model: FusionState | None
    validation: dict[str, float]
    test: dict[str, float]
    batch: pd.DataFrame
    labels: pd.DataFrame
    labels_next: pd.DataFrame
    state: RoundState
    difficulty: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Opened:
    """A round up to the point where a policy acts: what was trained, measured and seen of the pool."""

    state: RoundState
    labels: pd.DataFrame
    model: FusionState
    validation: dict[str, float]
    test: dict[str, float]
    predictions: Predictions
    terms: Terms
    observation: Observation | None
    difficulty: Mapping[str, float]


def start_round(task: Task, answer: Answer) -> RoundResult:
    """Round 0: no model yet, a start batch."""
    p = task.parameters
    state = steps.first_state(task.features.modalities, task.classes, p.rounds.seed, p.policy)
    batch = steps.choose_start(
        task.features, task.pool_ids, len(task.validation), task.given, task.classes, state, p.rounds, task.prices
    )
    labels_next = add_answers(task.given, annotation_batch(batch, task.samples, None, ()), answer)
    return RoundResult(None, {}, {}, batch, task.given, labels_next, steps.next_state(state, batch))


def open_round(state: RoundState, task: Task, labels: pd.DataFrame) -> Opened:
    """Train, measure, and appraise the pool."""
    p, features = task.parameters, task.features
    model, validation, test = _measured(state, task, labels)
    seen = appraise(
        model,
        features,
        looked_at_ids(task.pool_ids, labels, p.rounds.candidates, state.rng("candidates")),
        labels,
        task.validation,
        state,
        p.fusion,
        p.evidence,
        p.difficulty,
        p.balance,
    )
    predictions, terms = seen.predictions, seen.terms
    classes, labels_spent = known_classes(task.classes, labels), _paid(state, task, labels)
    observation = observe(
        validation, model.log, predictions, terms, labels, classes, labels_spent, p.rounds.budget
    )
    return Opened(state, labels, model, validation, test, predictions, terms, observation, seen.difficulty)


def decide_round(opened: Opened, task: Task, answer: Answer, baselines: Sequence[str] = ()) -> RoundResult:
    """The policy learns and acts; a batch is chosen and bought.

    Args:
        baselines: strategies that the published reward compares with. Each chooses a batch of its own from the same
            pool, has it labeled and trains on it; all labels that this looks at are paid for out of the budget.
    """
    p, labels = task.parameters, opened.labels
    labels_spent = _paid(opened.state, task, labels)
    adapted = steps.adapt(
        opened.state,
        opened.validation,
        opened.observation,
        task.features.modalities,
        labels_spent,
        p.balance,
        p.rounds,
        p.policy,
    )
    unbought = labels_spent - spent(labels, len(task.validation))
    left = p.rounds.model_copy(update={"budget": p.rounds.budget - unbought if p.rounds.budget else None})
    batch = _choose(opened, task, adapted, left)
    asked = annotation_batch(batch, task.samples, opened.predictions, known_classes(task.classes, labels))
    if baselines and opened.validation and len(batch):
        adapted = replace(adapted, baselines=_run_baselines(opened, task, adapted, left, answer, baselines))
    return RoundResult(
        opened.model,
        opened.validation,
        opened.test,
        batch,
        labels,
        add_answers(labels, asked, answer),
        steps.next_state(adapted, batch),
        opened.difficulty,
    )


def decide_with(opened: Opened, task: Task, answer: Answer, action: Action) -> RoundResult:
    """``decide_round`` with this θ, whatever the policy."""
    policy = FixedPolicy(action).to_dict()
    return decide_round(replace(opened, state=replace(opened.state, policy=policy)), task, answer)


Opening = Callable[[RoundState, Task, pd.DataFrame], Opened]


def run_round(
    state: RoundState,
    task: Task,
    labels: pd.DataFrame,
    answer: Answer,
    *,
    buy: bool = True,
    baselines: Sequence[str] = (),
    opening: Opening = open_round,
) -> RoundResult:
    """Train, measure, appraise the pool, adapt, choose and buy; with ``buy=False`` only train and measure."""
    if not buy:
        model, validation, test = _measured(state, task, labels)
        return RoundResult(model, validation, test, empty_batch(state.round_idx), labels, labels, state)
    return decide_round(opening(state, task, labels), task, answer, baselines)


def simulate(
    task: Task,
    answer: Answer,
    *,
    start: pd.DataFrame | None = None,
    baselines: Sequence[str] = (),
    opening: Opening = open_round,
) -> Iterator[RoundResult]:
    """All rounds of a run and the closing measurement, one result each.

    Args:
        start: the labels after a start batch that another run bought already; None buys one.
        baselines: of the published reward, see :func:`decide_round`; none: the reward of the parameters.
        opening: in place of ``open_round``, for runs that share a round.
    """
    p = task.parameters
    if start is None:
        result = start_round(task, answer)
        yield result
        state, labels = result.state, result.labels_next
    else:
        state = steps.next_state(
            steps.first_state(task.features.modalities, task.classes, p.rounds.seed, p.policy), empty_batch(0)
        )
        labels = start
    for _ in range(p.rounds.rounds):
        if nothing_to_buy(task.prices, labels, p.rounds):
            break
        result = run_round(state, task, labels, answer, baselines=baselines, opening=opening)
        yield result
        state, labels = result.state, result.labels_next
        if state.stopped:
            return
    yield run_round(state, task, labels, answer, buy=False)


def _measured(
    state: RoundState, task: Task, labels: pd.DataFrame
) -> tuple[FusionState, dict[str, float], dict[str, float]]:
    p, features = task.parameters, task.features
    classes = known_classes(task.classes, labels)
    model = steps.learn(
        features, labels, task.validation, classes, state, p.fusion, task.pool_ids, weigh=p.balance.enter_fusion
    )
    validation = measurement.measure_validation(
        model, features, task.validation, labels, p.fusion, alone=state if p.balance.fits_alone else None
    )
    return model, validation, measurement.measure_on(model, features, task.test, p.fusion)


def _paid(state: RoundState, task: Task, labels: pd.DataFrame) -> int:
    """Labels paid for, those that only a baseline of the published reward has looked at included."""
    looked_at = set(state.baselines.get("sample_ids", ())) - set(labels["sample_id"])
    return spent(labels, len(task.validation)) + len(looked_at)


def _choose(opened: Opened, task: Task, adapted: RoundState, rounds: RoundsConfig) -> pd.DataFrame:
    return steps.choose_batch(
        task.features,
        opened.predictions,
        opened.terms,
        task.pool_ids,
        opened.labels,
        len(task.validation),
        task.classes,
        adapted,
        rounds,
        task.parameters.balance,
        task.prices,
    )


def _run_baselines(
    opened: Opened, task: Task, adapted: RoundState, rounds: RoundsConfig, answer: Answer, names: Sequence[str]
) -> dict[str, Any]:
    """Validation accuracy of every baseline after a batch of its own, and all ids that any of them looked at so far."""
    sample_ids, accuracy = set(adapted.baselines.get("sample_ids", ())), {}
    for name in names:
        batch = _choose(opened, task, adapted, rounds.model_copy(update={"strategy": name, "strategy_options": {}}))
        labels = add_answers(opened.labels, annotation_batch(batch, task.samples, None, ()), answer)
        sample_ids |= set(batch["sample_id"])
        accuracy[name] = _measured(steps.next_state(adapted, batch), task, labels)[1]["accuracy"]
    return {"accuracy": accuracy, "sample_ids": sorted(sample_ids)}

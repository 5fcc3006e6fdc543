"""Rounds of Active-VLM in memory: no files but the images, no Kedro, no clock. What ``make bench-vqa`` runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.learning.types import Features, RoundState
from rlmba_pipelines.models.vlm.backbone import Vlm
from rlmba_pipelines.simulation import questions, steps, tables
from rlmba_pipelines.simulation.budget import nothing_to_buy
from rlmba_pipelines.simulation.decide import observe
from rlmba_pipelines.simulation.question_measures import measure_questions
from rlmba_pipelines.simulation.tables import Answer


@dataclass(frozen=True)
class QuestionTask:
    """What stays the same from round to round; see ``simulation.round.Task``.

    Attributes:
        base: the model that every round starts from.
        read: gives the bytes of an image by its reference.
    """

    base: Vlm
    features: Features
    samples: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    classes: tuple[str, ...]
    parameters: Parameters
    read: questions.Read


@dataclass(frozen=True)
class QuestionRound:
    """What a round came to; ``terms`` and ``batch`` are empty after the last purchase."""

    labels: pd.DataFrame
    validation: dict[str, Any]
    test: dict[str, Any]
    terms: pd.DataFrame
    batch: pd.DataFrame


@dataclass(frozen=True)
class Learned:
    """What was learned from the labels of a round: figures, and what the model says about the candidates.

    Attributes:
        seen: None after the last purchase.
    """

    log: dict[str, Any]
    validation: dict[str, Any]
    test: dict[str, Any]
    seen: questions.Appraised | None


Learn = Callable[[QuestionTask, pd.DataFrame, RoundState, bool], Learned]


def learn(task: QuestionTask, labels: pd.DataFrame, state: RoundState, last: bool) -> Learned:
    """Teach, measure and, where another purchase follows, look at the candidates."""
    p, classes = task.parameters, tables.known_classes(task.classes, labels)
    bought = questions.training_questions(task.samples, labels, classes, task.read)
    model, log = questions.teach(task.base, bought, state, p.vlm)

    def measured(held_out: pd.DataFrame, labels: pd.DataFrame, *, by_modality: bool) -> dict[str, Any]:
        asked, held, facts = questions.held_questions(task.samples, held_out, labels, classes, task.read)
        return measure_questions(model, classes, asked, held, facts, p.vlm, by_modality=by_modality)

    validation = measured(task.validation, labels, by_modality=True)
    test = measured(task.test, tables.empty_labels(), by_modality=False)
    if last:
        return Learned(log, validation, test, None)
    ids = tables.looked_at_ids(tables.pool_ids(task.samples), labels, p.rounds.candidates, state.rng("candidates"))
    asked = questions.questions_of(task.samples, ids, task.read)
    return Learned(log, validation, test, questions.appraise_questions(model, asked, classes, state, p.vlm))


def simulate_questions(task: QuestionTask, answer: Answer, learn: Learn = learn) -> Iterator[QuestionRound]:
    """All rounds of a run and the closing measurement; the same steps as the Kedro nodes call.

    A round that a stop rule ended bought nothing, and is its own closing measurement.

    Args:
        learn: in place of ``learn``, for runs that share a round.
    """
    p, prices = task.parameters, tables.pool_prices(task.samples)
    state = steps.first_state(questions.MODALITIES, task.classes, p.rounds.seed, p.policy)
    pool_ids, n_validation = tables.pool_ids(task.samples), len(task.validation)
    batch = steps.choose_start(
        task.features, pool_ids, n_validation, tables.empty_labels(), task.classes, state, p.rounds, prices
    )
    labels = _bought(task, tables.empty_labels(), batch, answer)
    state = steps.next_state(state, batch)
    for _ in range(p.rounds.rounds):
        if nothing_to_buy(prices, labels, p.rounds):
            break
        learned = learn(task, labels, state, False)
        seen = learned.seen
        assert seen is not None
        labels_spent = tables.spent(labels, n_validation)
        classes = tables.known_classes(task.classes, labels)
        observation = observe(
            learned.validation, learned.log, seen.predictions, seen.terms, labels, classes, labels_spent,
            p.rounds.budget or len(pool_ids),
        )
        state = steps.adapt(
            state, learned.validation, observation, questions.MODALITIES, labels_spent, p.balance, p.rounds, p.policy
        )
        batch = steps.choose_batch(
            task.features, seen.predictions, seen.terms, pool_ids, labels, n_validation, task.classes, state, p.rounds,
            p.balance, prices,
        )
        yield QuestionRound(labels, learned.validation, learned.test, tables.terms_to_frame(seen.terms), batch)
        if state.stopped:
            return
        labels = _bought(task, labels, batch, answer)
        state = steps.next_state(state, batch)
    learned = learn(task, labels, state, True)
    yield QuestionRound(labels, learned.validation, learned.test, pd.DataFrame(), tables.empty_batch(state.round_idx))


def _bought(task: QuestionTask, labels: pd.DataFrame, batch: pd.DataFrame, answer: Answer) -> pd.DataFrame:
    return tables.add_answers(labels, tables.annotation_batch(batch, task.samples, None, ()), answer)

"""The policy learns, acts, and the batch it chose is bought."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rlmba_pipelines.config import BalanceConfig, LabelingConfig, PolicyConfig, RoundsConfig
from rlmba_pipelines.datasets import Answers
from rlmba_pipelines.labeling import SETTLED, PeopleOracle, SimulatedOracle, resolve, sheet_of
from rlmba_pipelines.learning.types import Features, Predictions, UserError
from rlmba_pipelines.simulation import decide, steps, tables


def open_run(setup: dict[str, Any], rounds: RoundsConfig, policy: PolicyConfig) -> dict[str, Any]:
    """The state before anything was seen."""
    return tables.state_to_dict(steps.first_state(setup["modalities"], setup["classes"], rounds.seed, policy))


def choose_start(
    features: Features,
    samples: pd.DataFrame,
    given_labels: pd.DataFrame,
    setup: dict[str, Any],
    round_state: dict[str, Any],
    rounds: RoundsConfig,
    labeling: LabelingConfig,
) -> pd.DataFrame:
    """The batch of round 0, chosen without a model."""
    return steps.choose_start(
        features,
        tables.pool_ids(samples),
        setup["n_validation"],
        given_labels,
        tuple(setup["classes"]),
        tables.state_from_dict(round_state),
        rounds,
        tables.pool_prices(samples, tables.answers_wanted(setup, labeling)),
    )


def adapt_policy(
    round_state: dict[str, Any],
    validation_metrics: dict[str, Any],
    training_log: dict[str, Any],
    predictions: Predictions,
    terms: pd.DataFrame,
    labels: pd.DataFrame,
    setup: dict[str, Any],
    balance: BalanceConfig,
    rounds: RoundsConfig,
    policy: PolicyConfig,
    *,
    share_of_pool: bool = False,
) -> dict[str, Any]:
    """Weights, policy and stop rules after this round's validation.

    Args:
        share_of_pool: without a budget, labels spent count as a share of the pool and not of what the round looks at.
    """
    labels_spent = tables.spent(labels, setup["n_validation"])
    observation = decide.observe(
        validation_metrics,
        training_log,
        predictions,
        tables.terms_from_frame(terms),
        labels,
        tables.known_classes(setup["classes"], labels),
        labels_spent,
        rounds.budget or (setup["n_pool"] if share_of_pool else None),
    )
    state = steps.adapt(
        tables.state_from_dict(round_state),
        validation_metrics,
        observation,
        setup["modalities"],
        labels_spent,
        balance,
        rounds,
        policy,
    )
    return tables.state_to_dict(state)


def choose_batch(
    features: Features,
    predictions: Predictions,
    terms: pd.DataFrame,
    samples: pd.DataFrame,
    labels: pd.DataFrame,
    setup: dict[str, Any],
    adapted_state: dict[str, Any],
    rounds: RoundsConfig,
    balance: BalanceConfig,
    labeling: LabelingConfig,
) -> pd.DataFrame:
    """The next batch, in the order of choice, with the reasons."""
    return steps.choose_batch(
        features,
        predictions,
        tables.terms_from_frame(terms),
        tables.pool_ids(samples),
        labels,
        setup["n_validation"],
        tuple(setup["classes"]),
        tables.state_from_dict(adapted_state),
        rounds,
        balance,
        tables.pool_prices(samples, tables.answers_wanted(setup, labeling)),
    )


def request_start_labels(
    selection: pd.DataFrame, samples: pd.DataFrame, setup: dict[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The start batch: for the machine, for tools (JSON Lines) and for people (CSV)."""
    batch = tables.annotation_batch(selection, samples, None, ())
    sheet = sheet_of(batch, explained=setup.get("explained", False))
    return batch, sheet, sheet


def request_labels(
    selection: pd.DataFrame,
    samples: pd.DataFrame,
    predictions: Predictions,
    labels: pd.DataFrame,
    setup: dict[str, Any],
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The batch with the model's guess and the reasons: for the machine, for tools (JSON Lines), for people (CSV)."""
    classes = tables.known_classes(setup["classes"], labels)
    batch = tables.annotation_batch(selection, samples, predictions, classes)
    sheet = sheet_of(batch)
    return batch, sheet, sheet


def buy_labels(
    annotation_batch: pd.DataFrame,
    answers: Answers,
    labels: pd.DataFrame,
    round_state: dict[str, Any],
    setup: dict[str, Any],
    labeling: LabelingConfig,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ask whoever answers; the ledger gets what it has not yet, the next round the labels.

    Raises:
        WaitingForLabels: people have not answered everything yet.
        UserError: they have, but too little of the start batch can be trained on.
    """
    this_round = round_state["round_idx"]
    withdrawn = answers.withdrawn()
    annotation_batch = annotation_batch[~annotation_batch["sample_id"].isin(withdrawn)]
    if setup["annotator"] == "simulated":
        labels_next = tables.add_answers(labels, annotation_batch, SimulatedOracle(answers.hidden_labels).label)
        bought = labels_next[labels_next["round"] == this_round]
        return bought[bought["annotator"] != tables.GIVEN], labels_next
    rows, closed = answers.of_people()
    resolved = resolve(rows, labeling, closed=closed, open_round=this_round)
    settled = resolved[resolved["state"] == SETTLED]
    oracle = PeopleOracle(resolved, closed=this_round in closed)
    answered = tables.add_answers(labels, annotation_batch, oracle.label)
    labels_next = tables.with_corrections(answered, settled, withdrawn)
    if this_round == 0 and (n := tables.n_training(labels_next)) < tables.LEAST_LABELS:
        raise UserError(
            f"The answers to the start batch come to {n} training labels, and {tables.LEAST_LABELS} are the least that "
            "can be learned from; give labels to more of its samples with 'kedro rounds import FILE --correct'."
        )
    return rows.iloc[:0], labels_next


def close_round(state: dict[str, Any], annotation_batch: pd.DataFrame) -> dict[str, Any]:
    """What the next round starts from."""
    return tables.state_to_dict(steps.next_state(tables.state_from_dict(state), annotation_batch))

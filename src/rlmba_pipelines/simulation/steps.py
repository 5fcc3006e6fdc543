"""The steps of a round, each one function of data: learn, appraise, measure, adapt, choose.

Kedro nodes and ``run_round`` call these and nothing else, so a simulated round and a Kedro round are the same round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from rlmba_pipelines.config import BalanceConfig, EvidenceConfig, FusionConfig, PolicyConfig, RoundsConfig
from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.balance import modality_weights
from rlmba_pipelines.learning.evidence import evidence_of, terms_of
from rlmba_pipelines.learning.mdp import State, stop_reason
from rlmba_pipelines.learning.metrics.evaluation import contributions, measure
from rlmba_pipelines.learning.policy import policy_from_dict
from rlmba_pipelines.learning.policy.fixed import FixedPolicy
from rlmba_pipelines.learning.types import (
    UNLABELED,
    Action,
    Evidence,
    Features,
    Labels,
    PoolView,
    Predictions,
    RoundState,
    Selection,
    Terms,
    rows_of,
)
from rlmba_pipelines.models.fit import fit_fusion
from rlmba_pipelines.models.predict import predict_fusion, predict_subset
from rlmba_pipelines.models.state import FusionState
from rlmba_pipelines.simulation.tables import (
    TRAINING,
    VALIDATION,
    arms_of,
    batch_of,
    empty_batch,
    known_classes,
    labels_for,
    spent,
)


def first_state(modalities: Sequence[str], seed: int, policy: PolicyConfig) -> RoundState:
    """Before anything was seen: equal weights, the prior θ."""
    uniform_M = np.full(len(modalities), 1 / len(modalities))
    prior = Action(**policy.model_dump())
    return RoundState(0, uniform_M, FixedPolicy(prior).to_dict(), seed, prior)


def next_state(state: RoundState) -> RoundState:
    """What the next round starts from."""
    return replace(state, round_idx=state.round_idx + 1)


def learn(features: Features, labels: Labels, state: RoundState, fusion: FusionConfig) -> FusionState:
    """Train from scratch on everything bought for training; initial weights hang on seed and round only."""
    seed = int(state.rng("train").integers(2**31))
    return fit_fusion(features, labels, fusion, seed=seed, weights_M=state.weights_M)


def appraise(
    model: FusionState, pool: Features, state: RoundState, fusion: FusionConfig, evidence: EvidenceConfig
) -> tuple[Predictions, Evidence, Terms]:
    """What the model says about the pool, how sure it is, and what that is worth in terms."""
    predictions = predict_fusion(model, pool, fusion)
    opinions = evidence_of(predictions, source=evidence.source, rule=evidence.rule, weights_M=state.weights_M)
    terms = terms_of(opinions, predictions)
    # draws are most of what a round writes: those of single modalities are in the evidence now, and float32 logits
    # are behind the others
    kept = replace(
        predictions,
        draws_NKC=predictions.draws_NKC.astype(np.float32),
        unimodal_draws_NMKC=predictions.unimodal_draws_NMKC[:, :, :0],
    )
    return kept, opinions, terms


def measure_validation(
    model: FusionState, features: Features, validation: pd.DataFrame, labels: pd.DataFrame, fusion: FusionConfig
) -> dict[str, float]:
    """``measure_on`` the validation split ``sample_id, label``, or on the random slice that was bought for it."""
    return measure_on(
        model, features, validation if len(validation) else labels[labels["purpose"] == VALIDATION], fusion
    )


def measure_on(model: FusionState, features: Features, held: pd.DataFrame, fusion: FusionConfig) -> dict[str, float]:
    """Accuracy, macro-F1, NLL, ECE, accuracy of each modality's head, Shapley values and imbalance; {} without labels.

    Args:
        held: ``sample_id, label``; labels of classes that the model has not met are left out.
    """
    held_labels = labels_for(held.assign(purpose=VALIDATION), model.classes, VALIDATION)
    if not len(held_labels):
        return {}
    held_features = features.take(held_labels.sample_ids)
    found = measure(predict_fusion(model, held_features, fusion), held_labels)
    return {
        **found,
        **contributions(partial(predict_subset, model, held_features, fusion), held_labels, features.modalities),
        "n_classes": len(model.classes),
        "n": len(held_labels),
        "n_correct": round(found["accuracy"] * len(held_labels)),
    }


def adapt(
    state: RoundState,
    validation: Mapping[str, float],
    modalities: Sequence[str],
    labels_spent: int,
    balance: BalanceConfig,
    rounds: RoundsConfig,
) -> RoundState:
    """AMCB and the policy look at validation: new modality weights, the next action, and whether to stop."""
    if not validation:
        return state
    if balance.prior == "published":  # a modality that no validation sample has is as good as guessing
        contribution = [validation.get(f"accuracy_{name}", 1 / validation["n_classes"]) for name in modalities]
    else:
        contribution = [validation[f"shapley_{name}"] for name in modalities]
    weights_M = modality_weights(
        np.array(contribution),
        prior=balance.prior,
        previous_M=state.weights_M,
        temperature=balance.temperature,
        ema=balance.ema,
        floor=balance.floor,
    )
    accuracies = (*state.accuracies, validation["accuracy"])
    seen = State(
        accuracy=validation["accuracy"],
        nll=validation["nll"] / np.log(validation["n_classes"]),
        ece=validation["ece"],
        imbalance=validation["imbalance"],
        spent=labels_spent / rounds.budget if rounds.budget else 0.0,
        contribution={name: validation[f"shapley_{name}"] for name in modalities},
    )
    return replace(
        state,
        weights_M=weights_M,
        action=policy_from_dict(state.policy).act(seen, state.rng("policy")),
        accuracies=accuracies,
        stopped=stopped_because(accuracies, labels_spent, rounds),
    )


def stopped_because(accuracies: Sequence[float], labels_spent: int, rounds: RoundsConfig) -> str | None:
    """Why nothing more is bought under ``rounds``, or None. A rule that held once holds until it is changed."""
    plateau = rounds.plateau
    reasons = (
        stop_reason(
            accuracies[:k],
            labels_spent=labels_spent,
            budget=rounds.budget,
            target_accuracy=rounds.target_accuracy,
            plateau_rounds=plateau.rounds if plateau else None,
            plateau_gain=plateau.min_gain if plateau else 0.0,
        )
        for k in range(len(accuracies) + 1)
    )
    return next((reason for reason in reasons if reason), None)


def choose_start(
    features: Features,
    pool_ids: np.ndarray,
    n_validation: int,
    given: pd.DataFrame,
    classes: tuple[str, ...],
    state: RoundState,
    rounds: RoundsConfig,
) -> pd.DataFrame:
    """The batch of round 0, which every strategy with the same seed shares: no model yet, so it covers the pool."""
    view = view_of(features, pool_ids, given, known_classes(classes, given), state)
    whole = batch_size(rounds.start_size or rounds.query_size, len(pool_ids))
    share = _slice_share(n_validation, state, rounds)
    if len(given) >= whole:  # enough to train on is there; what is missing is a fair sample to measure on
        whole, share = len(given) + round(whole * share), 1.0
    size = affordable(whole - len(given), spent(given, n_validation), rounds)
    return _choose(view, rounds.start_strategy, {}, size, state, share)


def choose_batch(
    features: Features,
    predictions: Predictions,
    terms: Terms,
    pool_ids: np.ndarray,
    labels: pd.DataFrame,
    n_validation: int,
    classes: tuple[str, ...],
    state: RoundState,
    rounds: RoundsConfig,
) -> pd.DataFrame:
    """The next batch: ``sample_id, rank, round, purpose, utility`` and the reasons of the strategy."""
    view = view_of(features, pool_ids, labels, known_classes(classes, labels), state, predictions, terms)
    size = affordable(batch_size(rounds.query_size, len(pool_ids)), spent(labels, n_validation), rounds)
    share = _slice_share(n_validation, state, rounds)
    return _choose(view, rounds.strategy, rounds.strategy_options, size, state, share)


def batch_size(asked: int | None, n_pool: int) -> int:
    """The size of a batch: as asked, or 5 % of the pool within 10 and 200.

    >>> batch_size(None, 4000), batch_size(None, 60), batch_size(25, 60)
    (200, 10, 25)
    """
    return asked if asked is not None else min(max(10, n_pool // 20), 200, n_pool)


def affordable(size: int, labels_spent: int, rounds: RoundsConfig) -> int:
    """How many labels the budget still pays for, at most ``size``."""
    return size if rounds.budget is None else max(0, min(size, rounds.budget - labels_spent))


def _slice_share(n_validation: int, state: RoundState, rounds: RoundsConfig) -> float:
    """Share of this batch that is drawn for validation: the first two batches pay for it where no split was given."""
    return 0.0 if n_validation or state.round_idx > 1 else rounds.validation_share


def _choose(
    view: PoolView, strategy: str, options: Mapping[str, object], size: int, state: RoundState, validation_share: float
) -> pd.DataFrame:
    """A batch of ``size``, of which ``validation_share`` is drawn uniformly so that accuracy is measured honestly."""
    candidate_ids = view.sample_ids[view.candidate_rows]
    size = min(size, len(candidate_ids))
    if size == 0 or state.stopped:
        return empty_batch(state.round_idx)
    n_slice = min(size, max(1, round(size * validation_share))) if validation_share else 0
    slice_ids = np.sort(state.rng("validation").permutation(candidate_ids)[:n_slice])
    frames = []
    if size > n_slice:
        chosen = select_batch(strategy, without(view, slice_ids), size - n_slice, state.rng("select"), options)
        frames.append(batch_of(chosen, TRAINING, state.round_idx))
    if n_slice:
        frames.append(batch_of(Selection(slice_ids, np.zeros(n_slice)), VALIDATION, state.round_idx))
    batch = pd.concat(frames, ignore_index=True)
    return batch.assign(rank=np.arange(1, len(batch) + 1))


def view_of(
    features: Features,
    pool_ids: np.ndarray,
    labels: pd.DataFrame,
    classes: tuple[str, ...],
    state: RoundState,
    predictions: Predictions | None = None,
    terms: Terms | None = None,
) -> PoolView:
    """What strategies may look at, sorted by id. Samples bought for validation are neither candidates nor covered."""
    validation_ids = labels.loc[labels["purpose"] == VALIDATION, "sample_id"].to_numpy(dtype=str)
    sample_ids = np.setdiff1d(pool_ids, validation_ids)
    training = labels_for(labels, classes, TRAINING)
    y = np.full(len(sample_ids), UNLABELED, dtype=np.int64)
    y[rows_of(sample_ids, training.sample_ids)] = training.y
    taken = features.take(sample_ids)
    return PoolView(
        sample_ids=sample_ids,
        labeled_N=y != UNLABELED,
        modalities=features.modalities,
        present_NM=taken.present_NM,
        features=taken.blocks,
        predictions=None if predictions is None else predictions.take(sample_ids),
        terms=None if terms is None else terms.take(sample_ids),
        y=y,
        arm_N=np.where(y != UNLABELED, arms_of(labels, sample_ids), UNLABELED),
        weights_M=state.weights_M,
        action=state.action,
    )


def without(view: PoolView, sample_ids: np.ndarray) -> PoolView:
    """The view without some of its candidates."""
    if not len(sample_ids):
        return view
    keep = ~np.isin(view.sample_ids, sample_ids)
    kept_ids = view.sample_ids[keep]
    return replace(
        view,
        sample_ids=kept_ids,
        labeled_N=view.labeled_N[keep],
        present_NM=None if view.present_NM is None else view.present_NM[keep],
        features=None if view.features is None else {name: block[keep] for name, block in view.features.items()},
        predictions=None if view.predictions is None else view.predictions.take(kept_ids),
        terms=None if view.terms is None else view.terms.take(kept_ids),
        y=None if view.y is None else view.y[keep],
        arm_N=None if view.arm_N is None else view.arm_N[keep],
    )

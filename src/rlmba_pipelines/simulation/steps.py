"""The steps of a round, each one function of data: learn, appraise, measure, adapt, choose.

Kedro nodes and ``run_round`` call these and nothing else, so a simulated round and a Kedro round are the same round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from rlmba_pipelines.config import BalanceConfig, FusionConfig, PolicyConfig, RoundsConfig
from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.balance import modality_weights
from rlmba_pipelines.learning.policy import start_policy
from rlmba_pipelines.learning.types import (
    UNLABELED,
    Features,
    PoolView,
    Predictions,
    RoundState,
    Selection,
    Terms,
    rng_of,
    rows_of,
)
from rlmba_pipelines.models.fit import fit_fusion
from rlmba_pipelines.models.self_training import fit_student
from rlmba_pipelines.models.state import FusionState
from rlmba_pipelines.simulation.budget import Money, affordable, batch_size, priced, stopped_because, within
from rlmba_pipelines.simulation.decide import Observation, learned, prior_of, score_of
from rlmba_pipelines.simulation.measurement import held_labels
from rlmba_pipelines.simulation.tables import (
    LEAST_LABELS,
    TRAINING,
    VALIDATION,
    arms_of,
    batch_of,
    empty_batch,
    known_classes,
    labels_for,
    looked_at_ids,
    spent,
    spoiled_ids,
    with_known,
)


def first_state(modalities: Sequence[str], classes: Sequence[str], seed: int, policy: PolicyConfig) -> RoundState:
    """Before anything was seen: equal weights, a policy that has learned nothing of this run, the prior θ.

    Args:
        classes: names known in advance; a pre-trained policy takes weights by them that never saw these data.
    """
    uniform_M = np.full(len(modalities), 1 / len(modalities))
    prior = prior_of(policy)
    started = start_policy(policy.name, prior, rng_of(seed, 0, "policy"), policy.options, classes)
    return RoundState(0, uniform_M, started.to_dict(), seed, prior)


def next_state(state: RoundState, batch: pd.DataFrame) -> RoundState:
    """What the next round starts from, once ``batch`` is bought."""
    return replace(state, round_idx=state.round_idx + 1, score=score_of(batch, state.score))


def learn(
    features: Features,
    labels: pd.DataFrame,
    validation: pd.DataFrame,
    classes: tuple[str, ...],
    state: RoundState,
    fusion: FusionConfig,
    pool_ids: np.ndarray | None = None,
    *,
    weigh: bool = True,
) -> FusionState:
    """Train from scratch on everything bought for training; initial weights hang on seed and round only.

    Args:
        labels: everything bought.
        pool_ids: str[N]; with ``fusion.self_training`` so many of those not bought, drawn, are learned from too. None:
            from labels alone.
        validation: ``sample_id, label`` of the validation split; looked at by early stopping alone.
        weigh: whether the modality weights enter the fusion; otherwise all modalities weigh alike.
    """
    seed = int(state.rng("train").integers(2**31))
    training, held = labels_for(labels, classes, TRAINING), held_labels(validation, labels, classes)
    weights_M = state.weights_M if weigh else None
    if pool_ids is None or not fusion.self_training:
        return fit_fusion(features, training, fusion, seed=seed, weights_M=weights_M, validation=held)
    seen = looked_at_ids(pool_ids, labels, fusion.self_training, state.rng("self_training"))
    unlabeled = np.setdiff1d(seen, labels["sample_id"].to_numpy(dtype=str))
    return fit_student(features, training, unlabeled, fusion, seed=seed, weights_M=weights_M, validation=held)


def adapt(
    state: RoundState,
    validation: Mapping[str, float],
    observation: Observation | None,
    modalities: Sequence[str],
    labels_spent: int,
    balance: BalanceConfig,
    rounds: RoundsConfig,
    policy: PolicyConfig,
) -> RoundState:
    """AMCB and the policy look at validation: new modality weights, the next action, and whether to stop.

    The policy learns from the batch before, once, and acts; without anything to measure on all stays as it is.
    """
    if not validation or observation is None:
        return state
    if balance.prior == "published":  # a modality that no validation sample has is as good as guessing
        contribution = [validation.get(f"accuracy_{name}", 1 / validation["n_classes"]) for name in modalities]
    elif balance.prior == "under_use":
        contribution = [validation.get(f"under_use_{name}", 0.0) for name in modalities]
    else:
        contribution = [validation[f"shapley_{name}"] for name in modalities]
    weights_M = modality_weights(
        np.array(contribution),
        prior=balance.prior,
        residual_M=residual_of(state.policy, modalities),
        previous_M=state.weights_M,
        temperature=balance.temperature,
        ema=balance.ema,
        floor=balance.floor,
    )
    accuracies = (*state.accuracies, validation["accuracy"])
    return replace(
        learned(state, observation, policy.reward),
        weights_M=weights_M,
        accuracies=accuracies,
        stopped=stopped_because(accuracies, labels_spent, rounds),
    )


def residual_of(policy: Mapping[str, object], modalities: Sequence[str]) -> np.ndarray:
    """float64[M]: what the policy has learned to add to the log-weights (``weight_residual`` of its state), or 0."""
    learned_by_name = policy.get("weight_residual")
    if not isinstance(learned_by_name, Mapping):
        return np.zeros(len(modalities))
    return np.array([float(learned_by_name.get(name, 0.0)) for name in modalities])


def choose_start(
    features: Features,
    pool_ids: np.ndarray,
    n_validation: int,
    given: pd.DataFrame,
    classes: tuple[str, ...],
    state: RoundState,
    rounds: RoundsConfig,
    prices: pd.Series | None = None,
) -> pd.DataFrame:
    """The batch of round 0, which every strategy with the same seed shares: no model yet, so it covers the pool.

    Args:
        prices: what a label costs, by sample id; None: all cost the same.
    """
    seen_ids = looked_at_ids(pool_ids, given, rounds.candidates, state.rng("candidates"))
    view = view_of(features, seen_ids, given, known_classes(classes, given), state)
    whole = max(LEAST_LABELS, batch_size(rounds.start_size or rounds.query_size, len(pool_ids)))
    share = _slice_share(n_validation, state, rounds)
    if len(given) >= whole:  # enough to train on is there; what is missing is a fair sample to measure on
        whole, share = len(given) + round(whole * share), 1.0
    size = affordable(whole - len(given), spent(given, n_validation), rounds)
    view, left = priced(view, prices, given, rounds)
    return _choose(view, rounds.start_strategy, {}, size, state, share, rounds.threads, left)


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
    balance: BalanceConfig,
    prices: pd.Series | None = None,
) -> pd.DataFrame:
    """The next batch: ``sample_id, rank, round, purpose, utility``, what the strategy looked at and all that was known.

    Args:
        predictions, terms: of what this round looks at, see ``tables.looked_at_ids``; that is what can be chosen.
        prices: what a label costs, by sample id; None: all cost the same.
    """
    action = replace(state.action, weigh_utility=balance.enter_utility, weigh_kernel=balance.enter_kernel)
    state = replace(state, action=action)
    classes = known_classes(classes, labels)
    view = view_of(features, predictions.sample_ids, labels, classes, state, predictions, terms)
    size = affordable(batch_size(rounds.query_size, len(pool_ids)), spent(labels, n_validation), rounds)
    share = _slice_share(n_validation, state, rounds)
    view, left = priced(view, prices, labels, rounds)
    batch = _choose(view, rounds.strategy, rounds.strategy_options, size, state, share, rounds.threads, left)
    return with_known(batch, terms, features, state.weights_M)


def _slice_share(n_validation: int, state: RoundState, rounds: RoundsConfig) -> float:
    """Share of this batch that is drawn for validation: the first two batches pay for it where no split was given."""
    return 0.0 if n_validation or state.round_idx > 1 else rounds.validation_share


def _choose(
    view: PoolView,
    strategy: str,
    options: Mapping[str, object],
    size: int,
    state: RoundState,
    validation_share: float,
    threads: int,
    money: Money | None = None,
) -> pd.DataFrame:
    """A batch of ``size``, of which ``validation_share`` is drawn uniformly so that accuracy is measured honestly."""
    candidate_ids = view.sample_ids[view.candidate_rows]
    size = min(size, len(candidate_ids))
    if size == 0 or state.stopped:
        return empty_batch(state.round_idx)
    most = max(0, size - LEAST_LABELS) if state.round_idx == 0 and validation_share < 1 else size
    n_slice = min(most, max(1, round(size * validation_share))) if validation_share else 0
    slice_ids = np.sort(state.rng("validation").permutation(candidate_ids)[:n_slice])
    frames = []
    if size > n_slice:
        with threadpool_limits(limits=threads):
            chosen = select_batch(strategy, view.without(slice_ids), size - n_slice, state.rng("select"), options)
        frames.append(batch_of(chosen, TRAINING, state.round_idx))
    if n_slice:
        frames.append(batch_of(Selection(slice_ids, np.zeros(n_slice)), VALIDATION, state.round_idx))
    batch = pd.concat(frames, ignore_index=True)
    if money:
        batch = within(batch, money)
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
    """What strategies may look at, sorted by id. Samples bought for validation are neither candidates nor covered,
    nor are those that can have no label."""
    validation_ids = labels.loc[labels["purpose"] == VALIDATION, "sample_id"].to_numpy(dtype=str)
    sample_ids = np.setdiff1d(pool_ids, np.union1d(validation_ids, spoiled_ids(labels)))
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
        policy=state.policy,
    )

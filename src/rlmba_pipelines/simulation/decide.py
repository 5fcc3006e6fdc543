"""What a policy sees of a round, what it is rewarded with, and the one place where it learns and acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from rlmba_pipelines.config import PolicyConfig, RewardConfig
from rlmba_pipelines.learning.forecast import forecast_accuracy
from rlmba_pipelines.learning.mdp import State, Transition, published_reward, reward
from rlmba_pipelines.learning.policy import policy_from_dict
from rlmba_pipelines.learning.policy.published import SCORE
from rlmba_pipelines.learning.summaries import label_entropy, pool_summary, training_summary
from rlmba_pipelines.learning.theta import SHARED_COORDINATES
from rlmba_pipelines.learning.types import Action, Predictions, RoundState, Terms
from rlmba_pipelines.simulation.tables import GIVEN, TRAINING, labels_for

THETA = (*SHARED_COORDINATES, "rarity", "difficulty")  # what the parameters of the policy say of the prior θ


@dataclass(frozen=True)
class Observation:
    """A round as the decision process sees it.

    Attributes:
        n_training: labels the model was trained on.
        price: what the batch before cost, in the manifest's unit.
    """

    state: State
    n_training: int
    price: float


def prior_of(policy: PolicyConfig) -> Action:
    """The prior θ that the parameters name."""
    return Action(**{name: getattr(policy, name) for name in THETA})


def observe(
    validation: Mapping[str, float],
    training_log: Mapping[str, Any],
    predictions: Predictions,
    terms: Terms,
    labels: pd.DataFrame,
    classes: tuple[str, ...],
    labels_spent: int,
    budget: int | None,
) -> Observation | None:
    """The state of the decision process after a model was trained, measured and shown the pool.

    Args:
        validation: metrics of the model; {} where there is nothing to measure on, and then there is no observation.
        predictions, terms: of the samples that the round looks at.
        labels: everything bought so far.
        budget: what labels spent are a share of, of the whole run; None: of the samples looked at.
    """
    if not validation:
        return None
    modalities = predictions.modalities
    training = labels_for(labels, classes, TRAINING)
    labeled_N = np.isin(predictions.sample_ids, training.sample_ids)
    candidate_N = ~np.isin(predictions.sample_ids, labels["sample_id"].to_numpy(dtype=str))
    summaries: dict[str, Any] = {
        **training_summary(training_log),
        **pool_summary(predictions, terms, candidate_N, labeled_N),
    }
    state = State(
        accuracy=validation["accuracy"],
        nll=validation["nll"] / float(np.log(validation["n_classes"])),
        ece=validation["ece"],
        imbalance=validation["imbalance"],
        spent=labels_spent / (budget or max(len(predictions.sample_ids), 1)),
        contribution={name: validation[f"shapley_{name}"] for name in modalities},
        label_entropy=label_entropy(np.bincount(training.y, minlength=len(classes))),
        **summaries,
    )
    last = (labels["round"] == labels["round"].max()) & (labels["annotator"] != GIVEN)
    return Observation(state, len(training), float(labels.loc[last, "cost"].sum()))


def learned(state: RoundState, observation: Observation, config: RewardConfig) -> RoundState:
    """The policy learns from the batch before, exactly once, and acts on what is seen now.

    Nothing is learned in the first round that is measured: no action came before it. The caller adds the accuracy.
    """
    policy, seen, rewards = policy_from_dict(state.policy), observation.state, state.rewards
    if state.observed is not None:
        before = State(**state.observed)  # type: ignore[arg-type]
        earned = reward_of(state, before, observation, config)
        policy = policy.update(Transition(before, state.action, earned, seen, state.score))
        rewards = (*rewards, earned)
    return replace(
        state,
        policy=policy.to_dict(),
        action=policy.act(seen, state.rng("policy")),
        label_counts=(*state.label_counts, observation.n_training),
        rewards=rewards,
        observed=seen.to_dict(),
        score={},
    )


def reward_of(state: RoundState, before: State, observation: Observation, config: RewardConfig) -> float:
    """The reward of the last action; relative to baselines where a simulation has run them (published)."""
    seen = observation.state
    if state.baselines.get("accuracy"):
        return published_reward(seen.accuracy, lambda: state.baselines["accuracy"])
    expected = state.accuracies[-1]
    if config.forecast:
        expected = forecast_accuracy(state.label_counts, state.accuracies, observation.n_training)
    return reward(
        expected,
        seen.accuracy,
        before.imbalance,
        seen.imbalance,
        balance_weight=config.balance_weight,
        cost=config.cost_weight * observation.price,
    )


def score_of(batch: pd.DataFrame, before: Mapping[str, float]) -> dict[str, float]:
    """Gradient of a batch's log-probability by the weights of the policy that drew it, added to what is unlearned."""
    columns = [str(name) for name in batch.columns if str(name).startswith(SCORE)]
    drawn = {name.removeprefix(SCORE): float(batch[name].sum()) for name in columns}
    return {name: before.get(name, 0.0) + drawn.get(name, 0.0) for name in sorted({*before, *drawn})}

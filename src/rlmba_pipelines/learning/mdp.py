"""The decision process: what a policy sees, does and is rewarded for.

Concept  labeling round by round as a Markov decision process (RL-MBA, arXiv 2603.25107).
Source   the abstract: reward from accuracy gain and modality balance.
Stated   state, action and reward are named; their exact form was not readable.
Chosen   a scale-free state, so that a policy can transfer; theta (``types.Action``) is the action; reward is accuracy
         gain plus lambda times the fall of modality imbalance, both on validation only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlmba_pipelines.learning.types import Action


@dataclass(frozen=True)
class State:
    """What a policy sees before it acts; every field is free of the size of pool, classes and modalities.

    Attributes:
        accuracy, ece, imbalance: on validation, in [0, 1].
        nll: on validation, divided by ln C: 1 is a uniform guess.
        spent: labels bought, as a share of the budget (of the pool where there is no budget).
        contribution: modality -> Shapley value.
    """

    accuracy: float
    nll: float
    ece: float
    imbalance: float
    spent: float
    contribution: Mapping[str, float]


@dataclass(frozen=True)
class Transition:
    """One round as a policy learns from it."""

    state: State
    action: Action
    reward: float
    next_state: State


def reward(
    accuracy_before: float,
    accuracy_after: float,
    imbalance_before: float,
    imbalance_after: float,
    *,
    balance_weight: float = 0.0,
) -> float:
    """Accuracy gained, plus ``balance_weight`` (lambda) times the imbalance lost; higher is better.

    >>> reward(0.5, 0.75, 0.5, 0.25, balance_weight=0.5)
    0.375
    """
    return (accuracy_after - accuracy_before) - balance_weight * (imbalance_after - imbalance_before)


def stop_reason(
    accuracies: Sequence[float],
    *,
    labels_spent: int,
    budget: int | None = None,
    target_accuracy: float | None = None,
    plateau_rounds: int | None = None,
    plateau_gain: float = 0.0,
) -> str | None:
    """Why nothing more should be bought, one clause, or None. The first of target, budget and plateau that holds.

    Args:
        accuracies: validation accuracy of every round so far, oldest first.
        labels_spent: labels bought, validation included.
        budget: labels that may be bought over the whole run.
        target_accuracy: enough, in (0, 1].
        plateau_rounds: stop when these last rounds brought less than ``plateau_gain`` over the best before them.

    >>> stop_reason([0.5, 0.8], labels_spent=300, target_accuracy=0.75)
    'accuracy 0.800 reached the target 0.750'
    >>> stop_reason([0.5, 0.7, 0.7, 0.7], labels_spent=300, plateau_rounds=2, plateau_gain=0.01)
    'the last 2 rounds gained less than 0.01'
    >>> stop_reason([0.5, 0.7], labels_spent=300, budget=500) is None
    True
    """
    if target_accuracy is not None and accuracies and accuracies[-1] >= target_accuracy:
        return f"accuracy {accuracies[-1]:.3f} reached the target {target_accuracy:.3f}"
    if budget is not None and labels_spent >= budget:
        return f"the budget of {budget} labels is spent"
    if plateau_rounds is not None and len(accuracies) > plateau_rounds:
        gain = max(accuracies[-plateau_rounds:]) - max(accuracies[:-plateau_rounds])
        if gain < plateau_gain:
            return f"the last {plateau_rounds} rounds gained less than {plateau_gain:g}"
    return None

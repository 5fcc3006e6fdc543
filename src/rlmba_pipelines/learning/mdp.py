"""The decision process: what a policy sees, does and is rewarded for.

Concept  labeling round by round as a Markov decision process (RL-MBA, arXiv 2603.25107).
Source   the abstract: reward from accuracy gain and modality balance. Relative reward: a third-party note.
Stated   state, action and reward are named; their exact form was not readable.
Chosen   a scale-free state, so that a policy can transfer; theta (``types.Action``) is the action; reward is accuracy
         over what the learning curve forecast, plus lambda times the fall of imbalance, minus cost; validation only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from rlmba_pipelines.learning.types import Action

BOUND = 5.0  # of every number of the vector: far outside what rounds give, and no outlier can blow a policy up

SHARED_FIELDS = (
    "accuracy",
    "nll",
    "ece",
    "imbalance",
    "spent",
    "doubt",
    "doubt_spread",
    "class_diversity",
    "novelty",
    "loss_slope",
    "gradient_norm",
    "label_entropy",
)
MODALITY_FIELDS = ("contribution", "modality_doubt")


@dataclass(frozen=True)
class State:
    """What a policy sees before it acts; every field is free of the size of pool, classes and modalities.

    Nothing depends on the order of samples or classes; what belongs to a modality goes by its name.

    Attributes:
        accuracy, ece, imbalance: on validation, in [0, 1].
        nll: on validation, divided by ln C: 1 is a uniform guess.
        spent: labels bought, as a share of the budget; without one of the pool, or in RL-MBA of the samples that a
            round looks at (``rounds.candidates``): so its policies were pre-trained.
        contribution: modality -> Shapley value, share of accuracy.
        doubt, doubt_spread: mean and standard deviation over the candidates of the fused margin term, [0, 1].
        class_diversity: entropy of the mean prediction over the candidates / ln C, [0, 1].
        novelty: distance of the candidates' mean embedding from that of the labeled, in standard deviations.
        loss_slope: fall of the training loss over the epochs, as a share of its mean; negative where it falls.
        gradient_norm: g / (1 + g) of the training's last gradient norm, [0, 1).
        label_entropy: entropy of the class shares among the training labels / ln C, [0, 1]; 1 is even.
        modality_doubt: modality -> mean margin term of its own head over the candidates that have it, [0, 1].
    """

    accuracy: float
    nll: float
    ece: float
    imbalance: float
    spent: float
    contribution: Mapping[str, float]
    doubt: float = 0.0
    doubt_spread: float = 0.0
    class_diversity: float = 0.0
    novelty: float = 0.0
    loss_slope: float = 0.0
    gradient_norm: float = 0.0
    label_entropy: float = 0.0
    modality_doubt: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The state as JSON; ``State(**saved)`` reads it."""
        return asdict(self)

    @property
    def shared_vector(self) -> np.ndarray:
        """float64[12], ``SHARED_FIELDS`` in that order, clipped to ±5."""
        return np.clip([getattr(self, name) for name in SHARED_FIELDS], -BOUND, BOUND)

    def modality_matrix(self, modalities: Sequence[str]) -> np.ndarray:
        """float64[M, 2], ``MODALITY_FIELDS`` of each modality in the order given; what is not known is 0."""
        rows = [[getattr(self, name).get(modality, 0.0) for name in MODALITY_FIELDS] for modality in modalities]
        return np.clip(np.array(rows, dtype=np.float64).reshape(len(modalities), len(MODALITY_FIELDS)), -BOUND, BOUND)

    def vector(self, modalities: Sequence[str]) -> np.ndarray:
        """float64[12 + 2 M]: what is shared, then each modality's own numbers in the order given.

        >>> State(.5, .4, .1, .3, .2, {"text": .1, "image": .3}).vector(["image", "text"])[-4:].tolist()
        [0.3, 0.0, 0.1, 0.0]
        """
        return np.concatenate([self.shared_vector, self.modality_matrix(modalities).ravel()])


@dataclass(frozen=True)
class Transition:
    """One round as a policy learns from it.

    Attributes:
        score: gradient of the batch's log-probability by each parameter of the policy that drew it; empty where the
            batch was not drawn.
    """

    state: State
    action: Action
    reward: float
    next_state: State
    score: Mapping[str, float] = field(default_factory=dict)


def reward(
    expected_accuracy: float,
    accuracy_after: float,
    imbalance_before: float,
    imbalance_after: float,
    *,
    balance_weight: float = 0.0,
    cost: float = 0.0,
) -> float:
    """Accuracy over what was expected, plus ``balance_weight`` (lambda) times the imbalance lost, minus ``cost``.

    Args:
        expected_accuracy: ``forecast_accuracy`` of the rounds before; or simply the accuracy before.
        cost: price of the batch, in accuracy.

    >>> reward(0.5, 0.75, 0.5, 0.25, balance_weight=0.5)
    0.375
    >>> reward(0.5, 0.75, 0.5, 0.25, balance_weight=0.5, cost=0.125)
    0.25
    """
    return (accuracy_after - expected_accuracy) - balance_weight * (imbalance_after - imbalance_before) - cost


def published_reward(accuracy_after: float, baselines: Callable[[], Mapping[str, float]]) -> float:
    """The published reward: accuracy minus the mean accuracy of the baselines run on the same pool.

    Simulation only: a baseline's batch needs labels that a real run has not bought, and whoever passes ``baselines``
    has to count them. How several baselines are joined was not readable; the mean is chosen here.

    Args:
        baselines: asked once; name -> accuracy.

    Raises:
        ValueError: there is no baseline.

    >>> published_reward(0.75, lambda: {"badge": 0.5, "bmmal": 0.75})
    0.125
    """
    accuracies = list(baselines().values())
    if not accuracies:
        raise ValueError("published_reward: there is no baseline to compare with")
    return accuracy_after - float(np.mean(accuracies))


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

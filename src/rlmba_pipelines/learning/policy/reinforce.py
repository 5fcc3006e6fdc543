"""REINFORCE over θ: one small scorer shared by all modalities gives each its weights, a head gives the rest of θ.

Concept  a policy gradient over θ (our reading of RL-MBA, arXiv 2603.25107).
Source   Williams 1992; sharing one map over the members of a set: Zaheer et al. 2017 (arXiv 1703.06114).
Stated   nothing for this action.
Chosen   z ~ N(μ(state), σ²) in the coordinates of ``learning.theta``; μ has one hidden tanh layer; output weights start
         at 0, so that an untrained policy has its mean at the prior θ. Baseline, clipped advantage, clipped gradient.

A handful of updates within one run teaches almost nothing: this policy is made to be trained over many episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from rlmba_pipelines.learning.mdp import MODALITY_FIELDS, SHARED_FIELDS, State, Transition
from rlmba_pipelines.learning.policy import action_from
from rlmba_pipelines.learning.policy.advantage import advantage_of
from rlmba_pipelines.learning.theta import MODALITY_COORDINATES, SHARED_COORDINATES, action_at, coordinates_of
from rlmba_pipelines.learning.types import Action, UserError

SHARED_INPUTS = len(SHARED_FIELDS) + 1  # and a constant
MODALITY_INPUTS = 2 * len(MODALITY_FIELDS) + SHARED_INPUTS  # own numbers, own minus the mean of all, what is shared
HIDDEN = 8
SHAPES = {
    "head_in": (HIDDEN, SHARED_INPUTS),
    "head_out": (len(SHARED_COORDINATES), HIDDEN),
    "scorer_in": (HIDDEN, MODALITY_INPUTS),
    "scorer_out": (len(MODALITY_COORDINATES), HIDDEN),
}

Weights = Mapping[str, np.ndarray]


def initial_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Hidden layers at random, output layers at 0: the mean is the prior θ whatever the state."""
    return {
        name: np.zeros(shape) if name.endswith("_out") else rng.normal(size=shape) / np.sqrt(shape[1])
        for name, shape in SHAPES.items()
    }


def inputs_of(state: State, modalities: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """float64[13] for the head and float64[M, 17] for the scorer, one row a modality in the order given."""
    shared = np.concatenate([[1.0], state.shared_vector])
    own_MF = state.modality_matrix(modalities)
    rows = [own_MF, own_MF - own_MF.mean(axis=0), np.tile(shared, (len(own_MF), 1))]
    return shared, np.concatenate(rows, axis=1)


def mean_of(weights: Weights, state: State, modalities: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean coordinates of θ: float64[6] shared and float64[M, 2] of the modalities, whose order they follow."""
    shared, modality_MI = inputs_of(state, modalities)
    return (
        weights["head_out"] @ np.tanh(weights["head_in"] @ shared),
        np.tanh(modality_MI @ weights["scorer_in"].T) @ weights["scorer_out"].T,
    )


def log_density(
    weights: Weights, spread: float, state: State, shared_G: np.ndarray, modality_MT: np.ndarray, names: Sequence[str]
) -> float:
    """Log-density, without its constant, of the coordinates under N(μ(state), spread²)."""
    mean_G, mean_MT = mean_of(weights, state, names)
    return float(-0.5 * (np.square(shared_G - mean_G).sum() + np.square(modality_MT - mean_MT).sum()) / spread**2)


def gradient_of_log_density(
    weights: Weights, spread: float, state: State, shared_G: np.ndarray, modality_MT: np.ndarray, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Derivative of :func:`log_density` by every weight, in the shapes of the weights."""
    shared, modality_MI = inputs_of(state, names)
    hidden_H = np.tanh(weights["head_in"] @ shared)
    hidden_MH = np.tanh(modality_MI @ weights["scorer_in"].T)
    error_G = (shared_G - weights["head_out"] @ hidden_H) / spread**2
    error_MT = (modality_MT - hidden_MH @ weights["scorer_out"].T) / spread**2
    back_H = (error_G @ weights["head_out"]) * (1 - hidden_H**2)
    back_MH = (error_MT @ weights["scorer_out"]) * (1 - hidden_MH**2)
    return {
        "head_in": np.outer(back_H, shared),
        "head_out": np.outer(error_G, hidden_H),
        "scorer_in": back_MH.T @ modality_MI,
        "scorer_out": error_MT.T @ hidden_MH,
    }


@dataclass(frozen=True)
class ReinforcePolicy:
    """Draws θ around what its two small nets make of the state.

    Attributes:
        prior: θ at coordinates 0.
        weights: ``SHAPES``; the scorer's are the same for every modality, so any number of them can be served.
        spread: standard deviation of every coordinate; 0.3 is a factor of 1.35.
        learning_rate: step along the clipped gradient, times the clipped advantage.
        clip: largest length of the gradient, and of the advantage in units of ``reward_scale``.
        reward_scale: accuracy that counts as 1.
        memory: of the baseline, the running mean of rewards.
    """

    prior: Action
    weights: Weights
    spread: float = 0.3
    learning_rate: float = 0.05
    clip: float = 2.0
    reward_scale: float = 0.02
    memory: float = 0.9
    baseline: float | None = field(default=None)

    def __post_init__(self) -> None:
        shapes = {name: np.shape(value) for name, value in self.weights.items()}
        if shapes != SHAPES or not all(np.isfinite(value).all() for value in self.weights.values()):
            raise ValueError(f"ReinforcePolicy: finite weights of shapes {SHAPES} are needed, got shapes {shapes}")
        positive = (self.spread, self.clip, self.reward_scale)
        if min(positive) <= 0 or self.learning_rate < 0 or not 0 <= self.memory < 1:
            raise UserError("Policy 'reinforce': spread, clip, reward_scale > 0, learning_rate >= 0, memory in [0, 1).")

    @classmethod
    def start(
        cls,
        prior: Action,
        rng: np.random.Generator,
        classes: Sequence[str],
        *,
        spread: float = 0.3,
        learning_rate: float = 0.05,
        clip: float = 2.0,
        reward_scale: float = 0.02,
        memory: float = 0.9,
    ) -> ReinforcePolicy:
        return cls(prior, initial_weights(rng), spread, learning_rate, clip, reward_scale, memory)

    def act(self, state: State, rng: np.random.Generator | None = None) -> Action:
        """θ at the mean, or, given ``rng``, drawn around it; the same numbers whatever the order of modalities."""
        names = sorted(state.contribution)
        shared_G, modality_MT = mean_of(self.weights, state, names)
        if rng is not None:
            shared_G = shared_G + self.spread * rng.standard_normal(shared_G.shape)
            modality_MT = modality_MT + self.spread * rng.standard_normal(modality_MT.shape)
        return action_at(self.prior, shared_G, modality_MT, names)

    def update(self, transition: Transition) -> ReinforcePolicy:
        """One step of REINFORCE on one round.

        Raises:
            ValueError: a reward that is not finite.
        """
        advantage, baseline = advantage_of(
            transition.reward, self.baseline, scale=self.reward_scale, clip=self.clip, memory=self.memory
        )
        names = sorted(transition.state.contribution)
        drawn = coordinates_of(self.prior, transition.action, names)
        score = gradient_of_log_density(self.weights, self.spread, transition.state, *drawn, names)
        length = np.sqrt(sum(float(np.square(part).sum()) for part in score.values()))
        step = self.learning_rate * advantage * min(1.0, self.clip / max(float(length), 1e-12))
        moved = {name: self.weights[name] + step * score[name] for name in SHAPES}
        return replace(
            self, weights=moved, baseline=baseline
        )

    def to_dict(self) -> dict[str, object]:
        rest = {key: value for key, value in vars(self).items() if key not in ("prior", "weights")}
        weights = {name: self.weights[name].tolist() for name in SHAPES}
        return {"name": "reinforce", "prior": asdict(self.prior), "weights": weights, **rest}

    @classmethod
    def from_dict(cls, saved: Mapping[str, object]) -> ReinforcePolicy:
        rest = {key: value for key, value in saved.items() if key not in ("name", "prior", "weights")}
        weights = saved["weights"]
        if not isinstance(weights, Mapping):
            raise ValueError("ReinforcePolicy: the saved weights must be a mapping")
        arrays = {name: np.array(value, dtype=np.float64) for name, value in weights.items()}
        return cls(action_from(saved["prior"]), arrays, **rest)  # type: ignore[arg-type]

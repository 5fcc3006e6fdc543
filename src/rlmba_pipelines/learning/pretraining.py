"""Pre-training: from θ that were tried, and what came of each, to weights of the pretrained policy.

Concept  imitate what a one-step look-ahead would have done, where its advice stands out from its noise.
Source   this project's; imitation of a look-ahead oracle: Liu et al. 2018 (ACL P18-1174).
Stated   nothing for this action.
Chosen   ridge regression of the gain, compared within a state, on a quadratic in the coordinates of θ whose slopes are
         linear in the state; the policy goes to its maximum. The penalty on what hangs on the state is chosen by
         leaving whole episodes out. A slope counts as far as it stands out from twice its standard error (positive-part
         James-Stein); where nothing predicts what was left out, the policy is the prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rlmba_pipelines.learning.mdp import MODALITY_FIELDS, SHARED_FIELDS, State
from rlmba_pipelines.learning.policy.pretrained import FARTHEST, SHAPES, STEP
from rlmba_pipelines.learning.theta import MODALITY_COORDINATES, SHARED_COORDINATES, coordinates_of
from rlmba_pipelines.learning.types import Action

G, T, F, S = len(SHARED_COORDINATES), len(MODALITY_COORDINATES), len(MODALITY_FIELDS), len(SHARED_FIELDS)
N_SLOPES = G * (1 + S) + T * F
RIDGES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 1e6)  # on what hangs on the state; the last: nothing does
STEADY_RIDGE = 1.0  # on slopes that are the same in every state
CURVATURE_RIDGE = 30.0  # draws the curvature of each coordinate to the mean of all
N_FOLDS = 5
CURVATURE_FLOOR = 0.5  # of the mean curvature
DOUBTFUL = 2.0  # standard errors: slopes within them are taken for noise


@dataclass(frozen=True)
class Trials:
    """Several θ tried from one state.

    Attributes:
        actions: what was tried.
        accuracies: on held-out labels, once the batch of each was bought and learned.
    """

    state: State
    actions: tuple[Action, ...]
    accuracies: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Trials:
        actions = tuple(Action.from_dict(action) for action in saved["actions"])
        return cls(State(**saved["state"]), actions, tuple(saved["accuracies"]))


@dataclass(frozen=True)
class Fitted:
    """Weights for the policy, and how well the regression behind them predicts.

    Attributes:
        r2: share of the variance of the gains that is predicted, episodes left out; the rest is mostly the noise of
            training.
    """

    weights: dict[str, np.ndarray]
    ridge: float
    r2: float


def fit(episodes: Sequence[Sequence[Trials]], prior: Action) -> Fitted:
    """Weights by all trials of ``episodes``.

    Raises:
        ValueError: fewer episodes than folds.
    """
    if len(episodes) < N_FOLDS:
        raise ValueError(f"pretraining needs at least {N_FOLDS} episodes, got {len(episodes)}")
    states = np.array([trials.state.shared_vector for trials in _flat(episodes)])
    center_S, scale_S = states.mean(axis=0), np.maximum(states.std(axis=0), 1e-6)
    parts = [_rows(episode, prior, center_S, scale_S) for episode in episodes]
    design = [part[0] for part in parts]
    gain = [part[1] for part in parts]
    scores = {ridge: _r2(design, gain, ridge) for ridge in RIDGES}
    ridge = max(scores, key=lambda r: scores[r])
    every_design, every_gain = np.concatenate(design), np.concatenate(gain)
    slopes, curvature = _solve(every_design, every_gain, ridge)
    slopes *= (scores[ridge] > 0) * _trust(every_design, every_gain, slopes, curvature, ridge)
    shared_GI = slopes[: G * (1 + S)].reshape(G, 1 + S) / curvature[:G, None]
    modality_TF = slopes[G * (1 + S) :].reshape(T, F) / curvature[G:, None]
    weights = {"shared": shared_GI, "modality": modality_TF, "center": center_S, "scale": scale_S}
    assert {name: value.shape for name, value in weights.items()} == SHAPES
    return Fitted(weights, ridge, scores[ridge])


def _flat(episodes: Sequence[Sequence[Trials]]) -> list[Trials]:
    return [trials for episode in episodes for trials in episode]


def _rows(
    episode: Sequence[Trials], prior: Action, center_S: np.ndarray, scale_S: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One row a trial: coordinates times state, then minus half their squares; and the gain. Both centered by state."""
    designs, gains = [], []
    for trials in episode:
        modalities = sorted(trials.state.contribution)
        x_S = np.clip((trials.state.shared_vector - center_S) / scale_S, -FARTHEST, FARTHEST)
        own_MF = trials.state.modality_matrix(modalities)
        own_MF = own_MF - own_MF.mean(axis=0)
        rows = []
        for action in trials.actions:
            shared_G, tilt_MT = coordinates_of(prior, action, modalities)
            steady_and_state = np.outer(shared_G, np.concatenate([[1.0], x_S])).ravel()
            tilts_TF = tilt_MT.T @ own_MF
            spread_MT = tilt_MT - tilt_MT.mean(axis=0)
            squares = np.concatenate([shared_G**2, (spread_MT**2).sum(axis=0)])
            rows.append(np.concatenate([steady_and_state, tilts_TF.ravel(), -squares / 2]))
        block, gain = np.array(rows), np.array(trials.accuracies)
        designs.append(block - block.mean(axis=0))
        gains.append(gain - gain.mean())
    return np.concatenate(designs), np.concatenate(gains)


def _solve(design: np.ndarray, gain: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Slopes, and the curvature by coordinate: never below half of the mean, so that no step explodes."""
    n_slopes, penalty = N_SLOPES, _penalty(ridge)
    squares = design[:, n_slopes:]
    # the mean curvature first, then how each differs from it
    pooled = np.concatenate([design[:, :n_slopes], squares.sum(axis=1, keepdims=True)], axis=1)
    mean = _ridge(pooled, gain, np.concatenate([penalty, [STEADY_RIDGE]]))[-1]
    mean = max(float(mean), float(np.abs(gain).mean()) / STEP**2 / (G + T))
    rest = gain - mean * squares.sum(axis=1)
    found = _ridge(design, rest, np.concatenate([penalty, np.full(G + T, CURVATURE_RIDGE)]))
    return found[:n_slopes], np.maximum(mean + found[n_slopes:], CURVATURE_FLOOR * mean)


def _penalty(ridge: float) -> np.ndarray:
    """On the slopes: ``ridge`` where they hang on the state."""
    penalty = np.full(N_SLOPES, STEADY_RIDGE)
    penalty[: G * (1 + S)].reshape(G, 1 + S)[:, 1:] = ridge
    return penalty


def _trust(
    design: np.ndarray, gain: np.ndarray, slopes: np.ndarray, curvature: np.ndarray, ridge: float
) -> np.ndarray:
    """float64 in [0, 1] by slope: 1 - (two standard errors / slope) squared, or 0."""
    rest = gain - design @ np.concatenate([slopes, curvature])
    inverse = np.linalg.inv(design[:, :N_SLOPES].T @ design[:, :N_SLOPES] + np.diag(_penalty(ridge)))
    error = np.sqrt(np.diag(inverse) * float((rest**2).mean()))
    with np.errstate(divide="ignore"):
        return np.maximum(1 - np.square(DOUBTFUL * error / np.abs(slopes)), 0.0)


def _ridge(design: np.ndarray, target: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    return np.linalg.solve(design.T @ design + np.diag(penalty), design.T @ target)


def _r2(design: Sequence[np.ndarray], gain: Sequence[np.ndarray], ridge: float) -> float:
    """Predicted share of the variance, every fifth episode left out in turn."""
    left = total = 0.0
    for fold in range(N_FOLDS):
        kept = [i for i in range(len(design)) if i % N_FOLDS != fold]
        held = [i for i in range(len(design)) if i % N_FOLDS == fold]
        slopes, curvature = _solve(
            np.concatenate([design[i] for i in kept]), np.concatenate([gain[i] for i in kept]), ridge
        )
        for i in held:
            predicted = design[i] @ np.concatenate([slopes, curvature])
            left, total = left + float(((gain[i] - predicted) ** 2).sum()), total + float((gain[i] ** 2).sum())
    return 1 - left / total if total > 0 else 0.0

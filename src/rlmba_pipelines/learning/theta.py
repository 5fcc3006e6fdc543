"""θ on the real line: coordinates that a learner may move freely, 0 being the prior θ.

Concept  the action θ of RL-MBA (arXiv 2603.25107), for policies that draw it.
Source   this project's.
Stated   nothing: the published action is the batch itself.
Chosen   positive numbers move by a factor e^z, shares by their odds; a kernel that is 0 at the prior grows from z > 0;
         each modality has a tilt of its weight in the doubt and one in the kernel, the same map for every modality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rlmba_pipelines.learning.types import Action

SHARED_COORDINATES = (
    "fused_uncertainty",
    "fused_kernel",
    "balanced_kernel",
    "raw_kernel",
    "exponent",
    "bandwidth_quantile",
)
MODALITY_COORDINATES = ("uncertainty_tilt", "kernel_tilt")
BOUND = 3.0  # coordinates beyond ± this act like it: a factor of 20 is as good as all or nothing
SEED_SHARE = 0.05  # what a positive number that is 0 at the prior grows by: SEED_SHARE (e^z − 1)
ENDS = 1e-3  # shares keep this distance from 0 and 1, where their odds end


def action_at(prior: Action, shared_G: np.ndarray, modality_MT: np.ndarray, modalities: Sequence[str]) -> Action:
    """The θ at these coordinates; all 0 is the prior.

    Args:
        shared_G: float64[6], in the order of ``SHARED_COORDINATES``.
        modality_MT: float64[M, 2], in the order of ``modalities`` and ``MODALITY_COORDINATES``.

    Raises:
        ValueError: wrong shapes, or coordinates that are not finite.

    >>> action = action_at(Action(exponent=1.0), np.array([0, 0, 0, 0, np.log(2), 0]), np.zeros((1, 2)), ["image"])
    >>> round(action.exponent, 12), action.raw_kernel, action.uncertainty_tilt
    (2.0, 0.4, {'image': 0.0})
    """
    shared_G, modality_MT = np.asarray(shared_G, dtype=np.float64), np.asarray(modality_MT, dtype=np.float64)
    if shared_G.shape != (len(SHARED_COORDINATES),) or modality_MT.shape != (len(modalities), 2):
        raise ValueError(f"action_at: coordinates have shapes {shared_G.shape} and {modality_MT.shape}")
    if not (np.isfinite(shared_G).all() and np.isfinite(modality_MT).all()):
        raise ValueError("action_at: coordinates must be finite")
    z = dict(zip(SHARED_COORDINATES, np.clip(shared_G, -BOUND, BOUND).tolist(), strict=True))
    tilt_MT = np.clip(modality_MT, -BOUND, BOUND)
    tilts: dict[str, Any] = {
        name: dict(zip(modalities, tilt_MT[:, t].tolist(), strict=True)) for t, name in enumerate(MODALITY_COORDINATES)
    }
    moved: dict[str, Any] = {
        name: (_moved_share if name in _SHARES else _grown)(getattr(prior, name), z[name]) for name in z
    }
    return replace(prior, **moved, **tilts)


def coordinates_of(prior: Action, action: Action, modalities: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """float64[6] and float64[M, 2]: where ``action`` lies; the inverse of :func:`action_at` within its bounds."""
    shared = [
        (_share_coordinate if name in _SHARES else _coordinate)(getattr(prior, name), getattr(action, name))
        for name in SHARED_COORDINATES
    ]
    tilts = [[getattr(action, name).get(m, 0.0) for name in MODALITY_COORDINATES] for m in modalities]
    return np.array(shared), np.array(tilts, dtype=np.float64).reshape(len(modalities), len(MODALITY_COORDINATES))


def tilted(weights_M: np.ndarray, modalities: Sequence[str], tilt: Mapping[str, float]) -> np.ndarray:
    """Weights times ``e^tilt``, on the simplex again; without a tilt they stay as they are, to the last bit.

    >>> tilted(np.array([0.5, 0.5]), ["image", "text"], {"image": np.log(3.0)}).round(12)
    array([0.75, 0.25])
    """
    tilt_M = np.array([tilt.get(name, 0.0) for name in modalities])
    if not tilt_M.any():
        return weights_M
    moved_M = weights_M * np.exp(tilt_M - tilt_M.max())
    return moved_M / moved_M.sum() if moved_M.sum() > 0 else weights_M


_SHARES = ("fused_uncertainty", "bandwidth_quantile")


def _grown(value: float, z: float) -> float:
    return float(value * np.exp(z)) if value > 0 else float(SEED_SHARE * np.expm1(max(z, 0.0)))


def _coordinate(value: float, grown: float) -> float:
    return float(np.log(grown / value)) if value > 0 else float(np.log1p(grown / SEED_SHARE))


def _moved_share(share: float, z: float) -> float:
    if z == 0:
        return share
    inner = min(max(share, ENDS), 1 - ENDS)
    return float(inner * np.exp(z) / (1 - inner + inner * np.exp(z)))


def _share_coordinate(share: float, moved: float) -> float:
    inner, reached = (min(max(s, ENDS), 1 - ENDS) for s in (share, moved))
    return float(np.log(reached / (1 - reached)) - np.log(inner / (1 - inner)))

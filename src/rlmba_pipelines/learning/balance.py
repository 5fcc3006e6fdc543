"""Balance: what each modality contributes, and the weight it gets for it.

Concept  AMCB, adaptive modality contribution balancing (RL-MBA, arXiv 2603.25107).
Source   the abstract; the gap rule is second-hand. Shapley 1953. Under-use: Peng et al. 2022 (arXiv 2203.15332).
Stated   weights follow the gap of unimodal and multimodal accuracy: w = softmax((Top1_m - Top1_mm) / tau).
Chosen   Shapley values by enumeration; their positive parts, normalized, are the weights; a residual on the log-weights
         for a policy to learn; EMA over rounds; a floor. In the gap rule the shared Top1_mm cancels, so it raises the
         strong modality; it is kept as published. Under-use, accuracy alone minus accuracy of the head inside the
         fusion, is the gap that balancing can close; its positive parts can be the weights too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.special import softmax

MOST_PLAYERS = 5  # 2^5 evaluations; beyond, sampling would be needed
PRIORS = ("uniform", "shapley", "published", "under_use")

Value = Callable[[frozenset[str]], float] | Mapping[frozenset[str], float]


def shapley(value: Value, modalities: Sequence[str]) -> np.ndarray:
    """Shapley value of every modality in the game ``value``: its mean marginal gain over all orders of arrival.

    ``phi_m = sum_S |S|! (M - |S| - 1)! / M! (v(S + m) - v(S))`` over subsets S without m. Each subset is valued once.

    Args:
        value: worth of a set of modalities, as a function or a table; also of the empty set.
        modalities: 1 to 5 names.

    Returns:
        float64[M]; sums to ``v(all) - v(none)``. Negative where a modality harms.

    Raises:
        ValueError: no modality, or more than 5.

    >>> worth = {frozenset(): 0.1, frozenset("a"): 0.5, frozenset("v"): 0.3, frozenset("av"): 0.6}
    >>> shapley(worth, ["a", "v"]).round(3)  # a: ((.6 - .3) + (.5 - .1)) / 2
    array([0.35, 0.15])
    """
    n = len(modalities)
    if not 1 <= n <= MOST_PLAYERS:
        raise ValueError(f"shapley enumerates the subsets of 1 to {MOST_PLAYERS} modalities, got {n}")
    subsets = [frozenset(s) for size in range(n + 1) for s in itertools.combinations(modalities, size)]
    worth = {s: float(value(s) if callable(value) else value[s]) for s in subsets}
    phi_M = np.zeros(n)
    for i, m in enumerate(modalities):
        for s in subsets:
            if m not in s:
                share = math.factorial(len(s)) * math.factorial(n - len(s) - 1) / math.factorial(n)
                phi_M[i] += share * (worth[s | {m}] - worth[s])
    return phi_M


def published_gap(unimodal_accuracy_M: np.ndarray, multimodal_accuracy: float) -> np.ndarray:
    """``Delta_m = Top1_m - Top1_mm`` on validation, float64[M]; the contribution of the published rule.

    >>> published_gap(np.array([0.5, 0.75]), 0.75)
    array([-0.25,  0.  ])
    """
    return np.asarray(unimodal_accuracy_M, dtype=np.float64) - multimodal_accuracy


def under_use(alone_accuracy_M: np.ndarray, inside_accuracy_M: np.ndarray) -> np.ndarray:
    """``a*_m - a_m``, float64[M] in [-1, 1]: what a model of the modality alone has over its head inside the fusion.

    Positive where training together has left the modality behind what it could do.

    Raises:
        ValueError: shapes that differ, or accuracies that are not finite.

    >>> under_use(np.array([0.75, 0.5]), np.array([0.5, 0.5]))
    array([0.25, 0.  ])
    """
    alone_M, inside_M = (np.asarray(a, dtype=np.float64) for a in (alone_accuracy_M, inside_accuracy_M))
    if alone_M.shape != inside_M.shape or not (np.isfinite(alone_M).all() and np.isfinite(inside_M).all()):
        raise ValueError(f"under_use: accuracies must be finite and of the same modalities, got {alone_M}, {inside_M}")
    return alone_M - inside_M


def modality_weights(
    contribution_M: np.ndarray,
    *,
    prior: str = "shapley",
    residual_M: np.ndarray | None = None,
    previous_M: np.ndarray | None = None,
    temperature: float = 1.0,
    ema: float = 0.0,
    floor: float = 0.0,
) -> np.ndarray:
    """Weights of the modalities for the next round, float64[M] on the simplex, each at least ``floor / M``.

    Args:
        contribution_M: Shapley values for ``shapley``, gaps for ``published`` and ``under_use``; ``uniform`` looks at
            their number only.
        prior: ``shapley`` and ``under_use``: shares of the positive parts, to the power ``1 / temperature`` (all
            nonpositive: uniform); ``published``: ``softmax(contribution / temperature)``; ``uniform``.
        residual_M: added to the logarithm of the prior's weights, before EMA and floor; None (or all alike) is none.
        previous_M: weights of the round before; None in the first round, when ``ema`` has nothing to keep.
        temperature: positive; the higher, the more even.
        ema: share of ``previous_M`` that stays.
        floor: a weight below ``floor / M`` is lifted to it at the cost of the others' surplus; the rest stays as it is.

    Raises:
        ValueError: an unknown prior, or contributions or residuals that are not finite.

    >>> modality_weights(np.array([0.3, 0.1, -0.2]))
    array([0.75, 0.25, 0.  ])
    >>> modality_weights(np.array([0.3, 0.1]), residual_M=np.log([1.0, 3.0]))
    array([0.5, 0.5])
    >>> modality_weights(np.array([0.3, -0.2]), floor=0.5)
    array([0.75, 0.25])
    >>> modality_weights(np.array([0.3, 0.1]), previous_M=np.array([0.25, 0.75]), ema=0.5)
    array([0.5, 0.5])
    """
    contribution_M = np.asarray(contribution_M, dtype=np.float64)
    if not np.isfinite(contribution_M).all():
        raise ValueError(f"modality_weights: contributions must be finite, got {contribution_M}")
    uniform_M = np.full(len(contribution_M), 1 / len(contribution_M))
    if prior == "uniform":
        target_M = uniform_M
    elif prior == "published":
        target_M = softmax(contribution_M / temperature)
    elif prior in ("shapley", "under_use"):
        target_M = _shares(contribution_M, 1 / temperature, uniform_M)
    else:
        raise ValueError(f"unknown prior of the modality weights {prior!r}: choose one of {', '.join(PRIORS)}")
    if residual_M is not None:
        target_M = _moved(target_M, np.asarray(residual_M, dtype=np.float64))
    if previous_M is not None:
        target_M = ema * np.asarray(previous_M, dtype=np.float64) + (1 - ema) * target_M
    return _lifted(target_M, floor)


def _shares(contribution_M: np.ndarray, power: float, otherwise_M: np.ndarray) -> np.ndarray:
    positive_M = np.maximum(contribution_M, 0.0)
    if positive_M.max() <= 0:
        return otherwise_M
    raised_M = (positive_M / positive_M.max()) ** power
    return raised_M / raised_M.sum()


def _moved(weights_M: np.ndarray, residual_M: np.ndarray) -> np.ndarray:
    """Weights times ``e^residual``, on the simplex again; bit for bit as they were where all residuals are alike."""
    if residual_M.shape != weights_M.shape or not np.isfinite(residual_M).all():
        raise ValueError(f"modality_weights: residuals must be finite, one a modality, got {residual_M}")
    if np.ptp(residual_M) == 0:
        return weights_M
    # what has no weight gets none, however large its residual: without the minimum its factor could be infinite
    moved_M = weights_M * np.exp(np.minimum(residual_M - residual_M[weights_M > 0].max(), 0.0))
    return moved_M / moved_M.sum()


def _lifted(weights_M: np.ndarray, floor: float) -> np.ndarray:
    least = floor / len(weights_M)
    surplus_M = np.maximum(weights_M - least, 0.0)
    total = surplus_M.sum()
    return least + surplus_M * ((1 - floor) / total) if total > 0 else np.full_like(weights_M, 1 / len(weights_M))

"""Plackett-Luce: a batch drawn one by one without replacement, each draw a softmax over what is left.

Concept  the policy over ordered batches of RL-MBA (arXiv 2603.25107).
Source   Plackett 1975; sampling by the largest perturbed logits: Yellott 1977; Kool et al. 2019 (arXiv 1903.06059).
Stated   stepwise softmax without replacement (a third-party note on the paper); log-prob = Σ_i [l_{a_i} − lse(rest)].
Chosen   drawn by Gumbel top-Q, which has the same law in one pass; suffix sums in logarithms, so no overflow.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp


def sample(logits_K: np.ndarray, query_size: int, rng: np.random.Generator) -> np.ndarray:
    """int64[Q]: positions in the order they were drawn, ``Q = min(query_size, K)``.

    Raises:
        ValueError: a logit that is not finite.

    >>> sample(np.array([0.0, 1000.0, 500.0]), 2, np.random.default_rng(0)).tolist()
    [1, 2]
    """
    logits_K = _checked(logits_K)
    perturbed_K = logits_K + rng.gumbel(size=len(logits_K))
    return np.argsort(-perturbed_K, kind="stable")[:query_size]


def log_prob(logits_K: np.ndarray, picks_Q: np.ndarray) -> float:
    """Log-probability in nats of drawing ``picks_Q`` in this order; 0 for an empty batch.

    Raises:
        ValueError: a logit that is not finite, or a pick that is repeated or out of range.

    >>> round(float(np.exp(log_prob(np.zeros(3), np.array([2, 0])))), 12)  # 1/3 times 1/2
    0.166666666667
    """
    logits_K, picks_Q = _checked(logits_K), _picks(picks_Q, len(logits_K))
    return float((logits_K[picks_Q] - _log_rest(logits_K, picks_Q)).sum())


def gradient(logits_K: np.ndarray, picks_Q: np.ndarray) -> np.ndarray:
    """float64[K]: derivative of :func:`log_prob` by each logit.

    ``∂/∂l_j = [j was drawn] − Σ_i p_i(j)``, with p_i(j) the probability of j at draw i, 0 once it is out. Sums to 0.

    >>> gradient(np.zeros(3), np.array([2])).round(3).tolist()
    [-0.333, -0.333, 0.667]
    """
    logits_K, picks_Q = _checked(logits_K), _picks(picks_Q, len(logits_K))
    if not len(picks_Q):
        return np.zeros(len(logits_K))
    log_rest_Q = _log_rest(logits_K, picks_Q)
    # a sample is among the rest at draws 1 … its own place: log Σ_{i <= place} 1/rest_i
    log_share_Q = np.logaddexp.accumulate(-log_rest_Q)
    place_K = np.full(len(logits_K), len(picks_Q) - 1)
    place_K[picks_Q] = np.arange(len(picks_Q))
    expected_K = np.exp(logits_K + log_share_Q[place_K])
    drawn_K = np.zeros(len(logits_K))
    drawn_K[picks_Q] = 1.0
    return drawn_K - expected_K


def score_of_picks(logits_K: np.ndarray, picks_Q: np.ndarray, features_KF: np.ndarray) -> np.ndarray:
    """float64[Q, F]: for logits linear in features, each draw's part of the gradient by the weights.

    Row i is ``x_{a_i} − Σ_j p_i(j) x_j``; the rows sum to ``gradient(logits, picks) @ features``. O((K + Q) F).

    >>> score_of_picks(np.zeros(2), np.array([1, 0]), np.array([[0.0], [4.0]])).tolist()
    [[2.0], [0.0]]
    """
    logits_K, picks_Q = _checked(logits_K), _picks(picks_Q, len(logits_K))
    out_K = np.ones(len(logits_K), dtype=bool)
    out_K[picks_Q] = False
    top = logits_K.max(initial=-np.inf)
    weight_K = np.exp(logits_K - top)
    # sums over what is left after the batch, plus what is drawn from draw i on: added from the last draw backwards
    mass_Q = weight_K[out_K].sum() + np.cumsum(weight_K[picks_Q][::-1])[::-1]
    drawn_QF = np.cumsum((weight_K[picks_Q, None] * features_KF[picks_Q])[::-1], axis=0)[::-1]
    moment_QF = weight_K[out_K] @ features_KF[out_K] + drawn_QF
    safe_Q = np.where(mass_Q > 0, mass_Q, 1.0)[:, None]  # all that is left is e^-700 below the top: nothing to learn
    return np.where(mass_Q[:, None] > 0, features_KF[picks_Q] - moment_QF / safe_Q, 0.0)


def _log_rest(logits_K: np.ndarray, picks_Q: np.ndarray) -> np.ndarray:
    """float64[Q]: logsumexp of all that was not drawn before draw i."""
    out_K = np.ones(len(logits_K), dtype=bool)
    out_K[picks_Q] = False
    left = logsumexp(logits_K[out_K]) if out_K.any() else -np.inf
    suffix = np.logaddexp.accumulate(np.concatenate([[left], logits_K[picks_Q][::-1]]))
    return suffix[1:][::-1]


def _checked(logits_K: np.ndarray) -> np.ndarray:
    logits_K = np.asarray(logits_K, dtype=np.float64)
    if not np.isfinite(logits_K).all():
        raise ValueError("plackett_luce: logits must be finite")
    return logits_K


def _picks(picks_Q: np.ndarray, n: int) -> np.ndarray:
    picks_Q = np.asarray(picks_Q, dtype=np.int64)
    if len(np.unique(picks_Q)) < len(picks_Q) or (len(picks_Q) and not 0 <= picks_Q.min() <= picks_Q.max() < n):
        raise ValueError(f"plackett_luce: picks must be different positions below {n}, got {picks_Q.tolist()}")
    return picks_Q

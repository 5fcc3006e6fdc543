"""Temperature calibration: make confidence mean what it says, with one number.

Concept  dividing all logits by one temperature changes how sure a model is, never what it prefers.
Source   Guo et al. 2017 (arXiv 1706.04599), sec. 4.2.
Stated   T > 0 minimizes the negative log-likelihood of held-out labels under softmax(z / T).
Chosen   the NLL is convex in 1 / T, so T is where its slope changes sign, found by Brent's method inside [1/20, 20]; a
         bound is the answer where the slope keeps its sign, such as when every held-out sample is classified right.
         Log-probabilities serve as logits, since softmax does not see a constant; so a mean over an ensemble can be
         calibrated too. The temperature of samples that the model was trained on is of no use.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax, softmax

COLDEST, HOTTEST = 0.05, 20.0
LEAST_PROBABILITY = 1e-12  # as in the metrics: a class ruled out has a finite logit
FLAT = 1e-12  # a slope that small, in nats: every temperature is as good


def log_probabilities(probabilities_NC: np.ndarray) -> np.ndarray:
    """Logits of probabilities, float64[..., C] in nats, clipped at ``ln 1e-12``.

    >>> log_probabilities(np.array([1.0, 0.0])).round(1).tolist()
    [0.0, -27.6]
    """
    return np.log(np.clip(np.asarray(probabilities_NC, dtype=np.float64), LEAST_PROBABILITY, None))


def fit_temperature(logits_NC: np.ndarray, y: np.ndarray) -> float:
    """The temperature in [0.05, 20] with the least NLL on held-out labels; above 1 where the model is too sure.

    1 where every temperature is as good: one class, or logits that do not tell classes apart.

    Args:
        logits_NC: float64[N, C], logits or log-probabilities of samples that the model was not trained on.
        y: int64[N], true classes; they need not cover all C.

    Raises:
        ValueError: no sample, lengths that differ, or a logit that is not finite; the first such row is named.

    >>> logits = np.log([[0.9, 0.1]] * 4)  # says 90 %, is right in 3 of 4: 9 ** (1 / T) = 3
    >>> round(fit_temperature(logits, np.array([0, 0, 0, 1])), 6)
    2.0
    """
    logits_NC = _checked(logits_NC)
    if not len(y) or len(y) != len(logits_NC):
        raise ValueError(f"a temperature needs one label a sample, and at least one: {len(logits_NC)} and {len(y)}")
    true_N = logits_NC[np.arange(len(y)), y]

    def slope(sharpness: float) -> float:
        """Of the NLL in 1 / T: expected logit minus the true one; never falls."""
        return float(((softmax(sharpness * logits_NC, axis=1) * logits_NC).sum(axis=1) - true_N).mean())

    blunt, sharp = slope(1 / HOTTEST), slope(1 / COLDEST)
    if max(abs(blunt), abs(sharp)) <= FLAT * max(1.0, float(np.abs(logits_NC).max())):
        return 1.0
    if blunt >= 0:
        return HOTTEST
    if sharp <= 0:
        return COLDEST
    from scipy.optimize import brentq  # slow to import, and needed by few

    return 1 / float(brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-12))


def apply_temperature(logits_NC: np.ndarray, temperature: float) -> np.ndarray:
    """``softmax(z / T)``, float64[..., C]; each row keeps its order and sums to 1.

    Args:
        logits_NC: float64[..., C], logits or log-probabilities; draws of an ensemble may stand before C.
        temperature: > 0; 1 changes nothing.

    Raises:
        ValueError: a logit that is not finite, or a temperature that is not positive.

    >>> apply_temperature(np.log([[0.9, 0.1]]), 2.0).round(4).tolist()
    [[0.75, 0.25]]
    """
    if not 0 < temperature < np.inf:
        raise ValueError(f"a temperature is positive and finite, not {temperature}")
    return softmax(_checked(logits_NC) / temperature, axis=-1)


def nll_at(logits_NC: np.ndarray, y: np.ndarray, temperature: float) -> float:
    """Mean negative log-likelihood of ``y`` under ``softmax(z / T)``, nats; what ``fit_temperature`` minimizes.

    >>> round(nll_at(np.log([[0.9, 0.1]]), np.array([0]), 1.0), 4)
    0.1054
    """
    return float(-log_softmax(_checked(logits_NC) / temperature, axis=1)[np.arange(len(y)), y].mean())


def _checked(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, dtype=np.float64)
    bad = ~np.isfinite(logits).all(axis=-1)
    if bad.any():
        raise ValueError(f"logits must be finite; row {np.argwhere(bad)[0].tolist()} is not")
    return logits

"""How sure a difference is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit  # scipy.stats has the same by other names and takes 1.5 s to import


class Difference(NamedTuple):
    """A mean difference with its confidence interval and two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float


class Interval(NamedTuple):
    low: float
    high: float


def paired_difference(a: np.ndarray, b: np.ndarray, *, confidence: float = 0.95) -> Difference:
    """Mean of ``a - b`` over pairs (seeds), with the interval and p of the paired t-test.

    With no spread at all the interval is the mean itself and p is 1 for a mean of 0, else 0.

    Raises:
        ValueError: fewer than two pairs.

    >>> paired_difference(np.array([1.0, 2, 3]), np.array([0.0, 1, 2]))
    Difference(mean=1.0, low=1.0, high=1.0, p=0.0)
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    n = len(difference)
    if n < 2:
        raise ValueError("paired_difference needs at least two pairs")
    mean, error = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(n))
    if error == 0:
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    reach = float(stdtrit(n - 1, (1 + confidence) / 2)) * error
    return Difference(mean, mean - reach, mean + reach, float(2 * stdtr(n - 1, -abs(mean) / error)))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values adjusted for their number by Holm's method (Holm 1979), in their order, [0, 1].

    Calling those at most alpha significant errs anywhere with a probability of at most alpha, however they depend.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(12)  # 3 * .01, 2 * .03, and no less for the next
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def bootstrap_interval(
    values: np.ndarray, rng: np.random.Generator, *, confidence: float = 0.95, resamples: int = 10_000
) -> Interval:
    """Percentile bootstrap interval of the mean of ``values``.

    >>> bootstrap_interval(np.array([2.0, 2.0]), np.random.default_rng(0))
    Interval(low=2.0, high=2.0)
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        raise ValueError("bootstrap_interval needs at least one value")
    means = values[rng.integers(0, len(values), size=(resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def wilson(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a share (Wilson 1927); stays in [0, 1] and is never empty.

    >>> low, high = wilson(5, 10)
    >>> round(low, 4), round(high, 4)
    (0.2366, 0.7634)
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"wilson needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    z = float(ndtri((1 + confidence) / 2))
    share = successes / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(float(max(0.0, center - reach)), float(min(1.0, center + reach)))

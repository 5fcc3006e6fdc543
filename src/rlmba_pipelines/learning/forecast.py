"""Forecast: what the next labels will bring, read off the learning curve so far.

Concept  learning curves follow a power law, accuracy(n) = a - b n^-c, with noise.
Source   Hestness et al. 2017 (arXiv 1712.00409); review: Viering and Loog 2023 (arXiv 2103.10948).
Stated   the law.
Chosen   for people: a posterior on a grid over (a, accuracy now, c), weighted by binomial variance times a scale that
         is learned, because rounds are measured on the same samples and differ by less than fresh draws would; the
         same numbers give the same forecast. 0 <= a <= 1, b >= 0 (labels never harm), 0.1 <= c <= 2.
         For the reward: the least-squares line of log(1 - accuracy) over log n (a = 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr

from rlmba_pipelines.learning.metrics.learning_curve import grown

LEAST_POINTS = 3  # of the learning curve: two cannot tell a slope from a bend
LEAST_ERROR = 1e-3  # an error rate below this counts as this: the logarithm of 0 fits no curve
SHARE = 0.8  # of the cases that an interval is meant to hold
POWERS = np.geomspace(0.1, 2.0, 13)  # of c, alike in logarithms
RISES = np.linspace(0.0, 1.0, 25) ** 2  # of what is left to 1, the share that the curve still rises; few curves reach 1
NEAR = np.linspace(-5.0, 5.0, 41)  # where the curve is now, in binomial standard deviations from the last measurement
SCALE, SCALE_SIZE = 0.5, 4.0  # noise as a share of binomial variance, known beforehand as from four measurements
KEPT = 0.99  # of the posterior's mass; the many points of the grid that share the rest are dropped
HALVINGS = 14  # of [0, 1]: a hundredth of a point


class Expected(NamedTuple):
    """A mean and the interval that holds ``SHARE`` (80 %) of the cases, a tenth of them on either side of it."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class CurveForecast:
    """What is believed of a learning curve: weighted curves ``limit - (limit - now) (n / labels)^-power``.

    Attributes:
        labels, accuracy: training labels and measured accuracy of the last point.
        n_measured: samples that the last point was measured on.
        limit_G, now_G, power_G: accuracy with labels without end, accuracy at ``labels``, and c of every curve.
        weight_G: probabilities of the curves.
        scale_G, freedom: of the noise around each curve: Student's t with ``freedom`` degrees and this share of
            binomial variance.
    """

    labels: int
    accuracy: float
    n_measured: int
    limit_G: np.ndarray
    now_G: np.ndarray
    power_G: np.ndarray
    weight_G: np.ndarray
    scale_G: np.ndarray
    freedom: float

    def gain(self, next_labels: int) -> Expected:
        """Accuracy that the next labels add to the curve itself, in [0, 1]; never below 0."""
        gain_G = self._curves(self.labels + next_labels) - self.now_G
        return self._expected(gain_G, lambda level: gain_G <= level)

    def measured(self, labels: int) -> Expected:
        """Accuracy that will be measured with ``labels`` training labels on as many samples, in [0, 1]."""
        return self._expected(self._curves(labels), lambda level: self._mass_below(level, labels))

    def chance_below(self, level: float, labels: int) -> float:
        """Probability that less than ``level`` will be measured with ``labels`` training labels."""
        return float(self.weight_G @ self._mass_below(level, labels))

    def labels_to_reach(self, target: float) -> Expected:
        """Training labels with which the curve reaches ``target``: the median as mean; ``inf`` where it never does."""
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            rest_G = (self.limit_G - target) / (self.limit_G - self.now_G)
            needed_G = np.where(rest_G > 0, self.labels * rest_G ** (-1 / self.power_G), np.inf)
        needed_G = np.where(self.now_G >= target, self.labels, needed_G)
        order = np.argsort(needed_G)
        mass_G = np.cumsum(self.weight_G[order])
        middle, low, high = (
            float(needed_G[order][min(int(np.searchsorted(mass_G, share)), len(order) - 1)])
            for share in (0.5, (1 - SHARE) / 2, (1 + SHARE) / 2)
        )
        return Expected(middle, low, high)

    def _mass_below(self, level: float, labels: int) -> np.ndarray:
        accuracy_G = self._curves(labels)
        deviation_G = np.sqrt(self.scale_G * _binomial_variance(accuracy_G, self.n_measured))
        return stdtr(self.freedom, (level - accuracy_G) / deviation_G)

    def _curves(self, labels: int) -> np.ndarray:
        return self.limit_G - (self.limit_G - self.now_G) * (labels / self.labels) ** -self.power_G

    def _expected(self, value_G: np.ndarray, mass_below: Callable[[float], np.ndarray]) -> Expected:
        """Mean and quantiles of a mixture, these by halving [0, 1] and rounded outwards."""

        def around(share: float) -> tuple[float, float]:
            low, high = 0.0, 1.0
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                if float(self.weight_G @ mass_below(middle)) < share:
                    low = middle
                else:
                    high = middle
            return low, high

        low, high = around((1 - SHARE) / 2)[0], around((1 + SHARE) / 2)[1]
        return Expected(float(self.weight_G @ value_G), low, high)


def fit_curve(
    labels: Sequence[int], accuracies: Sequence[float], n_measured: int | Sequence[int]
) -> CurveForecast | None:
    """The learning curve behind measured accuracies; None before three points with different numbers of labels.

    Points count that ``learning_curve.grown`` says, and that have labels.

    Args:
        labels: training labels behind each accuracy.
        accuracies: in [0, 1].
        n_measured: samples that all, or each, were measured on.

    Raises:
        ValueError: lengths differ, an accuracy is no share, or nothing was measured.

    >>> curve = fit_curve([100, 200, 400, 800], [0.40, 0.50, 0.55, 0.58], 1000)
    >>> [round(100 * share, 1) for share in curve.gain(400)]  # points, and from which to which
    [1.5, 0.8, 2.4]
    """
    n_K, accuracy_K = np.asarray(labels, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    if n_K.shape != accuracy_K.shape or n_K.ndim != 1:
        raise ValueError(f"fit_curve: {n_K.size} label counts for {accuracy_K.size} accuracies")
    size_K = np.broadcast_to(np.asarray(n_measured, dtype=np.float64), n_K.shape)
    if (size_K < 1).any():
        raise ValueError("fit_curve: every accuracy has to be measured on something")
    if not ((accuracy_K >= 0) & (accuracy_K <= 1)).all():
        raise ValueError("fit_curve: an accuracy is not in [0, 1]")
    counts_K = grown(n_K) & (n_K >= 1)
    n_K, accuracy_K, size_K = n_K[counts_K], accuracy_K[counts_K], size_K[counts_K]
    if len(n_K) < LEAST_POINTS:
        return None
    variance_K = _binomial_variance(accuracy_K, size_K)
    now = np.unique(np.clip(accuracy_K[-1] + np.sqrt(variance_K[-1]) * NEAR, 0.0, 1.0))
    now_G, rise_G, power_G = (axis.ravel() for axis in np.meshgrid(now, RISES, POWERS, indexing="ij"))
    limit_G = now_G + (1 - now_G) * rise_G
    fall_GK = np.tile((n_K / n_K[-1]) ** -POWERS[:, None], (len(now) * len(RISES), 1))
    curve_GK = limit_G[:, None] - (limit_G - now_G)[:, None] * fall_GK
    misfit_G = (SCALE_SIZE * SCALE + ((accuracy_K - curve_GK) ** 2 / variance_K).sum(axis=1)) / 2
    freedom = SCALE_SIZE + len(n_K)
    log_weight_G = np.where(curve_GK[:, 0] >= 0, -freedom / 2 * np.log(misfit_G), -np.inf)
    weight_G = np.exp(log_weight_G - log_weight_G.max())
    order = np.argsort(-weight_G, kind="stable")
    mass_G = np.cumsum(weight_G[order])
    kept = order[: int(np.searchsorted(mass_G, KEPT * mass_G[-1])) + 1]
    return CurveForecast(
        labels=int(n_K[-1]),
        accuracy=float(accuracy_K[-1]),
        n_measured=int(size_K[-1]),
        limit_G=limit_G[kept],
        now_G=now_G[kept],
        power_G=power_G[kept],
        weight_G=weight_G[kept] / weight_G[kept].sum(),
        scale_G=2 * misfit_G[kept] / freedom,
        freedom=freedom,
    )


def _binomial_variance(accuracy: np.ndarray, n: np.ndarray | int) -> np.ndarray:
    """Of a share measured on ``n`` samples; pulled in by one success and one failure, so that 0 and 1 have one too."""
    share = (accuracy * n + 1) / (n + 2)
    return share * (1 - share) / n


def forecast_accuracy(labels: Sequence[int], accuracies: Sequence[float], next_labels: int) -> float:
    """What the learning curve so far promises for ``next_labels``: the power law ``1 - accuracy = b n^-c``, in [0, 1].

    ``b`` and ``c`` by least squares in logarithms, ``c`` at least 0 (labels are not expected to harm). Fewer than three
    points, or all at the same number of labels, promise the last accuracy again.

    Args:
        labels: training labels behind each accuracy, oldest first.
        accuracies: of the earlier rounds, in [0, 1], at least one.

    Raises:
        ValueError: no point, or as many labels as accuracies are not there.

    >>> forecast_accuracy([100, 200, 400], [0.2, 0.6, 0.8], 800)  # the error is 80 / n
    0.9
    >>> forecast_accuracy([100, 200], [0.2, 0.6], 400)
    0.6
    """
    if not len(accuracies) or len(labels) != len(accuracies):
        raise ValueError(f"forecast_accuracy: {len(labels)} label counts for {len(accuracies)} accuracies")
    log_n = np.log(np.maximum(np.asarray(labels, dtype=np.float64), 1.0))
    spread = log_n - log_n.mean()
    if len(accuracies) < LEAST_POINTS or np.ptp(log_n) == 0:
        return float(accuracies[-1])
    log_error = np.log(np.maximum(1 - np.asarray(accuracies, dtype=np.float64), LEAST_ERROR))
    power = max(0.0, float(-(spread @ log_error) / (spread @ spread)))
    error = np.exp(log_error.mean() - power * (np.log(max(next_labels, 1)) - log_n.mean()))
    return float(np.clip(1 - error, 0.0, 1.0).round(12))

"""Whether confidence means what it says. Reference: Guo et al. 2017 (arXiv 1706.04599), eq. 3."""

from __future__ import annotations

import numpy as np

N_BINS = 15


def expected_calibration_error(probabilities_NC: np.ndarray, y: np.ndarray, *, n_bins: int = N_BINS) -> float:
    """Mean gap of confidence and accuracy over equal-width bins (lower, upper] of confidence, [0, 1]; lower is better.

    Each bin counts by its share of samples. With few samples it is biased upward: compare equal N only.

    >>> round(expected_calibration_error(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])), 4)  # says .8, is .5
    0.3
    """
    if not len(y):
        raise ValueError("a metric needs at least one labeled sample")
    confidence_N = probabilities_NC.max(axis=1)
    right_N = probabilities_NC.argmax(axis=1) == y
    bin_N = np.clip(np.ceil(confidence_N * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    gap_by_bin = np.bincount(bin_N, weights=right_N - confidence_N, minlength=n_bins)
    return float(np.abs(gap_by_bin).sum() / len(y))


def event_calibration_error(probability_N: np.ndarray, happened_N: np.ndarray, *, n_bins: int = N_BINS) -> float:
    """Mean gap of stated probability and frequency of an event over equal-width bins of probability, [0, 1].

    >>> round(event_calibration_error(np.array([0.8, 0.8]), np.array([True, False])), 4)
    0.3
    """
    if not len(happened_N):
        raise ValueError("a metric needs at least one labeled sample")
    bin_N = np.clip(np.ceil(probability_N * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    gap_by_bin = np.bincount(bin_N, weights=happened_N - probability_N, minlength=n_bins)
    return float(np.abs(gap_by_bin).sum() / len(happened_N))

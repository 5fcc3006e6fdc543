"""Similarity of samples: a mixture of Gaussian kernels, each on an embedding of its own.

Concept  k(x, a) = Σ_j w_j exp(−(‖x − a‖ / h_j)²), weights normalised to 1, so that k is in [0, 1] and k(x, x) = 1.
Source   Uncertainty Herding, Bae et al. 2025 (arXiv 2412.20644): bandwidth from the distances among the labeled.
Stated   h = the smallest distance between labeled samples.
Chosen   a low quantile of their positive nearest-neighbor distances (the minimum is 0 where texts repeat). Products are
         float32; squared distances below its resolution are 0, so that repeats are exactly alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rlmba_pipelines.learning.selection.batch import blocks
from rlmba_pipelines.learning.types import PoolView

RESOLUTION = 1e-6  # of float32 squared distances, relative to the squared norms
FARTHEST = -30.0  # exponents end at exp(2 · −30) ~ 1e-26: nothing is nearer 0, and no denormals slow the sums
BLOCK_ROWS = 512
REFERENCE_ROWS = 2000  # rows that a bandwidth is measured on, at most
BANDWIDTH_FLOOR = 1e-3  # of the median pairwise distance


class Kernel(NamedTuple):
    """One part of the mixture: nonnegative weight, float32[N, D] embedding, bandwidth h > 0 in its unit."""

    weight: float
    embedding_ND: np.ndarray
    bandwidth: float


class Similarity:
    """The mixture over ``rows`` of the embeddings; positions below are positions in ``rows``.

    Raises:
        ValueError: no kernel has a positive weight, or a bandwidth is not positive.

    >>> line = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
    >>> Similarity([Kernel(2.0, line, 1.0)], np.arange(3)).block(slice(0, 1), slice(0, 3)).round(2)
    array([[1.  , 0.37, 0.  ]], dtype=float32)
    """

    def __init__(self, kernels: Sequence[Kernel], rows: np.ndarray) -> None:
        total = sum(kernel.weight for kernel in kernels)
        if total <= 0 or min(kernel.weight for kernel in kernels) < 0:
            raise ValueError("Similarity: weights of the kernels must be nonnegative and not all 0")
        if min(kernel.bandwidth for kernel in kernels) <= 0:
            raise ValueError("Similarity: bandwidths must be positive")
        self._parts: list[tuple] = []
        for kernel in kernels:
            if kernel.weight > 0:
                scaled_ND = _centered(kernel.embedding_ND[rows])
                scaled_ND *= np.float32(1 / kernel.bandwidth)
                self._parts.append((np.float32(kernel.weight / total), scaled_ND, _half_norms(scaled_ND)))

    def block(self, left: slice | np.ndarray, right: slice | np.ndarray) -> np.ndarray:
        """float32[A, B] similarities in (0, 1] of the rows at ``left`` with the rows at ``right``."""
        parts = [self._one_block(part, left, right) for part in self._parts]
        for part_AB in parts[1:]:
            parts[0] += part_AB
        return parts[0]

    @staticmethod
    def _one_block(part: tuple, left: slice | np.ndarray, right: slice | np.ndarray) -> np.ndarray:
        weight, scaled_ND, half_N = part
        part_AB = scaled_ND[left] @ scaled_ND[right].T
        part_AB -= half_N[left][:, None]
        part_AB -= half_N[right]
        np.clip(part_AB, FARTHEST, 0, out=part_AB)  # = −d² / 2h²
        part_AB *= 2
        np.exp(part_AB, out=part_AB)
        part_AB *= weight
        return part_AB

    def matrix(self, n_rows: int) -> np.ndarray:
        """float32[n_rows, n_rows] similarities among the first rows; only one half is computed."""
        matrix = np.empty((n_rows, n_rows), dtype=np.float32)
        for part in blocks(n_rows, BLOCK_ROWS):
            matrix[part, part.start :] = self.block(part, slice(part.start, n_rows))
            matrix[part.start :, part] = matrix[part, part.start :].T
        return matrix


class RememberedRows:
    """Similarities of the first ``n_rows`` rows to each other: all of them where they fit, else the latest asked for.

    Args:
        max_values: float32 similarities to remember at most.
    """

    def __init__(self, similarity: Similarity, n_rows: int, max_values: int) -> None:
        self._similarity, self._everyone = similarity, slice(0, n_rows)
        n_slots = min(n_rows, max_values // max(1, n_rows))
        all_fit = n_slots == n_rows
        self._kept = similarity.matrix(n_rows) if all_fit else np.empty((n_slots, n_rows), dtype=np.float32)
        self._row_of_slot = np.arange(n_slots) if all_fit else np.full(n_slots, -1)
        self._slot_of_row = np.arange(n_rows) if all_fit else np.full(n_rows, -1)
        self._next_slot = 0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """float32[len(rows), n_rows], the caller's to overwrite."""
        slots = self._slot_of_row[rows]
        new = slots < 0
        if not new.any():
            return self._kept[slots]
        values = np.empty((len(rows), self._everyone.stop), dtype=np.float32)
        values[~new] = self._kept[slots[~new]]
        values[new] = self._similarity.block(rows[new], self._everyone)
        self._remember(rows[new], values[new])
        return values

    def _remember(self, rows: np.ndarray, values: np.ndarray) -> None:
        n_slots = len(self._kept)
        if n_slots == 0:
            return
        rows, values = rows[-n_slots:], values[-n_slots:]
        slots = (self._next_slot + np.arange(len(rows))) % n_slots
        forgotten = self._row_of_slot[slots]
        self._slot_of_row[forgotten[forgotten >= 0]] = -1
        self._slot_of_row[rows], self._row_of_slot[slots], self._kept[slots] = slots, rows, values
        self._next_slot = int(slots[-1] + 1) % n_slots


def _half_norms(embedding_ND: np.ndarray) -> np.ndarray:
    """Half the squared norms, less the resolution, which makes a rounded zero distance an exact one."""
    half_N = np.square(embedding_ND).sum(axis=1) / 2
    return half_N * np.float32(1 - RESOLUTION)


def _centered(embedding_ND: np.ndarray) -> np.ndarray:
    """A float32 copy around the mean: the same distances, with less lost to rounding."""
    return (embedding_ND - embedding_ND.mean(axis=0, dtype=np.float64)).astype(np.float32)


def bandwidth_of(embedding_ND: np.ndarray, view: PoolView, quantile: float) -> float:
    """Bandwidth h: the given quantile of the positive nearest-neighbor distances among the labeled samples.

    It is at least 1/1000 of their median pairwise distance. With fewer than two distinct labeled samples: the median
    nearest-neighbor distance of the candidates. Over 2,000 rows, 2,000 evenly spaced ones (by sample id) speak for all.

    Args:
        embedding_ND: float32[N, D] over all rows of the view.
        quantile: in (0, 1].

    Returns:
        A positive distance; 1 where all samples are alike.

    >>> view = PoolView(np.array(list("abcd")), np.array([True, True, True, False]))
    >>> round(bandwidth_of(np.array([[0.0], [1.0], [3.0], [9.0]], dtype=np.float32), view, quantile=0.5), 3)
    1.0
    """
    for rows, share in ((view.labeled_rows, quantile), (view.candidate_rows, 0.5)):
        nearest, median = _neighbor_distances(_evenly(rows), embedding_ND)
        if (nearest > 0).any():
            return max(float(np.quantile(nearest[nearest > 0], share)), BANDWIDTH_FLOOR * median)
    return 1.0


def _evenly(rows: np.ndarray) -> np.ndarray:
    if len(rows) <= REFERENCE_ROWS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, REFERENCE_ROWS).astype(np.int64)]


def _neighbor_distances(rows: np.ndarray, embedding_ND: np.ndarray) -> tuple[np.ndarray, float]:
    """Distance of each of the rows to its nearest other row, and the median pairwise distance; 0 for repeats."""
    if len(rows) < 2:
        return np.zeros(len(rows)), 0.0
    points_RD = _centered(embedding_ND[rows])
    half_R = _half_norms(points_RD)
    squared_RR = 2 * np.maximum(half_R[:, None] + half_R - points_RD @ points_RD.T, 0)
    median = float(np.sqrt(np.median(squared_RR[np.triu_indices(len(points_RD), 1)])))
    np.fill_diagonal(squared_RR, np.inf)
    return np.sqrt(squared_RR.min(axis=1).astype(np.float64)), median

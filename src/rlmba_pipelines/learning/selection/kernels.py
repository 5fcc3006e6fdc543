"""Similarity of samples: a mixture of Gaussian kernels, each on an embedding of its own.

Concept  k(x, a) = Σ_j w_j exp(−(‖x − a‖ / h_j)²), weights normalised to 1, so that k is in [0, 1] and k(x, x) = 1.
Source   Uncertainty Herding, Bae et al. 2025 (arXiv 2412.20644): bandwidth from the distances among the labeled.
Stated   h = the smallest distance between labeled samples.
Chosen   a low quantile of their positive nearest-neighbor distances (the minimum is 0 where texts repeat). Products are
         float32; squared distances below its resolution are 0, so that repeats are exactly alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from rlmba_pipelines.learning.selection.batch import blocks
from rlmba_pipelines.learning.types import PoolView

RESOLUTION = 1e-6  # of float32 squared distances, relative to the squared norms
FARTHEST = -60.0  # exponents end at exp(−60) ~ 1e-26: nothing is nearer 0, and no denormals slow the sums
BLOCK_ROWS = 512  # whose similarities are computed at once
READ_ROWS = 2048  # rows that are read at once beside those kept
CACHED_VALUES = 100_000  # similarities that go through all their steps at once
REFERENCE_ROWS = 2000  # rows that a quantile is measured on, at most
PAIRED_ROWS = 10_000  # rows that the smallest distance is looked for among, at most
BANDWIDTH_FLOOR = 1e-3  # of the median pairwise distance


Points = tuple[np.ndarray, np.ndarray]  # scaled rows [A, D] and half their squared norms [A]


class Embedding(Protocol):
    """Rows by position, float16 to float64: an array, or one whose rows are made when they are asked for."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...


class Kernel(NamedTuple):
    """One part of the mixture: nonnegative weight, embedding [N, D], bandwidth h > 0 in its unit."""

    weight: float
    embedding_ND: Embedding
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
        self.n_rows = len(rows)
        self._parts = [_Part(kernel, kernel.weight / total, rows) for kernel in kernels if kernel.weight > 0]

    def block(self, left: slice | np.ndarray, right: slice) -> np.ndarray:
        """float32[A, B] similarities in (0, 1] of the rows at ``left`` with the rows at ``right``."""
        return self._sum([(part.points(left), part.points(right)) for part in self._parts])

    def to_rows(self, rows: np.ndarray) -> np.ndarray:
        """float32[n_rows, len(rows)] similarities of all of these with other ``rows`` of the embeddings."""
        return self._sum([(part.points(slice(None)), part.read(rows)) for part in self._parts])

    def _sum(self, sides: Sequence[tuple[Points, Points]]) -> np.ndarray:
        total_AB = self._parts[0].similarities(*sides[0])
        for part, (left, right) in zip(self._parts[1:], sides[1:], strict=True):
            total_AB += part.similarities(left, right)
        return total_AB

    def matrix(self, n_rows: int) -> np.ndarray:
        """float32[n_rows, n_rows] similarities among the first rows; only one half is computed."""
        matrix = np.empty((n_rows, n_rows), dtype=np.float32)
        for part in blocks(n_rows, BLOCK_ROWS):
            matrix[part, part.start :] = self.block(part, slice(part.start, n_rows))
            for tile in blocks(n_rows - part.stop, BLOCK_ROWS):  # tiles fit the cache, which a whole column does not
                at = slice(part.stop + tile.start, part.stop + tile.stop)
                matrix[at, part] = matrix[part, at].T
        return matrix


class _Part:
    """One kernel on its rows, scaled by √2 / h: the exponent is x·a − |x|²/2 − |a|²/2."""

    def __init__(self, kernel: Kernel, weight: float, rows: np.ndarray) -> None:
        self._embedding_ND, self._weight = kernel.embedding_ND, np.float32(weight)
        self._scale = np.float32(np.sqrt(2) / kernel.bandwidth)
        points_ND = _float32_copy(kernel.embedding_ND[rows])
        self._mean_D = points_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._points = self._centered(points_ND)

    def read(self, rows: np.ndarray) -> Points:
        return self._centered(_float32_copy(self._embedding_ND[rows]))

    def points(self, at: slice | np.ndarray) -> Points:
        return self._points[0][at], self._points[1][at]

    def _centered(self, points_ND: np.ndarray) -> Points:
        points_ND -= self._mean_D
        points_ND *= self._scale
        return points_ND, _half_norms(points_ND)

    def similarities(self, left: Points, right: Points) -> np.ndarray:
        (left_AD, half_A), (right_BD, half_B) = left, right
        part_AB = left_AD @ right_BD.T
        for few in blocks(len(part_AB), max(1, CACHED_VALUES // max(1, len(half_B)))):
            some = part_AB[few]
            some -= half_A[few, None]
            some -= half_B
            np.clip(some, FARTHEST, 0, out=some)  # = −d² / h²
            np.exp(some, out=some)
            if self._weight != 1:
                some *= self._weight
        return part_AB


def nearest_similarity(kernels: Sequence[Kernel], rows: np.ndarray, target_rows: np.ndarray) -> np.ndarray:
    """float32[T]: similarity of each target to the most similar of ``rows``; 0 without any. Read in blocks."""
    nearest_T = np.zeros(len(target_rows), dtype=np.float32)
    for some in blocks(len(rows), READ_ROWS):
        similarity = Similarity(kernels, rows[some])
        for part in blocks(len(target_rows), READ_ROWS):
            near = similarity.to_rows(target_rows[part]).max(axis=0)
            np.maximum(nearest_T[part], near, out=nearest_T[part])
    return nearest_T


def _half_norms(embedding_ND: np.ndarray) -> np.ndarray:
    """Half the squared norms, less the resolution, which makes a rounded zero distance an exact one."""
    half_N = np.einsum("nd,nd->n", embedding_ND, embedding_ND) / 2
    return half_N * np.float32(1 - RESOLUTION)


def _float32_copy(rows_ND: np.ndarray) -> np.ndarray:
    """Rows that were picked out by position, hence a copy already; float32."""
    return rows_ND.astype(np.float32, copy=False)


def _centered(embedding_ND: np.ndarray) -> np.ndarray:
    """A float32 copy around the mean: the same distances, with less lost to rounding."""
    return (embedding_ND - embedding_ND.mean(axis=0, dtype=np.float64)).astype(np.float32)


def bandwidth_of(embedding_ND: Embedding, view: PoolView, quantile: float) -> float:
    """Bandwidth h: the given quantile of the positive nearest-neighbor distances among the labeled samples.

    It is at least 1/1000 of their median pairwise distance. With fewer than two distinct labeled samples: the median
    nearest-neighbor distance of the candidates. Over 2,000 rows, 2,000 evenly spaced ones (by sample id) speak for all.

    Args:
        embedding_ND: [N, D] over all rows of the view.
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


def smallest_distance(embedding_ND: Embedding, rows: np.ndarray) -> float:
    """The smallest positive distance between two of the rows; 0 where no two of them differ.

    Repeats are no neighbors: pairs whose squared distance is below the resolution of float32 (1e-6 of the squared
    norms around the mean) are left out. Over 10,000 rows, 10,000 evenly spaced ones speak for all.

    >>> line = np.array([[0.0], [0.0], [1.0], [3.0]], dtype=np.float32)
    >>> round(smallest_distance(line, np.arange(4)), 6), smallest_distance(line, np.arange(2))
    (1.0, 0.0)
    """
    rows = _evenly(rows, PAIRED_ROWS)
    if len(rows) < 2:
        return 0.0
    points_RD = _centered(_float32_copy(embedding_ND[rows]))
    half_R = _half_norms(points_RD)
    least, pair = np.inf, (0, 0)
    for part in blocks(len(rows), BLOCK_ROWS):
        half_BR = half_R[part, None] + half_R - points_RD[part] @ points_RD.T
        half_BR[half_BR <= 0] = np.inf
        b, r = np.unravel_index(half_BR.argmin(), half_BR.shape)
        if half_BR[b, r] < least:
            least, pair = float(half_BR[b, r]), (part.start + int(b), int(r))
    if least == np.inf:
        return 0.0
    first_D, second_D = embedding_ND[rows[list(pair)]].astype(np.float64)
    return float(np.linalg.norm(first_D - second_D))


def _evenly(rows: np.ndarray, n_most: int = REFERENCE_ROWS) -> np.ndarray:
    if len(rows) <= n_most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, n_most).astype(np.int64)]


def _neighbor_distances(rows: np.ndarray, embedding_ND: Embedding) -> tuple[np.ndarray, float]:
    """Distance of each of the rows to its nearest other row, and the median pairwise distance; 0 for repeats."""
    if len(rows) < 2:
        return np.zeros(len(rows)), 0.0
    points_RD = _centered(embedding_ND[rows])
    half_R = _half_norms(points_RD)
    squared_RR = 2 * np.maximum(half_R[:, None] + half_R - points_RD @ points_RD.T, 0)
    median = float(np.sqrt(np.median(squared_RR[np.triu_indices(len(points_RD), 1)])))
    np.fill_diagonal(squared_RR, np.inf)
    return np.sqrt(squared_RR.min(axis=1).astype(np.float64)), median

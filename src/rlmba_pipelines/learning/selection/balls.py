"""Balls of one radius around samples: which sample lies in whose ball, one bit a pair.

Concept  the graph of ProbCover: x and y are neighbors where ‖x − y‖ < δ, and every x is its own.
Chosen   squared distances are float32 products around the mean, block by block; half of them is computed and the other
         mirrored, so the graph is symmetric. What float32 cannot tell from δ is not below δ. A row of the graph takes
         n / 8 bytes, whatever the radius.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.selection.batch import blocks
from rlmba_pipelines.learning.selection.kernels import Embedding

BLOCK_ROWS = 1024  # a multiple of 8, so that blocks end on whole bytes
ROUNDING = 2e-6  # of the largest squared norm: what float32 squared distances may be off by


class BallGraph:
    """The rows of ``points_RD`` (float[R, D], finite, at least one) and, once connected, their balls.

    >>> graph = BallGraph(np.array([[0.0], [1.0], [1.5], [9.0]]))
    >>> graph.enemy_distances(np.array([0, 0, 1, 1])).tolist()
    [1.5, 0.5, 0.5, 8.0]
    >>> graph.connect(1.2)
    >>> graph.degrees(np.array([True, True, True, False])).tolist(), graph.ball(0).tolist()
    ([2, 3, 2, 0], [True, True, False, False])
    """

    def __init__(self, points_RD: np.ndarray) -> None:
        self._mean_D = points_RD.mean(axis=0, dtype=np.float64)
        self._points_RD = self._centered(points_RD)
        self._half_R = np.square(self._points_RD).sum(axis=1) / 2
        self._bits_RB = np.empty((0, 0), dtype=np.uint8)
        self._threshold = 0.0

    @property
    def beyond_all(self) -> float:
        """A radius that no distance reaches."""
        return 2.1 * float(np.sqrt(2 * self._half_R.max())) or 1.0

    def enemy_distances(self, label_R: np.ndarray) -> np.ndarray:
        """float64[R]: distance of every row to its nearest row of another label; infinite where there is none."""
        nearest_R = np.full(len(label_R), np.inf, dtype=np.float32)
        for rows, others in self._upper_blocks():
            squared_AB = self._squared(rows, others)
            squared_AB[label_R[rows][:, None] == label_R[others]] = np.inf
            np.minimum(nearest_R[rows], squared_AB.min(axis=1), out=nearest_R[rows])
            np.minimum(nearest_R[others], squared_AB.min(axis=0), out=nearest_R[others])
        return np.sqrt(np.maximum(nearest_R.astype(np.float64), 0))

    def connect(self, radius: float) -> None:
        """Make neighbors of all pairs nearer than ``radius``."""
        n_rows = len(self._points_RD)
        self._threshold = radius**2 - ROUNDING * 2 * float(self._half_R.max())
        self._bits_RB = np.zeros((n_rows, -(-n_rows // 8)), dtype=np.uint8)
        for rows, others in self._upper_blocks():
            near_AB = self._squared(rows, others) < self._threshold
            if rows == others:
                near_AB |= near_AB.T  # a product need not be symmetric in its last bit
                np.fill_diagonal(near_AB, True)
            self._bits_RB[rows, _bytes_of(others)] = np.packbits(near_AB, axis=1)
            self._bits_RB[others, _bytes_of(rows)] = np.packbits(near_AB.T, axis=1)

    def ball(self, row: int) -> np.ndarray:
        """bool[R]: the rows in the ball around ``row``."""
        return np.unpackbits(self._bits_RB[row], count=len(self._bits_RB)).astype(bool)

    def degrees(self, counted_R: np.ndarray) -> np.ndarray:
        """int64[R]: how many of the ``counted_R`` rows each ball holds."""
        degree_R = np.zeros(len(self._bits_RB), dtype=np.int64)
        counted = np.flatnonzero(counted_R)
        for part in blocks(len(counted), 255):  # as many as a byte can count
            in_ball = np.unpackbits(self._bits_RB[counted[part]], axis=1, count=len(degree_R))
            degree_R += in_ball.sum(axis=0, dtype=np.uint8)
        return degree_R

    def covered_by(self, points_ND: Embedding, centers: np.ndarray) -> np.ndarray:
        """bool[R]: rows in the ball of any of ``points_ND[centers]``, which need not be in the graph."""
        covered_R = np.zeros(len(self._points_RD), dtype=bool)
        for part in blocks(len(centers), BLOCK_ROWS):
            centers_BD = self._centered(points_ND[centers[part]])
            half_B = np.square(centers_BD).sum(axis=1) / 2
            for rows in blocks(len(covered_R), BLOCK_ROWS):
                near_AB = _squared(self._points_RD[rows], self._half_R[rows], centers_BD, half_B) < self._threshold
                covered_R[rows] |= near_AB.any(axis=1)
        return covered_R

    def _centered(self, points_RD: np.ndarray) -> np.ndarray:
        return (points_RD - self._mean_D).astype(np.float32)

    def _upper_blocks(self) -> list[tuple[slice, slice]]:
        parts = list(blocks(len(self._points_RD), BLOCK_ROWS))
        return [(rows, others) for i, rows in enumerate(parts) for others in parts[i:]]

    def _squared(self, rows: slice, others: slice) -> np.ndarray:
        points_RD, half_R = self._points_RD, self._half_R
        return _squared(points_RD[rows], half_R[rows], points_RD[others], half_R[others])


def _squared(left_AD: np.ndarray, half_A: np.ndarray, right_BD: np.ndarray, half_B: np.ndarray) -> np.ndarray:
    """float32[A, B]: squared distances, from rows and half their squared norms."""
    squared_AB = left_AD @ right_BD.T
    squared_AB -= half_A[:, None]
    squared_AB -= half_B
    squared_AB *= -2
    return squared_AB


def _bytes_of(rows: slice) -> slice:
    return slice(rows.start // 8, -(-rows.stop // 8))

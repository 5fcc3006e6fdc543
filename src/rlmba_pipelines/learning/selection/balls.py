"""Balls of one radius around samples: which sample lies in whose ball, one bit a pair.

Concept  the graph of ProbCover: x and y are neighbors where ‖x − y‖ < δ, and every x is its own.
Chosen   squared distances are float32 products around the mean, block by block, of rows that are read when they are
         needed. Half of the graph is kept, as it is symmetric: n² / 16 bytes, whatever the radius. What float32 cannot
         tell from δ is not below δ.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rlmba_pipelines.learning.selection.batch import blocks
from rlmba_pipelines.learning.selection.clusters import all_rows, mean_of
from rlmba_pipelines.learning.selection.kernels import Embedding

BLOCK_ROWS = 1024  # a multiple of 8, so that blocks begin on whole bytes
PARTS_KEPT = 3  # blocks of rows that stay in memory while all later ones are read
ROUNDING = 2e-6  # of the largest squared norm: what float32 squared distances may be off by
BITS_OF_BYTE = np.array([byte.bit_count() for byte in range(256)], dtype=np.uint8)


class BallGraph:
    """``rows`` of ``points_ND`` and, once connected, their balls.

    Args:
        points_ND: float[N, D], finite; an array, or rows that are made when they are asked for.
        rows: int64[R], at least one; None: all of an array.

    >>> graph = BallGraph(np.array([[0.0], [1.0], [1.5], [9.0]]))
    >>> graph.enemy_distances(np.array([0, 0, 1, 1])).tolist()
    [1.5, 0.5, 0.5, 8.0]
    >>> graph.connect(1.2)
    >>> graph.degrees(np.array([True, True, True, False])).tolist(), graph.ball(0).tolist()
    ([2, 3, 2, 0], [True, True, False, False])
    """

    def __init__(self, points_ND: Embedding, rows: np.ndarray | None = None) -> None:
        self._points_ND, self._rows = points_ND, all_rows(points_ND) if rows is None else rows
        self._parts = list(blocks(len(self._rows), BLOCK_ROWS))
        self._mean_D = mean_of(points_ND, self._rows)
        self._half_R = np.concatenate([_half_norms(self._read(part)) for part in self._parts])
        self._halves: list[np.ndarray] = []  # of every part [bytes of eight rows from its first on, its rows]
        self._threshold = 0.0

    @property
    def beyond_all(self) -> float:
        """A radius that no distance reaches."""
        return 2.1 * float(np.sqrt(2 * self._half_R.max())) or 1.0

    def enemy_distances(self, label_R: np.ndarray) -> np.ndarray:
        """float64[R]: distance of every row to its nearest row of another label; infinite where there is none."""
        nearest_R = np.full(len(label_R), np.inf, dtype=np.float32)
        for rows, others, squared_AB in self._upper_blocks():
            squared_AB[label_R[rows][:, None] == label_R[others]] = np.inf
            np.minimum(nearest_R[rows], squared_AB.min(axis=1), out=nearest_R[rows])
            np.minimum(nearest_R[others], squared_AB.min(axis=0), out=nearest_R[others])
        return np.sqrt(np.maximum(nearest_R.astype(np.float64), 0))

    def connect(self, radius: float) -> None:
        """Make neighbors of all pairs nearer than ``radius``."""
        self._threshold = radius**2 - ROUNDING * 2 * float(self._half_R.max())
        n_rows = len(self._rows)
        self._halves = [
            np.zeros((-(-(n_rows - part.start) // 8), part.stop - part.start), dtype=np.uint8) for part in self._parts
        ]
        for rows, others, squared_AB in self._upper_blocks():
            near_AB = squared_AB < self._threshold
            if rows == others:
                near_AB |= near_AB.T  # a product need not be symmetric in its last bit
                np.fill_diagonal(near_AB, True)
            at = slice((others.start - rows.start) // 8, -(-(others.stop - rows.start) // 8))
            self._halves[rows.start // BLOCK_ROWS][at] = np.packbits(near_AB, axis=1).T

    def ball(self, row: int) -> np.ndarray:
        """bool[R]: the rows in the ball around ``row``."""
        inside_R = np.zeros(len(self._rows), dtype=bool)
        for part, half in zip(self._parts, self._halves, strict=True):
            if row >= part.stop:
                byte, bit = divmod(row - part.start, 8)
                inside_R[part] = half[byte] & (128 >> bit)
            elif row >= part.start:
                inside_R[part.start :] = np.unpackbits(half[:, row - part.start], count=len(inside_R) - part.start)
        return inside_R

    def degrees(self, counted_R: np.ndarray) -> np.ndarray:
        """int64[R]: how many of the ``counted_R`` rows each ball holds."""
        degree_R = np.zeros(len(self._rows), dtype=np.int64)
        for part, half in zip(self._parts, self._halves, strict=True):
            counted = np.packbits(counted_R[part.start :])
            with_any = np.flatnonzero(counted)  # rows of the part count all from its first row on
            degree_R[part] += BITS_OF_BYTE[half[with_any] & counted[with_any, None]].sum(axis=0, dtype=np.int64)
            own = np.flatnonzero(counted_R[part])  # rows after the part count those in it
            for few in blocks(len(own), 255):  # as many as a byte can count
                bits_BR = np.unpackbits(np.ascontiguousarray(half[:, own[few]].T), axis=1)
                bits_BR = bits_BR[:, part.stop - part.start : len(degree_R) - part.start]
                degree_R[part.stop :] += bits_BR.sum(axis=0, dtype=np.uint8)
        return degree_R

    def covered_by(self, points_ND: Embedding, centers: np.ndarray) -> np.ndarray:
        """bool[R]: rows in the ball of any of ``points_ND[centers]``, which need not be in the graph."""
        covered_R = np.zeros(len(self._rows), dtype=bool)
        for part in blocks(len(centers), BLOCK_ROWS):
            centers_BD = self._centered(points_ND[centers[part]])
            half_B = _half_norms(centers_BD)
            for rows in self._parts:
                points_AD = self._read(rows)
                near_AB = _squared(points_AD, self._half_R[rows], centers_BD, half_B) < self._threshold
                covered_R[rows] |= near_AB.any(axis=1)
        return covered_R

    def _read(self, part: slice) -> np.ndarray:
        return self._centered(self._points_ND[self._rows[part]])

    def _centered(self, points_BD: np.ndarray) -> np.ndarray:
        return (points_BD - self._mean_D).astype(np.float32)

    def _upper_blocks(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Every two parts once, and the squared distances between their rows, the reader's to overwrite."""
        for first in range(0, len(self._parts), PARTS_KEPT):
            kept = {part.start: self._read(part) for part in self._parts[first : first + PARTS_KEPT]}
            for others in self._parts[first:]:
                others_BD = kept[others.start] if others.start in kept else self._read(others)
                for part in self._parts[first : first + PARTS_KEPT]:
                    if part.start <= others.start:
                        points_AD = kept[part.start]
                        yield part, others, _squared(points_AD, self._half_R[part], others_BD, self._half_R[others])


def _half_norms(points_BD: np.ndarray) -> np.ndarray:
    return np.square(points_BD).sum(axis=1) / 2


def _squared(left_AD: np.ndarray, half_A: np.ndarray, right_BD: np.ndarray, half_B: np.ndarray) -> np.ndarray:
    """float32[A, B]: squared distances, from rows and half their squared norms."""
    squared_AB = left_AD @ right_BD.T
    squared_AB -= half_A[:, None]
    squared_AB -= half_B
    squared_AB *= -2
    return squared_AB

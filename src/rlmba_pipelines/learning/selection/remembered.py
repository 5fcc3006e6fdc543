"""Similarities kept in memory: all of them, one half, or the latest asked for. What is kept decides speed only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rlmba_pipelines.learning.selection.batch import blocks
from rlmba_pipelines.learning.selection.kernels import Similarity

SQUARE_ROWS = 15_000  # up to so many rows the square is kept (900 MB), beyond one half of it
HALF_BLOCK_ROWS = 1024  # rows that begin at the same column of the half


class AllRows:
    """Similarities of all rows to each other; one half is computed.

    Args:
        without_self: the similarity of a row to itself is 0.

    >>> from rlmba_pipelines.learning.selection.kernels import Kernel
    >>> line = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
    >>> AllRows(Similarity([Kernel(1.0, line, 1.0)], np.arange(3)), without_self=True)(np.array([1])).round(2)
    array([[0.37, 0.  , 0.02]], dtype=float32)
    """

    def __init__(self, similarity: Similarity, *, without_self: bool) -> None:
        n_rows = self._n_rows = similarity.n_rows
        self.is_square = n_rows <= SQUARE_ROWS
        if self.is_square:
            self._square = similarity.matrix(n_rows)
            if without_self:
                np.fill_diagonal(self._square, 0)
            return
        self._halves = []
        for part in blocks(n_rows, HALF_BLOCK_ROWS):
            half = similarity.block(part, slice(part.start, n_rows))
            if without_self:
                np.fill_diagonal(half, 0)
            self._halves.append((part, half))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """float32[len(rows), n_rows], the caller's to overwrite."""
        if self.is_square:
            return self._square[rows]
        values = np.empty((len(rows), self._n_rows), dtype=np.float32)
        for part, half in self._halves:
            here, later = np.flatnonzero((rows >= part.start) & (rows < part.stop)), np.flatnonzero(rows >= part.stop)
            values[here, part.start :] = half[rows[here] - part.start]
            values[later, part] = half[:, rows[later] - part.start].T
        return values


class RememberedRows:
    """Rows of similarities that somebody else computes; those asked for last are remembered.

    Args:
        compute: positions -> float32[len, n_rows].
        max_values: float32 similarities to remember at most.
    """

    def __init__(self, compute: Callable[[np.ndarray], np.ndarray], n_rows: int, max_values: int) -> None:
        n_slots = min(n_rows, max_values // max(1, n_rows))
        self._compute = compute
        self._kept = np.empty((n_slots, n_rows), dtype=np.float32)
        self._row_of_slot, self._slot_of_row = np.full(n_slots, -1), np.full(n_rows, -1)
        self._next_slot = 0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """float32[len(rows), n_rows], the caller's to overwrite."""
        slots = self._slot_of_row[rows]
        new = slots < 0
        if not new.any():
            return self._kept[slots]
        if new.all():
            values = self._compute(rows)
        else:
            values = np.empty((len(rows), self._kept.shape[1]), dtype=np.float32)
            values[~new] = self._kept[slots[~new]]
            values[new] = self._compute(rows[new])
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

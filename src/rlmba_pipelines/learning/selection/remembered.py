"""Similarities of which the latest asked for are kept in memory. What is kept decides speed only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


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

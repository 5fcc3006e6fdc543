"""Squared distance of every row to its nearest center, known no better than it has to be: for ``k_center``."""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.selection.batch import blocks, check_finite
from rlmba_pipelines.learning.types import PoolView

BLOCK_ROWS = 4096  # rows upcast at once
FIRST_CENTERS = 32  # labeled rows that every row is compared with; the others only where it matters
PICKS_AT_ONCE = 256  # whose distances are measured in the end
STEP_CENTERS = 512  # centers that a stale row meets at once
PLAIN_RANGE = (1e-12, 1e12)  # largest squared norms that float32 products take as they are


class Nearest:
    """Centers, and for every row an upper bound in float32 of its squared distance to the nearest of them.

    Rows are read in place; where float32 would overflow or underflow they are scaled by ``unit``, a power of two.

    Attributes:
        near_N: float32[N], within ``slack`` of the squared distance to the first ``n_seen_N`` centers; ``-inf`` for
            labeled and chosen rows.
        centers_KD: float32[K, D]; the first ``n_centers`` are filled: labeled rows, then ``picks`` in order.
        scale: the largest squared norm.
        slack: a bound on what float32 distances are off by: 2 · 2γ of the products, γ = D · 2⁻²⁴, and norms alike.
    """

    def __init__(self, view: PoolView, embedding_ND: np.ndarray, n_picks: int, what: str) -> None:
        n_rows, width = embedding_ND.shape
        self._embedding_ND = embedding_ND
        self.unit = 1.0
        self.squared_N = self._squared_norms()
        longest = self.squared_N.max(initial=0.0)
        if n_rows != len(view.sample_ids) or not np.isfinite(longest):
            check_finite(embedding_ND, view, what)
        if not PLAIN_RANGE[0] <= longest <= PLAIN_RANGE[1]:
            largest = max(float(np.abs(embedding_ND[part]).max()) for part in blocks(n_rows, BLOCK_ROWS))
            self.unit = float(2.0 ** -np.floor(np.log2(largest))) if largest > 0 else 1.0
            self.squared_N = self._squared_norms()
        self.scale = float(np.square(self._precise(int(self.squared_N.argmax()))).sum())
        self.slack = (4 * width + 32) * 2.0**-24 * self.scale

        self.picks: list[int] = []
        labeled, self._n_first = _spread_first(view.labeled_rows, FIRST_CENTERS)
        self.n_labeled = self.n_centers = len(labeled)
        n_most = len(labeled) + min(n_picks, n_rows - len(labeled))
        self._center_rows = np.zeros(n_most, dtype=np.int64)
        self._center_rows[: len(labeled)] = labeled
        self.centers_KD = np.empty((n_most, width), dtype=np.float32)
        for part in blocks(len(labeled), BLOCK_ROWS):
            self.centers_KD[part] = self.block(labeled[part])
        self.center_squared_K = self.squared_N[self._center_rows]
        self.near_N = np.full(n_rows, np.finfo(np.float32).max)
        self.near_N[labeled] = -np.inf
        self.n_seen_N = np.zeros(n_rows, dtype=np.int64)

    def block(self, rows: np.ndarray | slice) -> np.ndarray:
        """float32[len(rows), D], scaled; not to be written to."""
        if self.unit == 1.0:
            return np.asarray(self._embedding_ND[rows], dtype=np.float32)
        return self._precise(rows).astype(np.float32)

    def _precise(self, rows: np.ndarray | slice | int) -> np.ndarray:
        return self._embedding_ND[rows].astype(np.float64) * self.unit

    def _squared_norms(self) -> np.ndarray:
        squared_N = np.empty(len(self._embedding_ND), dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is dealt with by the caller
            for part in blocks(len(squared_N), BLOCK_ROWS):
                block = self.block(part)
                np.einsum("nd,nd->n", block, block, out=squared_N[part])
        return squared_N

    def choose(self, row: int) -> None:
        """``row`` becomes a center, and no candidate any more."""
        self._center_rows[self.n_centers] = row
        self.centers_KD[self.n_centers] = self.block(np.array([row]))[0]
        self.center_squared_K[self.n_centers] = self.squared_N[row]
        self.near_N[row] = -np.inf
        self.picks.append(row)
        self.n_centers += 1

    def farthest_from_mean(self, tie: float) -> tuple[int, float]:
        """The first row whose squared distance to the mean is within ``tie`` of the largest, and that distance."""
        n_rows = len(self._embedding_ND)
        parts = list(blocks(n_rows, BLOCK_ROWS))
        mean_D = np.sum([self.block(part).sum(axis=0, dtype=np.float64) for part in parts], axis=0) / n_rows
        narrow_D = mean_D.astype(np.float32)
        far_N = self.squared_N - 2 * np.concatenate([self.block(part) @ narrow_D for part in parts])
        rows = np.flatnonzero(far_N >= far_N.max() - 2 * self.slack - tie)
        exact = np.concatenate(
            [np.square(self._precise(rows[part]) - mean_D).sum(axis=1) for part in blocks(len(rows), BLOCK_ROWS)]
        )
        first = int(np.flatnonzero(exact >= exact.max() - tie)[0])
        return int(rows[first]), float(exact[first])

    def see_first_centers(self) -> None:
        """Bring every row up to date with a few of the centers, the same for all, in one pass over the rows."""
        n_seen = self._n_first or self.n_centers
        for part in blocks(len(self.near_N), BLOCK_ROWS):
            near = self._narrow(part, 0, n_seen).min(axis=1, initial=np.finfo(np.float32).max)
            self.near_N[part] = np.minimum(self.near_N[part], near)
        self.n_seen_N[:] = n_seen

    def _narrow(self, rows: np.ndarray | slice, first: int, stop: int) -> np.ndarray:
        """float32 squared distances of ``rows`` to the centers from ``first`` up to ``stop``."""
        distances = self.block(rows) @ self.centers_KD[first:stop].T
        distances *= -2
        distances += self.squared_N[rows][:, None]
        distances += self.center_squared_K[first:stop]
        return distances

    def refreshed_front(self, n_front: int) -> tuple[np.ndarray, float]:
        """The ``n_front`` rows with the highest bounds, all up to date, by id; and the highest bound of the others."""
        while True:
            front, outside = np.arange(len(self.near_N)), -np.inf
            if n_front < len(front):
                order = np.argpartition(self.near_N, len(front) - n_front - 1)
                front = np.sort(order[len(front) - n_front :])
                outside = float(self.near_N[order[len(order) - n_front - 1]])
            front = front[self.near_N[front] > -np.inf]
            n_seen = self.n_seen_N[front]
            if (n_seen == self.n_centers).all():
                return front, outside
            stop = min(int(n_seen.min()) + STEP_CENTERS, self.n_centers)
            self._see(front[n_seen < stop], stop)

    def _see(self, rows: np.ndarray, stop: int) -> None:
        for part in blocks(len(rows), BLOCK_ROWS):
            some = rows[part]
            near = self._narrow(some, int(self.n_seen_N[some].min()), stop).min(axis=1)
            self.near_N[some] = np.minimum(self.near_N[some], near)
        self.n_seen_N[rows] = stop

    def exact(self, rows: np.ndarray, first: int = 0) -> np.ndarray:
        """float64 squared distance of ``rows`` to the nearest of the centers from ``first`` on."""
        return self._measured(rows, self._narrow(rows, first, self.n_centers), first)

    def _measured(self, rows: np.ndarray, narrow_RK: np.ndarray, first: int = 0) -> np.ndarray:
        """float64 least squared distance, measured only to the centers that float32 says may be the nearest."""
        row, center = np.nonzero(narrow_RK <= narrow_RK.min(axis=1, keepdims=True) + 2 * self.slack)
        squared = np.empty(len(row))
        for part in blocks(len(row), BLOCK_ROWS):
            gap = self._precise(rows[row[part]]) - self._precise(self._center_rows[first + center[part]])
            squared[part] = np.einsum("pd,pd->p", gap, gap)
        return np.minimum.reduceat(squared, np.searchsorted(row, np.arange(len(rows))))

    def squared_when_chosen(self) -> np.ndarray:
        """float64[picks]: squared distance of each pick to the centers before it; 0 where there was none."""
        squared = np.zeros(len(self.picks))
        for part in blocks(len(squared), PICKS_AT_ONCE):
            before = slice(max(part.start, int(not self.n_labeled)), part.stop)
            rows = np.array(self.picks[before], dtype=np.int64)
            if len(rows):
                narrow = self._narrow(rows, 0, self.n_labeled + part.stop)
                later = np.arange(narrow.shape[1]) >= self.n_labeled + np.arange(before.start, before.stop)[:, None]
                narrow[later] = np.inf
                squared[before] = self._measured(rows, narrow)
        return squared


def _spread_first(rows: np.ndarray, n_first: int) -> tuple[np.ndarray, int]:
    """The rows, evenly spaced ones in front: about ``n_first`` of them, and how many.

    >>> _spread_first(np.arange(5), 3)
    (array([0, 2, 4, 1, 3]), 3)
    """
    stride = max(1, -(-len(rows) // n_first))
    order = np.argsort(np.arange(len(rows)) % stride, kind="stable")
    return rows[order], len(range(0, len(rows), stride))

"""k-means++ seeding: draw in proportion to the squared distance to what is already chosen.

Concept  D² sampling: what is far from everything chosen is likely to be chosen next.
Source   Arthur & Vassilvitskii 2007; the selector of BADGE, Ash et al. 2020 (arXiv 1906.03671).
Stated   the next pick is drawn with probability D²(x) / ΣD².
Chosen   ``kmeans_pp`` is the contract: the first pick has the largest norm; then one uniform u a pick, and the first
         row with cumsum(D²) > u · total, in float64, chosen rows at 0. ``kmeans_pp_rejection`` draws by the same law
         from D² that may be old: D² only falls, so an old one is an upper bound; the draw is tried on an interval as
         long as the old D², and counts if it falls on the part that is still true. Embeddings are known by their
         inner products or by their factors only, so an outer product a ⊗ z never has to be written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from rlmba_pipelines.learning.selection.batch import blocks, check_finite, selection_of
from rlmba_pipelines.learning.types import PoolView, Selection

RESOLUTION = 1e-12  # squared distances below this share of the largest squared norm are 0: rounding, not diversity
LEAF_ROWS = 256  # rows whose D² are summed together, so that a draw looks at N / 256 sums and 256 rows
BLOCK_ROWS = 1024  # rows in memory as float64 at once
HEAVY_SHARE = 0.95  # of ΣD² that a refresh brings up to date, by as few rows as it takes
TRY_COST = 50  # one centre costs a draw as much as 50 cost a row of a refresh: vectors, not matrices
TRY_OVERHEAD = 200  # centres whose cost a draw has besides
REFRESH_OVERHEAD = 9  # the same a row of a refresh
MOST_TRIES = 16  # at a time

Factors = Callable[[slice | np.ndarray], tuple[np.ndarray, ...]]
"""rows -> float64 factors [R, ·] of their embeddings; ⟨g_i, g_j⟩ is the product of the factors' inner products."""


def kmeans_pp(
    view: PoolView,
    squared_norm_N: np.ndarray,
    inner: Callable[[int], np.ndarray],
    query_size: int,
    rng: np.random.Generator,
    reasons: Mapping[str, np.ndarray] | None = None,
) -> Selection:
    """A diverse batch by D² sampling; ``utility_Q`` is D² at the moment of choice (the squared norm for the first).

    Where every candidate left repeats a chosen one, the rest is taken in order of sample id.

    Args:
        squared_norm_N: float64[N], ‖g‖² of every row of the view.
        inner: row -> float64[N], inner products of that row's embedding with every row's.
        rng: one uniform a pick after the first.
        reasons: float64[N] columns to keep for the chosen.

    >>> view = PoolView(np.array(["a", "b", "c"]), np.zeros(3, dtype=bool))
    >>> g = np.array([[0.0, 1.0], [3.0, 0.0], [3.0, 0.0]])
    >>> batch = kmeans_pp(view, (g ** 2).sum(1), lambda row: g @ g[row], 3, np.random.default_rng(0))
    >>> batch.sample_ids.tolist(), batch.utility_Q.tolist()
    (['b', 'a', 'c'], [9.0, 10.0, 0.0])
    """
    check_finite(squared_norm_N, view, "kmeans_pp: squared_norm")
    free_N = ~view.labeled_N
    resolution = RESOLUTION * squared_norm_N[free_N].max(initial=0.0)
    distance_N = np.asarray(squared_norm_N, dtype=np.float64)
    rows: list[int] = []
    utility: list[float] = []
    while len(rows) < min(query_size, len(view.candidate_rows)):
        if not rows:
            row = _longest(squared_norm_N, free_N, resolution)
            nearest_N = np.full(len(free_N), np.inf)
        else:
            row = _draw(distance_N, free_N, rng.random())
        utility.append(float(distance_N[row]))
        rows.append(row)
        free_N[row] = False
        to_row_N = squared_norm_N + squared_norm_N[row] - 2 * inner(row)
        nearest_N = np.minimum(nearest_N, np.where(to_row_N > resolution, to_row_N, 0.0))
        distance_N = np.where(free_N, nearest_N, 0.0)
    return selection_of(view, np.array(rows, dtype=np.int64), np.array(utility), reasons)


def kmeans_pp_rejection(
    view: PoolView,
    squared_norm_N: np.ndarray,
    factors: Factors,
    query_size: int,
    rng: np.random.Generator,
    reasons: Mapping[str, np.ndarray] | None = None,
) -> Selection:
    """``kmeans_pp`` by the same law, many times faster on large pools; other draws of the generator, so other picks.

    The same generator gives the same picks whatever the block size and the number of threads: when to refresh is
    decided by counting, and all arithmetic is float64, so only a uniform within ~1e-12 of a boundary could tell.

    Args:
        squared_norm_N: float64[N], ‖g‖² of every row of the view.
        factors: of the embeddings; see ``Factors``.
        rng: at least one uniform a pick after the first.
        reasons: float64[N] columns to keep for the chosen.

    >>> view = PoolView(np.array(["a", "b", "c"]), np.zeros(3, dtype=bool))
    >>> g = np.array([[0.0, 1.0], [3.0, 0.0], [3.0, 0.0]])
    >>> batch = kmeans_pp_rejection(view, (g ** 2).sum(1), lambda rows: (g[rows],), 3, np.random.default_rng(0))
    >>> batch.sample_ids.tolist(), batch.utility_Q.tolist()
    (['b', 'a', 'c'], [9.0, 10.0, 0.0])
    """
    check_finite(squared_norm_N, view, "kmeans_pp: squared_norm")
    free_N = ~view.labeled_N
    n_picks = min(query_size, len(view.candidate_rows))
    rows: list[int] = []
    utility: list[float] = []
    if n_picks:
        stale = StaleDistances(np.asarray(squared_norm_N, dtype=np.float64), factors, free_N, n_picks)
        rows.append(_longest(squared_norm_N, free_N, stale.resolution))
        utility.append(float(squared_norm_N[rows[0]]))
        stale.choose(rows[0])
        stale.refresh(np.flatnonzero(free_N))
    while len(rows) < n_picks and (drawn := stale.draw(rng)):
        row, distance = drawn
        rows.append(row)
        utility.append(distance)
        stale.choose(row)
    if len(rows) < n_picks:  # all that is left repeats what is chosen
        rest = np.setdiff1d(view.candidate_rows, rows)[: n_picks - len(rows)]
        rows += rest.tolist()
        utility += [0.0] * len(rest)
    return selection_of(view, np.array(rows, dtype=np.int64), np.array(utility), reasons)


class StaleDistances:
    """D² to the nearest of the first few centres, for every row; chosen and labeled rows are at 0.

    A row's value is exact for the first ``seen_N`` centres, hence never below the truth.
    """

    def __init__(self, squared_norm_N: np.ndarray, factors: Factors, free_N: np.ndarray, n_centers: int) -> None:
        n_rows = len(squared_norm_N)
        self.resolution = RESOLUTION * squared_norm_N[free_N].max(initial=0.0)
        self._norm_N, self._factors = squared_norm_N, factors
        self._leaves = np.zeros((-(-n_rows // LEAF_ROWS), LEAF_ROWS))
        self._bound_N = self._leaves.reshape(-1)[:n_rows]
        self._bound_N[free_N] = np.inf
        self._seen_N = np.zeros(n_rows, dtype=np.int64)
        self._sums = self._leaves.sum(axis=1)
        self._centers = tuple(np.empty((n_centers, f.shape[1])) for f in factors(slice(0, 1)))
        self._center_norm = np.empty(n_centers)
        self._n_centers = self._n_refreshed = 0
        self._wasted = 0  # what tries since the last refresh have cost, in row × centre of a refresh
        self._n_heavy = n_rows
        self._usual_tries = 1.0

    @property
    def total(self) -> float:
        return float(self._sums.sum())

    def choose(self, row: int) -> None:
        """Make ``row`` a centre."""
        for kept, factor in zip(self._centers, self._factors(np.array([row])), strict=True):
            kept[self._n_centers] = factor[0]
        self._center_norm[self._n_centers] = self._norm_N[row]
        self._n_centers += 1
        self._set(row, 0.0)

    def draw(self, rng: np.random.Generator) -> tuple[int, float] | None:
        """A row with probability D² / ΣD², and its D², both true now; None where all D² are 0.

        Tries are made several at a time where the last draws took several; the first that counts is drawn, and what
        the others have learned about their rows is kept.
        """
        n_failed = 0
        while self.total > 0:
            n_tries = min(round(self._usual_tries), MOST_TRIES)
            rows, height = self._stab(rng.random(n_tries))
            first_center = int(self._seen_N[rows].min())
            distance = np.minimum(self._bound_N[rows], self._nearest(rows, first_center))
            counts = np.flatnonzero(height < distance)
            if len(counts) == 0 or n_tries > 1:
                self._bound_N[rows] = distance
                self._seen_N[rows] = self._n_centers
                leaves = rows // LEAF_ROWS
                self._sums[leaves] = self._leaves[leaves].sum(axis=1)
            if len(counts):
                self._usual_tries += (n_failed + int(counts[0]) + 1 - self._usual_tries) / 4
                return int(rows[counts[0]]), float(distance[counts[0]])
            self._wasted += (TRY_COST + n_tries) * (self._n_centers - first_center + TRY_OVERHEAD)
            if self._wasted > (self._n_centers - self._n_refreshed + REFRESH_OVERHEAD) * self._n_heavy:
                self.refresh(self._heavy_rows())
            n_failed += n_tries
        return None

    def refresh(self, rows: np.ndarray) -> None:
        """Bring ``rows`` up to date, by products of matrices."""
        rows = rows[np.argsort(self._seen_N[rows], kind="stable")]  # rows that miss the same centres side by side
        for part in blocks(len(rows), BLOCK_ROWS):
            at = rows[part]
            nearest = self._nearest(at, int(self._seen_N[at[0]]))
            self._bound_N[at] = np.where(self._bound_N[at] > 0, np.minimum(self._bound_N[at], nearest), 0.0)
        self._seen_N[rows] = self._n_centers
        self._sums = self._leaves.sum(axis=1)
        self._n_refreshed, self._wasted = self._n_centers, 0
        self._n_heavy = len(self._heavy_rows())

    def _heavy_rows(self) -> np.ndarray:
        """As few rows as hold ``HEAVY_SHARE`` of the total, those already up to date included."""
        largest_first = np.argsort(-self._bound_N, kind="stable")
        reached = np.searchsorted(np.cumsum(self._bound_N[largest_first]), HEAVY_SHARE * self.total)
        return largest_first[: int(reached) + 1]

    def _nearest(self, rows: np.ndarray, first_center: int) -> np.ndarray:
        """True D² of ``rows`` to the nearest centre from ``first_center`` on; ``inf`` where there is none."""
        since = slice(first_center, self._n_centers)
        if since.start == since.stop:
            return np.full(len(rows), np.inf)
        products = np.full((len(rows), since.stop - since.start), -2.0)
        for factor, center in zip(self._factors(rows), self._centers, strict=True):
            products *= factor @ center[since].T
        products += self._center_norm[since]
        nearest = products.min(axis=1) + self._norm_N[rows]
        return np.where(nearest > self.resolution, nearest, 0.0)

    def _stab(self, uniform_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First rows with ``cumsum(bound) > uniform · total``, and how far into their own intervals the points lie."""
        cumulative = np.cumsum(self._sums)
        point_T = uniform_T * cumulative[-1]
        leaf_T = np.searchsorted(cumulative, point_T, side="right")
        leaf_T = np.minimum(leaf_T, np.flatnonzero(self._sums)[-1])  # a point within rounding of the end
        inner = np.cumsum(self._leaves[leaf_T], axis=1)
        before_T = cumulative[leaf_T] - self._sums[leaf_T]
        point_T = np.clip(point_T - before_T, 0.0, np.nextafter(inner[:, -1], 0.0))  # rounding must not leave the leaf
        place_T = (inner <= point_T[:, None]).sum(axis=1)
        here = np.arange(len(place_T))
        before_T = inner[here, place_T] - self._leaves[leaf_T, place_T]
        return leaf_T * LEAF_ROWS + place_T, np.maximum(point_T - before_T, 0.0)

    def _set(self, row: int, value: float) -> None:
        self._bound_N[row] = value
        self._sums[row // LEAF_ROWS] = self._leaves[row // LEAF_ROWS].sum()


def _longest(squared_norm_N: np.ndarray, free_N: np.ndarray, resolution: float) -> int:
    """The first free row of the largest norm."""
    norm_N = np.where(free_N, squared_norm_N, -np.inf)
    return int(np.flatnonzero(norm_N >= norm_N.max() - resolution)[0])


def _draw(distance_N: np.ndarray, free_N: np.ndarray, uniform: float) -> int:
    """First row with ``cumsum(distance) > uniform * total``; the first free row where all distances are 0.

    >>> _draw(np.array([0.0, 1.0, 0.0, 3.0]), np.ones(4, dtype=bool), uniform=0.25)
    3
    """
    cumulative_N = np.cumsum(distance_N)
    if cumulative_N[-1] == 0:
        return int(np.flatnonzero(free_N)[0])
    row = np.searchsorted(cumulative_N, uniform * cumulative_N[-1], side="right")
    last = np.flatnonzero(distance_N)[-1]  # a uniform within rounding of 1 would step over the end
    return int(min(row, last))

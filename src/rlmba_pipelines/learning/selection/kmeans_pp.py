"""k-means++ seeding: draw in proportion to the squared distance to what is already chosen.

Concept  D² sampling, Arthur & Vassilvitskii 2007; the selector of BADGE, Ash et al. 2020 (arXiv 1906.03671).
Stated   the next pick is drawn with probability D²(x) / ΣD².
Chosen   ``exact_stream``: the first pick has the largest norm; then one uniform u a pick, and the first row with
         cumsum(D²) > u · total, in float64, chosen rows at 0. Embeddings are known by their inner products only, so an
         outer product a ⊗ z never has to be written out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from rlmba_pipelines.learning.selection.batch import check_finite, selection_of
from rlmba_pipelines.learning.types import PoolView, Selection

RESOLUTION = 1e-12  # squared distances below this share of the largest squared norm are 0: rounding, not diversity


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
            row = int(np.argmax(np.where(free_N, squared_norm_N, -1.0)))
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

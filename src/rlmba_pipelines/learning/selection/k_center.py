"""Greedy k-center: again and again the candidate farthest from everything labeled or chosen.

Concept  the center set for which the farthest sample is as near as can be; greedy is within a factor of 2.
Source   Core-set selection, Sener & Savarese 2018 (arXiv 1708.00489); Gonzalez 1985 for the factor.
Stated   farthest-first traversal from the labeled set.
Chosen   the distance to the nearest center only falls, so a stale one is an upper bound. A front of the farthest rows
         is kept up to date in float32, one small product a pick; the rest is looked at again only when it could hold
         the farthest row. What float32 cannot tell apart is measured in float64, so picks are those of the plain loop.
         Rows are read in place, float16 or float32, block by block: no copy of the features is made.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rlmba_pipelines.learning.selection.batch import lazy_argmax, selection_of
from rlmba_pipelines.learning.selection.nearest import BLOCK_ROWS, Nearest
from rlmba_pipelines.learning.types import PoolView, Selection

TIE = 1e-12  # squared distances this close, relative to the largest squared norm, are equal
FRONT_ROWS = 2048  # rows kept up to date; decides speed only
WIDEST_FRONT = 8192  # more rows than this that float32 cannot tell apart are measured in float64, one by one


def k_center(
    view: PoolView, embedding_ND: np.ndarray, query_size: int, reasons: Mapping[str, np.ndarray] | None = None
) -> Selection:
    """Farthest-first batch; ``utility_Q`` and the reason ``distance`` are the distance to the nearest center then.

    With nothing labeled the first pick is the candidate farthest from the mean of the pool.

    Args:
        embedding_ND: float32[N, D] (or float16, float64) over all rows of the view, finite.
        reasons: float64[N] columns to keep for the chosen.

    Complexity: one float32 product of all rows by a few centers, then a few thousand rows by the centers they have
    not met. Beside the features: a few numbers a row, the centers, and a few blocks of rows.

    >>> view = PoolView(np.array(list("abcd")), np.array([True, False, False, False]))
    >>> batch = k_center(view, np.array([[0.0], [1.0], [2.0], [5.0]]), query_size=3)
    >>> batch.sample_ids.tolist(), batch.reasons["distance"].tolist()
    (['d', 'c', 'b'], [5.0, 2.0, 1.0])
    """
    nearest = Nearest(view, embedding_ND, query_size, "k_center: embedding")
    tie = TIE * nearest.scale
    n_picks = min(query_size, int((~view.labeled_N).sum()))
    first_distance = None
    if n_picks and not nearest.n_centers:
        row, first_distance = nearest.farthest_from_mean(tie)
        nearest.choose(row)
    nearest.see_first_centers()
    front_rows = FRONT_ROWS
    while len(nearest.picks) < n_picks and front_rows <= max(WIDEST_FRONT, FRONT_ROWS):
        n_before = len(nearest.picks)
        _choose_from_front(nearest, front_rows, n_picks, tie)
        if len(nearest.picks) == n_before:
            front_rows *= 4
    _choose_one_by_one(nearest, n_picks, tie)

    squared_Q = nearest.squared_when_chosen()
    if first_distance is not None:
        squared_Q[0] = first_distance
    batch = selection_of(view, np.array(nearest.picks, dtype=np.int64), np.sqrt(squared_Q) / nearest.unit, reasons)
    return Selection(batch.sample_ids, batch.utility_Q, {**batch.reasons, "distance": batch.utility_Q})


def _choose_from_front(nearest: Nearest, front_rows: int, n_picks: int, tie: float) -> None:
    """Choose for as long as the farthest row is certain to be among the ``front_rows`` with the highest bounds."""
    front, outside = nearest.refreshed_front(front_rows)
    near_F = nearest.near_N[front]
    points_FD, squared_F = nearest.block(front), nearest.squared_N[front]
    while len(nearest.picks) < n_picks:
        doubtful = near_F.max(initial=-np.inf) - 2 * nearest.slack - tie
        if outside >= doubtful:  # also where nothing is left: -inf
            break
        best = np.flatnonzero(near_F >= doubtful)
        if len(best) > 1:
            exact = nearest.exact(front[best])
            best = best[exact >= exact.max() - tie]
        pick = best[0]
        nearest.choose(int(front[pick]))
        near_F[pick] = -np.inf
        center_D, squared = nearest.centers_KD[nearest.n_centers - 1], nearest.center_squared_K[nearest.n_centers - 1]
        np.minimum(near_F, squared_F - 2 * (points_FD @ center_D) + squared, out=near_F)
    nearest.near_N[front] = near_F
    nearest.n_seen_N[front] = nearest.n_centers


def _choose_one_by_one(nearest: Nearest, n_picks: int, tie: float) -> None:
    """Choose by float64 distances, measured where they could decide; for pools full of ties and repeats."""
    if len(nearest.picks) == n_picks:
        return
    bound_N = nearest.near_N.astype(np.float64) + nearest.slack
    exact_N = np.full(len(bound_N), np.inf)
    n_met_N = np.zeros(len(bound_N), dtype=np.int64)

    def refresh(rows: np.ndarray) -> np.ndarray:
        for first_unmet in np.unique(n_met_N[rows]):
            same = rows[n_met_N[rows] == first_unmet]
            for start in range(0, len(same), BLOCK_ROWS):
                part = same[start : start + BLOCK_ROWS]
                exact_N[part] = np.minimum(exact_N[part], nearest.exact(part, first=int(first_unmet)))
        n_met_N[rows] = nearest.n_centers
        return exact_N[rows]

    while len(nearest.picks) < n_picks:
        fresh_N = (n_met_N == nearest.n_centers) | ((n_met_N > 0) & (bound_N <= 0))  # a distance of 0 stays 0
        pick = lazy_argmax(bound_N, fresh_N, refresh, tie)
        nearest.choose(pick)
        bound_N[pick] = -np.inf

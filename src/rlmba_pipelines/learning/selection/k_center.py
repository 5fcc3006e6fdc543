"""Greedy k-center: again and again the candidate farthest from everything labeled or chosen.

Concept  Core-set selection, Sener & Savarese 2018 (arXiv 1708.00489); Gonzalez 1985 for the 2-approximation.
Stated   farthest-first traversal from the labeled set.
Chosen   lazy evaluation. The distance to the nearest center only falls, so a stale one is an upper bound: float32
         bounds say which rows could be the farthest, and only those are measured, in float64. Picks are those of
         the plain loop.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rlmba_pipelines.learning.selection.batch import blocks, check_finite, lazy_argmax, selection_of
from rlmba_pipelines.learning.types import PoolView, Selection

TIE = 1e-12  # squared distances this close, relative to the largest squared norm, are equal
SLACK = 1e-5  # room for float32 rounding in the upper bounds, same unit
BLOCK_ROWS = 4096


def squared_distances(points_AD: np.ndarray, centers_BD: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances [A, B] in the precision of the points, never negative."""
    products_AB = points_AD @ centers_BD.T.astype(points_AD.dtype)
    products_AB *= -2
    products_AB += np.square(points_AD).sum(axis=1)[:, None]
    products_AB += np.square(centers_BD).sum(axis=1)
    return np.maximum(products_AB, 0, out=products_AB)


def k_center(
    view: PoolView, embedding_ND: np.ndarray, query_size: int, reasons: Mapping[str, np.ndarray] | None = None
) -> Selection:
    """Farthest-first batch; ``utility_Q`` and the reason ``distance`` are the distance to the nearest center then.

    With nothing labeled the first pick is the candidate farthest from the mean of the pool.

    Args:
        embedding_ND: float32[N, D] (or float64) over all rows of the view, finite.
        reasons: float64[N] columns to keep for the chosen.

    Complexity: one float32 product of candidates by labeled rows, then a few rows a pick.

    >>> view = PoolView(np.array(list("abcd")), np.array([True, False, False, False]))
    >>> batch = k_center(view, np.array([[0.0], [1.0], [2.0], [5.0]]), query_size=3)
    >>> batch.sample_ids.tolist(), batch.reasons["distance"].tolist()
    (['d', 'c', 'b'], [5.0, 2.0, 1.0])
    """
    check_finite(embedding_ND, view, "k_center: embedding")
    candidate_rows = view.candidate_rows
    points_UD = embedding_ND[candidate_rows]
    centers = list(embedding_ND[view.labeled_rows].astype(np.float64))
    scale = max(float(np.square(part, dtype=np.float64).sum(axis=1).max()) for part in _parts(embedding_ND))
    picks: list[int] = []
    distances: list[float] = []

    def choose(pick: int, squared_distance: float) -> None:
        picks.append(pick)
        distances.append(float(np.sqrt(squared_distance)))
        centers.append(points_UD[pick].astype(np.float64))

    if not centers:
        mean_D = points_UD.mean(axis=0, dtype=np.float64)
        spread_U = np.concatenate(
            [squared_distances(part.astype(np.float64), mean_D[None]).ravel() for part in _parts(points_UD)]
        )
        first = int(np.flatnonzero(spread_U >= spread_U.max() - TIE * scale)[0])
        choose(first, spread_U[first])

    bound_U = _upper_bounds(points_UD, np.array(centers)) + SLACK * scale
    bound_U[picks] = -np.inf
    exact_U = np.full(len(points_UD), np.inf)
    seen_U = np.zeros(len(points_UD), dtype=np.int64)  # how many centers each exact distance has met

    def refresh(rows: np.ndarray) -> np.ndarray:
        unseen = np.array(centers[int(seen_U[rows].min()) :])
        nearest = squared_distances(points_UD[rows].astype(np.float64), unseen).min(axis=1)
        exact_U[rows] = np.minimum(exact_U[rows], nearest)
        seen_U[rows] = len(centers)
        return exact_U[rows]

    while len(picks) < min(query_size, len(candidate_rows)):
        pick = lazy_argmax(bound_U, seen_U == len(centers), refresh, tie=TIE * scale)
        choose(pick, bound_U[pick])
        bound_U[pick] = -np.inf

    batch = selection_of(view, candidate_rows[picks], np.array(distances), reasons)
    return Selection(batch.sample_ids, batch.utility_Q, {**batch.reasons, "distance": batch.utility_Q})


def _parts(points_ND: np.ndarray) -> list[np.ndarray]:
    return [points_ND[part] for part in blocks(len(points_ND), BLOCK_ROWS)]


def _upper_bounds(points_UD: np.ndarray, centers_LD: np.ndarray) -> np.ndarray:
    """Squared distance to the nearest center in float32, block by block."""
    centers_LD = centers_LD.astype(np.float32)
    nearest = [squared_distances(part.astype(np.float32), centers_LD).min(axis=1) for part in _parts(points_UD)]
    return np.concatenate(nearest).astype(np.float64)

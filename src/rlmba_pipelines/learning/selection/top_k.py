"""The highest utilities, each sample for itself: no eye for redundancy within the batch.

Concept  the batch argmax Σ u(x).
Source   Settles 2009: batches of the most uncertain samples.
Stated   the Q candidates of highest utility.
Chosen   ties go to the first sample id, so that row order does not matter. A view with prices is ranked by utility for
         its price; strategies whose utility may be negative do not ask for prices.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rlmba_pipelines.learning.selection.batch import check_finite, relative_price, selection_of
from rlmba_pipelines.learning.types import PoolView, Selection


def top_k(
    view: PoolView, utility_N: np.ndarray, query_size: int, reasons: Mapping[str, np.ndarray] | None = None
) -> Selection:
    """The ``query_size`` candidates of highest utility, highest first; ties go to the first sample id.

    Args:
        utility_N: float64[N] over all rows of the view, finite; labeled rows are ignored. Higher = chosen sooner.
        reasons: float64[N] columns to keep for the chosen.

    Complexity: O(N + Q log Q).

    >>> view = PoolView(np.array(["a", "b", "c", "d"]), np.array([True, False, False, False]))
    >>> top_k(view, np.array([9.0, 0.5, 0.2, 0.5]), query_size=2).sample_ids.tolist()
    ['b', 'd']
    """
    check_finite(utility_N, view, "top_k: utility")
    rows = view.candidate_rows
    utility_U = utility_N[rows] if view.price_N is None else (utility_N / relative_price(view))[rows]
    if 0 < query_size < len(rows):  # sort none but those that reach the last place, all who tie for it included
        last = len(rows) - query_size
        contenders = np.flatnonzero(utility_U >= np.partition(utility_U, last)[last])
        rows, utility_U = rows[contenders], utility_U[contenders]
    best_first = np.argsort(-utility_U, kind="stable")  # rows are sorted by id, so stable = by id
    rows = rows[best_first[:query_size]]
    return selection_of(view, rows, utility_N[rows], reasons)

"""What all selectors share: packing the chosen rows, and a lazy argmax for values that only fall."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from rlmba_pipelines.learning.types import PoolView, Selection, ids

FIRST_BLOCK = 16


def selection_of(
    view: PoolView, rows: np.ndarray, utility_Q: np.ndarray, reasons: Mapping[str, np.ndarray] | None = None
) -> Selection:
    """The batch at ``rows`` of the view, in order of choice; ``reasons`` are float64[N] columns over all rows."""
    chosen = {name: np.asarray(column_N, dtype=np.float64)[rows] for name, column_N in (reasons or {}).items()}
    return Selection(view.sample_ids[rows], np.asarray(utility_Q, dtype=np.float64), chosen)


def relative_price(view: PoolView) -> np.ndarray:
    """float64[N], prices with mean 1 over the candidates; ones where all cost alike.

    >>> view = PoolView(np.array(["a", "b"]), np.array([False, False]), price_N=np.array([1.0, 3.0]))
    >>> relative_price(view).tolist()
    [0.5, 1.5]
    """
    if view.price_N is None:
        return np.ones(len(view.sample_ids))
    return view.price_N / view.price_N[view.candidate_rows].mean()


def check_finite(array: np.ndarray, view: PoolView, what: str) -> None:
    """Refuse an array whose rows do not follow the view or are not finite; a NaN is never ranked.

    Raises:
        ValueError: naming the first samples at fault.
    """
    if len(array) != len(view.sample_ids):
        raise ValueError(f"{what}: {len(array)} rows for {len(view.sample_ids)} samples")
    ids.check_finite(array, what, view.sample_ids)


def blocks(n_rows: int, size: int) -> Iterator[slice]:
    """Consecutive slices that cover ``n_rows``.

    >>> list(blocks(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def lazy_argmax(
    bound_N: np.ndarray,
    fresh_N: np.ndarray,
    refresh: Callable[[np.ndarray], np.ndarray],
    tie: float = 0.0,
    block: int = FIRST_BLOCK,
    *,
    relative_tie: float = 0.0,
) -> int:
    """First row whose true value is as good as the maximum, computing only the values that could win.

    Args:
        bound_N: float64[N], upper bounds, ``-inf`` for rows out of the game; refreshed values are written back.
        fresh_N: bool[N], rows whose bound is the true value; updated in place.
        refresh: rows -> true values, none above its bound.
        tie, relative_tie: values closer than ``tie + relative_tie · |maximum|`` to the maximum are equal to it.
        block: rows refreshed at first, doubled until the row is certain; decides speed only.

    >>> asked = []
    >>> def refresh(rows):
    ...     asked.extend(rows.tolist())
    ...     return np.array([1.0, 4.0, 4.0])[rows]
    >>> lazy_argmax(np.array([2.0, 9.0, 5.0]), np.array([True, False, False]), refresh), sorted(asked)
    (1, [1, 2])
    """
    while True:
        best = bound_N[fresh_N].max(initial=-np.inf)
        stale_rows = np.flatnonzero(~fresh_N & (bound_N > best))  # any of them may raise the maximum
        if len(stale_rows) > block:
            stale_rows = stale_rows[np.argpartition(-bound_N[stale_rows], block)[:block]]
        if not len(stale_rows):
            enough = best - tie - relative_tie * abs(best)
            first = int(np.flatnonzero(fresh_N & (bound_N >= enough))[0])
            stale_rows = np.flatnonzero(~fresh_N[:first] & (bound_N[:first] >= enough))[:block]  # may be as good
            if not len(stale_rows):
                return first
        bound_N[stale_rows] = refresh(stale_rows)
        fresh_N[stale_rows] = True
        block *= 2

"""Herding: the batch that best covers what is worth labeling.

Concept  maximise F(A) = Σ_x u(x) · max_{a ∈ A ∪ L} k(x, a): every sample of the pool counts as covered as far as it
         resembles something labeled or chosen, and matters as much as it is worth (u).
Source   MaxHerding (u = 1), Bae et al. 2024 (arXiv 2407.12212); Uncertainty Herding (u = uncertainty), 2412.20644.
Stated   greedy; F is monotone and submodular, so greedy reaches at least (1 − 1/e) of the best batch. The authors' code
         draws candidates from large pools.
Chosen   lazy greedy: gains only fall, so a stale gain is an upper bound and most of them are never computed again. The
         same elementwise sums in the same order make that exact in floating point too. Large pools: see ``sample.py``.
         Where prices differ, a pick is the best gain for its price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rlmba_pipelines.learning.selection.batch import blocks, check_finite, lazy_argmax, relative_price, selection_of
from rlmba_pipelines.learning.selection.kernels import Kernel, Similarity, nearest_similarity
from rlmba_pipelines.learning.selection.remembered import RememberedRows
from rlmba_pipelines.learning.selection.sample import draw_by_worth
from rlmba_pipelines.learning.types import PoolView, Selection

TIE = 1e-5  # gains this close, relative to the best, are equal: float32 sums are no surer
BLOCK_VALUES = 4_000_000  # similarities computed at once beside the matrix
CACHED_VALUES = 100_000  # of them, as many as are summed up at once
FIRST_BLOCK = 4  # gains computed at first for a pick
MAX_KERNEL_ROWS = 15_000  # the float32 similarities of so many rows to each other take 900 MB
DRAWN_ROWS = 14_000  # candidates that a larger pool is represented by, at most
SURE_PER_PICK = 4  # the worthiest candidates that no draw leaves out


def herding(
    view: PoolView,
    utility_N: np.ndarray,
    kernels: Sequence[Kernel],
    query_size: int,
    reasons: Mapping[str, np.ndarray] | None = None,
    *,
    rng: np.random.Generator | None = None,
    max_kernel_rows: int = MAX_KERNEL_ROWS,
) -> Selection:
    """Greedy maximiser of F; gains within 1e-5 of the best, relative to it, are ties, and the first sample id wins.

    Args:
        utility_N: float64[N], u >= 0 of every row; candidates are the targets, labeled rows count as 0. It is
            normalised to 1 over the candidates; where it is 0 for all of them, u = 1 (pure coverage).
        kernels: the mixture k.
        reasons: float64[N] columns to keep for the chosen; ``coverage_gain`` [0, 1] is added: the share of the pool's
            worth that this pick covered anew.
        rng: where there are more than ``max_kernel_rows`` candidates it draws those that are looked at: as many, at
            most 14,000, at least ``query_size``. Never asked otherwise. None: exact at any size, slow at a large one.
        max_kernel_rows: up to so many candidates their kernel is kept (float32, 900 MB at 15,000). Of a larger one, as
            it is looked at without ``rng``, as many values are.

    >>> view = PoolView(np.array(list("abcd")), np.array([True, False, False, False]))
    >>> line = np.array([[0.0], [2.5], [5.0], [5.2]], dtype=np.float32)
    >>> batch = herding(view, np.array([0.0, 1.0, 1.0, 1.5]), [Kernel(1.0, line, 1.0)], query_size=2)
    >>> batch.sample_ids.tolist(), batch.reasons["coverage_gain"].round(2).tolist()
    (['d', 'b'], [0.7, 0.29])
    """
    check_finite(utility_N, view, "herding: utility")
    if utility_N.min(initial=0.0) < 0:
        raise ValueError("herding: utility must be nonnegative")
    rows = view.candidate_rows
    worth_U = _shares(utility_N[rows])
    own_U = None
    n_drawn = max(min(max_kernel_rows, DRAWN_ROWS), query_size)
    if rng is not None and len(rows) > max(max_kernel_rows, n_drawn):
        some, standing_for = draw_by_worth(worth_U, n_drawn, min(n_drawn // 2, SURE_PER_PICK * query_size), rng)
        rows, own_U, worth_U = rows[some], worth_U[some], standing_for
    similarity_of = _similarities(Similarity(kernels, rows), max_kernel_rows, drawn=own_U is not None)
    covered_U = nearest_similarity(kernels, view.labeled_rows, rows)
    price_U = relative_price(view)[rows]
    picks, gain_per_price = _greedy(similarity_of, covered_U, worth_U, own_U, price_U, query_size)
    coverage_gain = np.array(gain_per_price) * price_U[picks]
    chosen = rows[picks]
    batch = selection_of(view, chosen, utility_N[chosen], reasons)
    return Selection(batch.sample_ids, batch.utility_Q, {**batch.reasons, "coverage_gain": coverage_gain})


def _greedy(
    similarity_of: Callable[[np.ndarray], np.ndarray],
    covered_U: np.ndarray,
    worth_U: np.ndarray,
    own_U: np.ndarray | None,
    price_U: np.ndarray,
    query_size: int,
) -> tuple[list[int], list[float]]:
    """Positions of the picks and their gains for their price, in order.

    Args:
        similarity_of: positions -> float32[len, U] similarities to all candidates, ours to overwrite.
        covered_U, worth_U: similarity of the candidates to what is labeled, and their weights as targets.
        own_U: given where targets stand for others beside themselves: their worth by themselves, a part of
            ``worth_U``, which choosing them covers in full; ``similarity_of`` is 0 to themselves then.
        price_U: of the candidates; a constant, so gains for a price only fall too.
    """
    n_candidates = len(worth_U)
    block_rows = max(1, BLOCK_VALUES // max(1, n_candidates))
    cached_rows = max(1, CACHED_VALUES // max(1, n_candidates))
    worth_U = worth_U.astype(np.float32)

    def gains(positions: np.ndarray) -> np.ndarray:
        gain = np.empty(len(positions))
        for part in blocks(len(positions), block_rows):
            new_BU = similarity_of(positions[part])
            for few in blocks(len(new_BU), cached_rows):
                new = new_BU[few]
                new -= covered_U
                np.maximum(new, 0, out=new)
                new *= worth_U
                gain[part][few] = new.sum(axis=1)
        if own_U is not None:
            gain += own_U[positions] * (1 - covered_U[positions])
        return gain / price_U[positions]

    bound_U = gains(np.arange(n_candidates))
    fresh_U = np.ones(n_candidates, dtype=bool)
    picks: list[int] = []
    coverage_gain: list[float] = []
    while len(picks) < min(query_size, n_candidates):
        pick = lazy_argmax(bound_U, fresh_U, gains, block=FIRST_BLOCK, relative_tie=TIE)
        picks.append(pick)
        coverage_gain.append(bound_U[pick])
        bound_U[pick] = -np.inf
        np.maximum(covered_U, similarity_of(np.array([pick]))[0], out=covered_U)
        if own_U is not None:
            worth_U[pick] -= own_U[pick]
        fresh_U[:] = False
    return picks, coverage_gain


def _similarities(similarity: Similarity, max_kernel_rows: int, *, drawn: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Positions -> float32[len, U] similarities to all, kept as memory allows; what is drawn leaves itself out."""
    n_rows = similarity.n_rows
    if n_rows <= max_kernel_rows:
        square_UU = similarity.matrix(n_rows)
        if drawn:
            np.fill_diagonal(square_UU, 0)
        return lambda at: square_UU[at]

    def rows(at: np.ndarray) -> np.ndarray:
        similar_AU = similarity.block(at, slice(0, n_rows))
        if drawn:
            similar_AU[np.arange(len(at)), at] = 0
        return similar_AU

    return RememberedRows(rows, n_rows, max_kernel_rows**2)


def _shares(utility_U: np.ndarray) -> np.ndarray:
    """float64[U] with sum 1: utility as a share of the whole; all alike where there is none."""
    total = utility_U.sum(dtype=np.float64)
    return utility_U / total if total > 0 else np.full(len(utility_U), 1 / max(1, len(utility_U)))

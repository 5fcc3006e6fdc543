"""Herding: the batch that best covers what is worth labeling.

Concept  maximise F(A) = Σ_x u(x) · max_{a ∈ A ∪ L} k(x, a): every sample of the pool counts as covered as far as it
         resembles something labeled or chosen, and matters as much as it is worth (u).
Source   MaxHerding (u = 1), Bae et al. 2024 (arXiv 2407.12212); Uncertainty Herding (u = uncertainty), 2412.20644.
Stated   greedy; F is monotone and submodular, so greedy reaches at least (1 − 1/e) of the best batch.
Chosen   lazy greedy: gains only fall, so a stale gain is an upper bound and most of them are never computed again. The
         same elementwise sums in the same order make that exact in floating point too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rlmba_pipelines.learning.selection.batch import blocks, check_finite, lazy_argmax, selection_of
from rlmba_pipelines.learning.selection.kernels import Kernel, RememberedRows, Similarity
from rlmba_pipelines.learning.types import PoolView, Selection

TIE = 1e-6  # gains this close are equal; F is at most 1
BLOCK_VALUES = 4_000_000  # similarities in memory at once beside the matrix


def herding(
    view: PoolView,
    utility_N: np.ndarray,
    kernels: Sequence[Kernel],
    query_size: int,
    reasons: Mapping[str, np.ndarray] | None = None,
    *,
    max_kernel_rows: int = 8192,
) -> Selection:
    """Greedy maximiser of F; gains within 1e-6 of the best are ties, and the first sample id wins.

    Args:
        utility_N: float64[N], u >= 0 of every row; candidates are the targets, labeled rows count as 0. It is
            normalised to 1 over the candidates; where it is 0 for all of them, u = 1 (pure coverage).
        kernels: the mixture k.
        reasons: float64[N] columns to keep for the chosen; ``coverage_gain`` [0, 1] is added: the share of the pool's
            worth that this pick covered anew.
        max_kernel_rows: up to so many candidates the whole kernel is kept (float32, 268 MB at 8,192); beyond, the same
            memory holds the rows asked for last, and others are computed in blocks when they are needed.

    >>> view = PoolView(np.array(list("abcd")), np.array([True, False, False, False]))
    >>> line = np.array([[0.0], [2.5], [5.0], [5.2]], dtype=np.float32)
    >>> batch = herding(view, np.array([0.0, 1.0, 1.0, 1.5]), [Kernel(1.0, line, 1.0)], query_size=2)
    >>> batch.sample_ids.tolist(), batch.reasons["coverage_gain"].round(2).tolist()
    (['d', 'b'], [0.7, 0.29])
    """
    check_finite(utility_N, view, "herding: utility")
    if utility_N.min(initial=0.0) < 0:
        raise ValueError("herding: utility must be nonnegative")
    candidate_rows = view.candidate_rows
    n_candidates = len(candidate_rows)
    worth_U = _shares(utility_N[candidate_rows])
    similarity = Similarity(kernels, np.concatenate([candidate_rows, view.labeled_rows]))  # candidates come first
    everyone = slice(0, n_candidates)
    similarity_of = RememberedRows(similarity, n_candidates, max_kernel_rows**2)
    block_rows = max(1, BLOCK_VALUES // max(1, n_candidates))

    covered_U = np.zeros(n_candidates, dtype=np.float32)
    for labeled in blocks(len(view.labeled_rows), block_rows):
        at = slice(n_candidates + labeled.start, n_candidates + labeled.stop)
        np.maximum(covered_U, similarity.block(at, everyone).max(axis=0), out=covered_U)

    def gains(rows: np.ndarray) -> np.ndarray:
        gain = np.empty(len(rows))
        for part in blocks(len(rows), block_rows):
            new_BU = similarity_of(rows[part])
            new_BU -= covered_U
            np.maximum(new_BU, 0, out=new_BU)
            new_BU *= worth_U
            gain[part] = new_BU.sum(axis=1)
        return gain

    bound_U = np.full(n_candidates, np.finfo(np.float64).max)
    picks: list[int] = []
    coverage_gain: list[float] = []
    while len(picks) < min(query_size, n_candidates):
        pick = lazy_argmax(bound_U, np.zeros(n_candidates, dtype=bool), gains, tie=TIE)
        picks.append(pick)
        coverage_gain.append(bound_U[pick])
        bound_U[pick] = -np.inf
        np.maximum(covered_U, similarity_of(np.array([pick]))[0], out=covered_U)

    rows = candidate_rows[picks]
    batch = selection_of(view, rows, utility_N[rows], reasons)
    return Selection(batch.sample_ids, batch.utility_Q, {**batch.reasons, "coverage_gain": np.array(coverage_gain)})


def _shares(utility_U: np.ndarray) -> np.ndarray:
    """float32[U] with sum 1: utility as a share of the whole; all alike where there is none."""
    total = utility_U.sum(dtype=np.float64)
    shares = utility_U / total if total > 0 else np.full(len(utility_U), 1 / max(1, len(utility_U)))
    return shares.astype(np.float32)

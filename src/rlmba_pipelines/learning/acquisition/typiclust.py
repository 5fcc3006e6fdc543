"""TypiClust: the most typical sample of every cluster that has no label yet.

Concept  typicality(x) = 1 / mean distance of x to its nearest neighbors within its cluster.
Source   Hacohen, Dekel & Weinshall 2022 (arXiv 2202.02794) and their code, avihu111/TypiClust.
Stated   k-means of the whole pool into min(L + Q, 500) clusters on self-supervised features; clusters of 5 samples or
         fewer are passed over; clusters with the fewest labels first, among those the largest; one sample of each in
         turn, then again; 20 neighbors or as many as the cluster has (as in the paper; the code stops at half).
Chosen   features are the encoders', side by side. Neighbors are the members without a label; typicality is measured
         once a cluster, so that a second pick of the same cluster still sees the first as a neighbor (the code drops
         it). Of a cluster beyond ``max_cluster_rows``, as many members drawn at random stand for it. When nothing else
         is left, the small clusters follow in the same order.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.coverage import raw_rows
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.batch import blocks, selection_of
from rlmba_pipelines.learning.selection.clusters import (
    at_most,
    kmeans,
    members_of,
    read_rows,
    rows_at_once,
    squared_distances,
)
from rlmba_pipelines.learning.types import PoolView, Selection

SOFTENING = 1e-5  # added to the mean distance, so that repeats are not infinitely typical; TypiClust's code
TIE = 1e-6  # mean distances this close, relative to the largest in the cluster, are equal


def mean_neighbor_distance(points_RD: np.ndarray, n_neighbors: int) -> np.ndarray:
    """float64[R]: mean distance of every row to its ``n_neighbors`` nearest others, or to all of them if fewer.

    A row without others has none: infinity.

    >>> mean_neighbor_distance(np.array([[0.0], [1.0], [3.0]]), 20).tolist()
    [2.0, 1.5, 2.5]
    """
    n_neighbors = min(n_neighbors, len(points_RD) - 1)
    mean_R = np.full(len(points_RD), np.inf)
    if n_neighbors < 1:
        return mean_R
    points_RD = points_RD - points_RD.mean(axis=0, dtype=np.float64)  # the same distances, with less lost to rounding
    for part in blocks(len(points_RD), rows_at_once(len(points_RD))):
        squared_BR = squared_distances(points_RD[part], points_RD)
        squared_BR[np.arange(part.stop - part.start), np.arange(part.start, part.stop)] = np.inf
        squared_BR.partition(n_neighbors - 1, axis=1)
        mean_R[part] = np.sqrt(squared_BR[:, :n_neighbors]).mean(axis=1)
    return mean_R


@register(
    "typiclust",
    requires=("features",),
    cost="O(N K D) for the clusters, then O(n² D) for a cluster of n samples",
    reference="Hacohen et al. 2022, arXiv 2202.02794",
    idea="Ask for the most typical sample of every cluster that has no label yet.",
    formula="argmax 1 / mean distance to the 20 nearest in the cluster; largest cluster without a label first",
    when="Small budgets and good features; with many labels it has little to add.",
    deterministic=False,
    options_from={
        "n_neighbors": "Hacohen et al. 2022: 20",
        "small_cluster": "their code: clusters of 5 or fewer are dropped",
        "max_clusters": "their code: 500",
        "max_cluster_rows": "chosen: a few seconds for a cluster of any size",
    },
)
def typiclust(
    view: PoolView,
    query_size: int,
    rng: np.random.Generator,
    *,
    n_neighbors: int = 20,
    small_cluster: int = 5,
    max_clusters: int = 500,
    max_cluster_rows: int = 5000,
) -> Selection:
    """One most typical sample a cluster, in turn; utility is its typicality (0 where it has no neighbor)."""
    points_ND = raw_rows(view)
    n_picks = min(query_size, len(view.candidate_rows))
    n_clusters = min(len(view.labeled_rows) + query_size, max_clusters)
    cluster_N = kmeans(points_ND, n_clusters, rng, rows=np.arange(len(view.sample_ids))).cluster_N
    members = members_of(cluster_N)
    size_K = np.bincount(cluster_N)
    labeled_K = np.bincount(cluster_N[view.labeled_rows], minlength=len(size_K))
    in_turn = np.lexsort((-size_K, labeled_K, size_K <= small_cluster))

    rows: list[int] = []
    typicality: list[float] = []
    for small in (False, True):
        waiting = {int(k): np.empty(0) for k in in_turn if (size_K[k] <= small_cluster) == small}
        free = {k: members[k][~view.labeled_N[members[k]]] for k in waiting}
        while len(rows) < n_picks and waiting:
            for k in list(waiting):
                if len(rows) == n_picks:
                    break
                if not len(waiting[k]) and len(free[k]):
                    free[k] = at_most(free[k], max(max_cluster_rows, n_picks), rng)
                    waiting[k] = mean_neighbor_distance(read_rows(points_ND, free[k]), n_neighbors)
                if not len(free[k]):
                    del waiting[k]
                    continue
                best = _first_least(waiting[k])
                rows.append(int(free[k][best]))
                typicality.append(0.0 if np.isinf(waiting[k][best]) else 1 / (waiting[k][best] + SOFTENING))
                free[k], waiting[k] = np.delete(free[k], best), np.delete(waiting[k], best)

    utility_Q = np.array(typicality)
    columns = {"cluster": cluster_N, "cluster_size": size_K[cluster_N], "cluster_labels": labeled_K[cluster_N]}
    batch = selection_of(view, np.array(rows, dtype=np.int64), utility_Q, columns)
    return Selection(batch.sample_ids, batch.utility_Q, {"typicality": utility_Q, **batch.reasons})


def _first_least(mean_R: np.ndarray) -> int:
    """First row within the tie tolerance of the least mean distance; the first where all are infinite."""
    if np.isinf(mean_R).all():
        return 0
    tie = TIE * mean_R[np.isfinite(mean_R)].max()
    return int(np.flatnonzero(mean_R <= mean_R.min() + tie)[0])

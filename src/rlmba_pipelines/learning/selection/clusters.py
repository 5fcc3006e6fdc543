"""Seeded k-means, what typiclust, probcover and drop_query group samples by, and distances between rows.

Concept  k-means with k-means++ seeding, one initialisation; mini-batches where the pool is large.
Source   scikit-learn's KMeans and MiniBatchKMeans.
Stated   Lloyd's iteration.
Chosen   one seed drawn from the generator; one thread, since sums over threads differ in their last bits and with them
         whoever is on a border. Up to 10,000 rows take part in every step, beyond mini-batches of 5,000 (the batch of
         TypiClust's code), and beyond 15,000 those of as many drawn rows. Clusters are numbered by their first row, and
         none is empty.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from rlmba_pipelines.learning.selection.batch import blocks
from rlmba_pipelines.learning.selection.kernels import Embedding

FULL_ROWS = 10_000  # beyond, mini-batches
BATCH_ROWS = 5000
FULL_STEPS = 100  # Lloyd iterations at most
LEARNED_ROWS = 15_000  # beyond, a draw of so many is learned from, and every row joins the nearest center
BATCH_PASSES = 5  # passes over the pool by mini-batches at most
RESOLUTION = 1e-12  # squared distances below this share of the largest squared norm are 0: rows that repeat
TIE = 1e-9  # squared distances to a center this close, relative to the largest of them, are equal
BLOCK_ROWS = 1024


class Clusters(NamedTuple):
    """Cluster of every row, numbered from 0 by first row, and the mean of each: int64[N] and float64[K, D]."""

    cluster_N: np.ndarray
    center_KD: np.ndarray


def kmeans(
    points_ND: Embedding,
    n_clusters: int,
    rng: np.random.Generator,
    *,
    n_rows: int | None = None,
    steps: int = FULL_STEPS,
) -> Clusters:
    """At most ``n_clusters`` clusters of the rows; fewer where rows repeat or there are not so many.

    Args:
        points_ND: float[N, D], finite, at least one row; or rows that are made block by block, and how many there are.
        rng: one integer is drawn, and beyond 15,000 rows those that are learned from.
        steps: Lloyd iterations at most; beyond 10,000 rows passes of mini-batches, of which there are 5 at most.

    >>> kmeans(np.array([[5.0], [0.0], [5.1], [0.2]]), 2, np.random.default_rng(0)).cluster_N.tolist()
    [0, 1, 0, 1]
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans  # slow to import, and needed by few
    from sklearn.exceptions import ConvergenceWarning

    n_rows = len(points_ND) if n_rows is None else n_rows  # type: ignore[arg-type]
    seed = int(rng.integers(2**31 - 1))
    learned = at_most(np.arange(n_rows), LEARNED_ROWS, rng)
    points_RD = np.ascontiguousarray(points_ND[learned], dtype=np.float32)
    n_clusters = min(n_clusters, len(learned))
    if len(learned) <= FULL_ROWS:
        model = KMeans(n_clusters, n_init=1, max_iter=steps, random_state=seed)
    else:
        passes = min(BATCH_PASSES, steps)
        model = MiniBatchKMeans(n_clusters, n_init=1, batch_size=BATCH_ROWS, max_iter=passes, random_state=seed)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters are no mistake
        cluster_N = model.fit(points_RD).labels_
        if len(learned) < n_rows:
            cluster_N = _nearest_center(points_ND, n_rows, model.cluster_centers_)
    cluster_N = in_order_of_rows(cluster_N)
    return Clusters(cluster_N, means_of(points_ND, cluster_N))


def _nearest_center(points_ND: Embedding, n_rows: int, center_KD: np.ndarray) -> np.ndarray:
    half_K = np.square(center_KD).sum(axis=1) / 2
    parts = [np.arange(part.start, part.stop) for part in blocks(n_rows, BLOCK_ROWS)]
    return np.concatenate([(points_ND[rows] @ center_KD.T - half_K).argmax(axis=1) for rows in parts])


def in_order_of_rows(cluster_N: np.ndarray) -> np.ndarray:
    """The same clusters, numbered 0, 1, … by the first row of each.

    >>> in_order_of_rows(np.array([7, 2, 7, 0])).tolist()
    [0, 1, 0, 2]
    """
    _, first_K, position_N = np.unique(cluster_N, return_index=True, return_inverse=True)
    number_K = np.empty(len(first_K), dtype=np.int64)
    number_K[np.argsort(first_K)] = np.arange(len(first_K))
    return number_K[position_N.ravel()]


def members_of(cluster_N: np.ndarray) -> list[np.ndarray]:
    """The rows of every cluster, ascending.

    >>> [rows.tolist() for rows in members_of(np.array([0, 1, 0]))]
    [[0, 2], [1]]
    """
    rows_by_cluster = np.argsort(cluster_N, kind="stable")
    return np.split(rows_by_cluster, np.cumsum(np.bincount(cluster_N))[:-1])


def at_most(rows: np.ndarray, n_rows: int, rng: np.random.Generator) -> np.ndarray:
    """The rows, or as many as ``n_rows`` of them drawn without replacement, ascending; no draw where all fit.

    >>> at_most(np.array([3, 5]), 2, np.random.default_rng(0)).tolist()
    [3, 5]
    """
    return rows if len(rows) <= n_rows else np.sort(rng.choice(rows, n_rows, replace=False))


def means_of(points_ND: Embedding, cluster_N: np.ndarray) -> np.ndarray:
    """float64[K, D]: the mean of every cluster."""
    return np.array([points_ND[rows].mean(axis=0, dtype=np.float64) for rows in members_of(cluster_N)])


def squared_to_center(points_ND: np.ndarray, clusters: Clusters) -> np.ndarray:
    """float64[N]: squared distance of every row to the mean of its own cluster."""
    squared_N = np.empty(len(points_ND))
    for part in blocks(len(points_ND), BLOCK_ROWS):
        away_BD = points_ND[part] - clusters.center_KD[clusters.cluster_N[part]]
        squared_N[part] = np.square(away_BD).sum(axis=1)
    return squared_N


def nearest_to_centers(squared_N: np.ndarray, cluster_N: np.ndarray) -> np.ndarray:
    """int64[K]: of every cluster the row nearest to its mean; ties go to the first row.

    >>> nearest_to_centers(np.array([0.5, 0.1, 0.5, 0.1]), np.array([0, 1, 0, 1])).tolist()
    [0, 1]
    """
    least_K = np.full(cluster_N.max() + 1, np.inf)
    np.minimum.at(least_K, cluster_N, squared_N)
    near_rows = np.flatnonzero(squared_N <= least_K[cluster_N] + TIE * squared_N.max())
    return near_rows[np.unique(cluster_N[near_rows], return_index=True)[1]]


def squared_distances(points_AD: np.ndarray, others_BD: np.ndarray) -> np.ndarray:
    """float64[A, B]: squared Euclidean distances; exactly 0 between rows that repeat.

    >>> squared_distances(np.array([[0.0], [3.0]]), np.array([[3.0]])).tolist()
    [[9.0], [0.0]]
    """
    points_AD, others_BD = points_AD.astype(np.float64), others_BD.astype(np.float64)
    norm_A, norm_B = np.square(points_AD).sum(axis=1), np.square(others_BD).sum(axis=1)
    squared_AB = points_AD @ (-2 * others_BD.T)
    squared_AB += norm_A[:, None]
    squared_AB += norm_B
    squared_AB[squared_AB < RESOLUTION * max(norm_A.max(initial=0.0), norm_B.max(initial=0.0))] = 0
    return squared_AB

"""Seeded k-means, what typiclust, probcover and drop_query group samples by, and distances between rows.

Concept  k-means with k-means++ seeding, one initialisation; mini-batches where the pool is large.
Source   scikit-learn's KMeans and MiniBatchKMeans.
Stated   Lloyd's iteration.
Chosen   one seed drawn from the generator; one thread, since sums over threads differ in their last bits and with them
         whoever is on a border. Up to 10,000 rows take part in every step, beyond mini-batches of 5,000 (the batch of
         TypiClust's code), and beyond 15,000 those of as many drawn rows. Clusters are numbered by their first row, and
         none is empty. What is learned from is copied once, in float32; all else is read block by block.
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
BLOCK_VALUES = 1_000_000  # distances in memory at once: 8 MB


class Clusters(NamedTuple):
    """Cluster of every row, numbered from 0 by first row, and the mean of each: int64[R] and float64[K, D]."""

    cluster_N: np.ndarray
    center_KD: np.ndarray


def kmeans(
    points_ND: Embedding,
    n_clusters: int,
    rng: np.random.Generator,
    *,
    rows: np.ndarray | None = None,
    steps: int = FULL_STEPS,
) -> Clusters:
    """At most ``n_clusters`` clusters of the rows; fewer where rows repeat or there are not so many.

    Args:
        points_ND: float[N, D], finite; an array, or rows that are made block by block.
        rng: one integer is drawn, and beyond 15,000 rows those that are learned from.
        rows: int64[R], those that are clustered, at least one; None: all of an array.
        steps: Lloyd iterations at most; beyond 10,000 rows passes of mini-batches, of which there are 5 at most.

    >>> kmeans(np.array([[5.0], [0.0], [5.1], [0.2]]), 2, np.random.default_rng(0)).cluster_N.tolist()
    [0, 1, 0, 1]
    """
    rows = all_rows(points_ND) if rows is None else rows
    seed = int(rng.integers(2**31 - 1))
    learned = at_most(np.arange(len(rows)), LEARNED_ROWS, rng)
    label_R, center_KD = _learn(read_rows(points_ND, rows[learned]), min(n_clusters, len(learned)), seed, steps)
    if len(learned) < len(rows):
        label_R = _nearest_center(points_ND, rows, center_KD)
    cluster_N = in_order_of_rows(label_R)
    return Clusters(cluster_N, means_of(points_ND, rows, cluster_N))


def _learn(points_RD: np.ndarray, n_clusters: int, seed: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """int[R] labels and float32[K, D] centers; ``points_RD``, float32, is used up."""
    from sklearn.cluster import KMeans, MiniBatchKMeans, kmeans_plusplus  # slow to import, and needed by few
    from sklearn.exceptions import ConvergenceWarning

    n_rows = len(points_RD)

    def start(_: np.ndarray, n_clusters: int, random_state: np.random.RandomState) -> np.ndarray:
        """What scikit-learn starts from, with the same draws; by itself it copies all rows to judge the start by."""
        random_state.seed(seed)
        random_state.randint(0, n_rows, n_rows)
        return kmeans_plusplus(points_RD, n_clusters, random_state=random_state)[0]

    if n_rows <= FULL_ROWS:
        model = KMeans(n_clusters, n_init=1, max_iter=steps, random_state=seed, copy_x=False)
    else:
        batches = {"batch_size": BATCH_ROWS, "max_iter": min(BATCH_PASSES, steps), "init_size": n_clusters}
        model = MiniBatchKMeans(n_clusters, init=start, n_init=1, random_state=seed, **batches)
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters are no mistake
        model.fit(points_RD)
    return model.labels_, model.cluster_centers_


def read_rows(points_ND: Embedding, rows: np.ndarray) -> np.ndarray:
    """float32[R, D], a copy, read block by block: rows that are made when asked for take no more than the answer."""
    points_RD = np.empty((len(rows), points_ND[rows[:1]].shape[1]), dtype=np.float32)
    for part in blocks(len(rows), BLOCK_ROWS):
        points_RD[part] = points_ND[rows[part]]
    return points_RD


def all_rows(points_ND: Embedding) -> np.ndarray:
    """int64[N]: every row of an array."""
    assert isinstance(points_ND, np.ndarray), "rows that are made when asked for have no end: say which"
    return np.arange(len(points_ND))


def _nearest_center(points_ND: Embedding, rows: np.ndarray, center_KD: np.ndarray) -> np.ndarray:
    half_K = np.square(center_KD).sum(axis=1) / 2
    parts = [rows[part] for part in blocks(len(rows), BLOCK_ROWS)]
    return np.concatenate([(points_ND[part] @ center_KD.T - half_K).argmax(axis=1) for part in parts])


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


def means_of(points_ND: Embedding, rows: np.ndarray, cluster_N: np.ndarray) -> np.ndarray:
    """float64[K, D]: the mean of every cluster of ``rows``."""
    return np.array([mean_of(points_ND, rows[members]) for members in members_of(cluster_N)])


def mean_of(points_ND: Embedding, rows: np.ndarray) -> np.ndarray:
    """float64[D]: the mean of ``rows``, at least one, read block by block."""
    sums = [points_ND[rows[part]].sum(axis=0, dtype=np.float64) for part in blocks(len(rows), BLOCK_ROWS)]
    return np.sum(sums, axis=0) / len(rows)


def squared_to_center(points_ND: Embedding, clusters: Clusters, rows: np.ndarray | None = None) -> np.ndarray:
    """float64[R]: squared distance of every one of ``rows`` (all of an array) to the mean of its own cluster."""
    rows = all_rows(points_ND) if rows is None else rows
    squared_R = np.empty(len(rows))
    for part in blocks(len(rows), BLOCK_ROWS):
        away_BD = points_ND[rows[part]] - clusters.center_KD[clusters.cluster_N[part]]
        squared_R[part] = np.square(away_BD).sum(axis=1)
    return squared_R


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
    points_AD = points_AD.astype(np.float64, copy=False)
    others_BD = others_BD.astype(np.float64, copy=False)
    norm_A, norm_B = _squared_norms(points_AD), _squared_norms(others_BD)
    squared_AB = (-2 * points_AD) @ others_BD.T
    squared_AB += norm_A[:, None]
    squared_AB += norm_B
    squared_AB[squared_AB < RESOLUTION * max(norm_A.max(initial=0.0), norm_B.max(initial=0.0))] = 0
    return squared_AB


def rows_at_once(n_others: int) -> int:
    """How many rows may be compared with ``n_others`` at once: by ``squared_distances`` with no more than 8 MB.

    >>> rows_at_once(500), rows_at_once(4000)
    (1024, 250)
    """
    return max(1, min(BLOCK_ROWS, BLOCK_VALUES // max(1, n_others)))


def _squared_norms(points_ND: np.ndarray) -> np.ndarray:
    squared_N = np.empty(len(points_ND))
    for part in blocks(len(points_ND), BLOCK_ROWS):
        np.square(points_ND[part]).sum(axis=1, out=squared_N[part])
    return squared_N

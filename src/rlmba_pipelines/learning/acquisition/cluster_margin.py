"""Cluster-Margin: of the samples with the smallest margins, a batch spread evenly over clusters.

Concept  the k_m candidates of smallest margin, grouped by clusters of the whole pool; one of each cluster in turn,
         smallest cluster first.
Source   Citovsky et al. 2021 (arXiv 2107.14263).
Stated   average-linkage clustering (HAC) of the pool in the penultimate layer; k_m = 10 Q; clusters are cut down to the
         candidates and sorted by size, ascending; a member is drawn at random from each in turn, and after the largest
         the turn goes back to the smallest that has members left.
Chosen   the clustering is made anew each round in the fused embedding of the current model, since nothing is
         remembered between rounds (the paper clusters once, with the model of the seed set). It is cut where clusters
         have ``average_cluster_size`` members on average (the paper picks a distance). It takes O(n²): beyond
         ``max_rows`` candidates, as many drawn at random are clustered, and the others join their nearest one.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.evidence import margin
from rlmba_pipelines.learning.selection.batch import blocks, check_finite
from rlmba_pipelines.learning.selection.clusters import (
    at_most,
    in_order_of_rows,
    members_of,
    rows_at_once,
    squared_distances,
)
from rlmba_pipelines.learning.selection.linkage import average_linkage
from rlmba_pipelines.learning.types import PoolView, Selection


def round_robin(cluster_R: np.ndarray, n_picks: int, rng: np.random.Generator) -> list[int]:
    """Rows drawn one a cluster in turn, smallest cluster first (then the one of the first row), until enough.

    >>> picks = round_robin(np.array([0, 0, 0, 1, 2, 2]), 4, np.random.default_rng(0))
    >>> picks[0], sorted(picks[1:3])[0] < 3, len(set(picks))
    (3, True, 4)
    """
    waiting = sorted(members_of(cluster_R), key=len)  # sorted is stable: equal sizes stay in order of first row
    picks: list[int] = []
    while waiting and len(picks) < n_picks:
        for turn, members in enumerate(waiting):
            if len(picks) == n_picks:
                break
            drawn = int(rng.integers(len(members)))
            picks.append(int(members[drawn]))
            waiting[turn] = np.delete(members, drawn)
        waiting = [members for members in waiting if len(members)]
    return picks


@register(
    "cluster_margin",
    requires=("predictions",),
    cost="O(N C + n² D), n at most max_rows",
    reference="Citovsky et al. 2021, arXiv 2107.14263",
    idea="Ask for samples of small margin, in turn from every cluster that has some.",
    formula="round-robin over average-linkage clusters of the k_m smallest p₁ − p₂, smallest cluster first",
    when="Large batches, where plain margin would ask for near repeats.",
    deterministic=False,
    options_from={
        "candidates_per_pick": "Citovsky et al. 2021: k_m is 10 times the batch",
        "average_cluster_size": "Citovsky et al. 2021: at least 10 on their largest data",
        "max_rows": "chosen: their distances take 32 MB",
    },
)
def cluster_margin(
    view: PoolView,
    query_size: int,
    rng: np.random.Generator,
    *,
    candidates_per_pick: float = 10.0,
    average_cluster_size: float = 10.0,
    max_rows: int = 4000,
) -> Selection:
    """One of each cluster in turn; utility is 1 − (p₁ − p₂)."""
    assert view.predictions is not None
    embedding_ND = view.predictions.embedding_ND
    check_finite(embedding_ND, view, "cluster_margin: embedding")
    pool = view.candidate_rows
    n_picks = min(query_size, len(pool))
    utility_N = margin(view.predictions.probabilities_NC).astype(np.float64)
    n_smallest = max(n_picks, int(np.ceil(candidates_per_pick * n_picks)))
    smallest = np.sort(pool[np.argsort(-utility_N[pool], kind="stable")[:n_smallest]])

    clustered = at_most(pool, max_rows, rng)
    cluster_R = average_linkage(embedding_ND, int(np.ceil(len(clustered) / average_cluster_size)), clustered)
    cluster_S = cluster_R[nearest_clustered(embedding_ND, smallest, clustered)]
    own_S = in_order_of_rows(cluster_S)
    picks = round_robin(own_S, n_picks, rng)
    rows = smallest[picks]
    reasons = {
        "margin": utility_N[rows],
        "cluster": cluster_S[picks].astype(np.float64),
        "cluster_candidates": np.bincount(own_S)[own_S[picks]].astype(np.float64),
        "cluster_size": np.bincount(cluster_R)[cluster_S[picks]].astype(np.float64),
    }
    return Selection(view.sample_ids[rows], utility_N[rows], reasons)


def nearest_clustered(embedding_ND: np.ndarray, rows: np.ndarray, clustered: np.ndarray) -> np.ndarray:
    """Position in ``clustered`` of the row nearest to each of ``rows``; a clustered row is its own nearest."""
    position = np.minimum(np.searchsorted(clustered, rows), len(clustered) - 1)
    others = np.flatnonzero(clustered[position] != rows)
    clustered_RD = embedding_ND[clustered].astype(np.float64)
    for part in blocks(len(others), rows_at_once(len(clustered))):
        squared_BR = squared_distances(embedding_ND[rows[others[part]]], clustered_RD)
        position[others[part]] = squared_BR.argmin(axis=1)
    return position

"""DropQuery: the samples whose class changes when features are dropped, one from each of Q clusters of them.

Concept  candidates are the samples on which more than half of M predictions under dropout differ from the undisturbed
         one; k-means groups them into Q clusters, and the sample nearest to each centroid is asked for.
Source   Gupte et al. 2024 (arXiv 2401.14555) and their code, sanketx/AL-foundation-models.
Stated   M = 3, three quarters of the features dropped; the bar falls by one prediction while there are fewer than 25 Q
         candidates and at least one must differ; clusters of the features at length 1; with fewer candidates than Q,
         all of them and a random rest.
Chosen   features are the fused embedding, before the last layer; the head is the linear one that gives the model's
         probabilities (``linear_head``; its R² is among the reasons), and the undisturbed class is the head's own, so
         that dropout alone decides. Of more than ``max_candidates``, as many are drawn. Picks come in order of
         disagreement, then of the size of their cluster. Where rows repeat, the next nearest to their centroid fill up.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.coverage import fused_rows
from rlmba_pipelines.learning.acquisition.linear_head import LinearHead, fit_linear_head
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.batch import blocks, check_finite
from rlmba_pipelines.learning.selection.clusters import at_most, kmeans, nearest_to_centers, squared_to_center
from rlmba_pipelines.learning.types import PoolView, Selection, UserError

BLOCK_ROWS = 512


def changed_mind(
    embedding_ND: np.ndarray,
    rows: np.ndarray,
    head: LinearHead,
    n_inferences: int,
    dropout: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """int64[U]: for how many predictions with dropped features the likeliest class of ``rows`` is another one.

    A feature is dropped where a float32 uniform is below ``dropout``; what is kept is scaled by 1 / (1 − dropout).
    Uniforms are drawn row by row, and within a row prediction by prediction.
    """
    changed_U = np.empty(len(rows), dtype=np.int64)
    for part in blocks(len(rows), BLOCK_ROWS):
        z_BD = embedding_ND[rows[part]].astype(np.float64)
        clean_B = (z_BD @ head.weight_CD.T + head.bias_C).argmax(axis=1)
        kept_BMD = rng.random((len(z_BD), n_inferences, z_BD.shape[1]), dtype=np.float32) >= dropout
        dropped_BMD = kept_BMD * (z_BD / (1 - dropout))[:, None]
        logits = dropped_BMD.reshape(-1, z_BD.shape[1]) @ head.weight_CD.T + head.bias_C  # one product, not one a row
        changed_U[part] = (logits.argmax(axis=1).reshape(-1, n_inferences) != clean_B[:, None]).sum(axis=1)
    return changed_U


def candidates_of(changed_U: np.ndarray, n_inferences: int, n_wanted: int) -> np.ndarray:
    """Rows with more than half of the predictions changed; while fewer than wanted, one fewer will do, but not none.

    >>> candidates_of(np.array([0, 3, 1, 2, 1]), 3, n_wanted=2).tolist()
    [1, 3]
    >>> candidates_of(np.array([0, 3, 1, 2, 1]), 3, n_wanted=5).tolist()
    [1, 2, 3, 4]
    """
    more_than = n_inferences // 2
    while more_than > 0 and (changed_U > more_than).sum() < n_wanted:
        more_than -= 1
    return np.flatnonzero(changed_U > more_than)


@register(
    "drop_query",
    requires=("predictions",),
    cost="O(N C D M), then O(n Q D) a k-means step for n candidates",
    reference="Gupte et al. 2024, arXiv 2401.14555",
    idea="Ask for the centers of clusters of samples whose class changes when features are dropped.",
    formula="x nearest to each of Q centroids of {x: more than half of M predictions under dropout change}",
    when="Frozen encoders and small to medium budgets.",
    deterministic=False,
    options_from={
        "n_inferences": "Gupte et al. 2024: M = 3",
        "dropout": "their code: dropout_p of 0.75",
        "candidates_per_pick": "their code: 25",
        "max_candidates": "chosen: k-means within seconds",
    },
)
def drop_query(
    view: PoolView,
    query_size: int,
    rng: np.random.Generator,
    *,
    n_inferences: int = 3,
    dropout: float = 0.75,
    candidates_per_pick: float = 25.0,
    max_candidates: int = 50_000,
) -> Selection:
    """Disputed samples, one a cluster; utility is the share of predictions that changed."""
    if not 0 <= dropout < 1:
        raise UserError(f"Strategy 'drop_query': dropout must be at least 0 and below 1, got {dropout}.")
    assert view.predictions is not None
    embedding_ND = view.predictions.embedding_ND
    check_finite(embedding_ND, view, "drop_query: embedding")
    pool = view.candidate_rows
    n_picks = min(query_size, len(pool))
    head = fit_linear_head(lambda rows: embedding_ND[rows].astype(np.float64), view.predictions.probabilities_NC)
    changed_U = changed_mind(embedding_ND, pool, head, n_inferences, dropout, rng)
    candidates = candidates_of(changed_U, n_inferences, int(np.ceil(candidates_per_pick * n_picks)))
    n_missing = n_picks - len(candidates)
    if n_missing > 0:
        rest = np.setdiff1d(np.arange(len(pool)), candidates)
        candidates = np.sort(np.concatenate([candidates, rng.choice(rest, n_missing, replace=False)]))
    candidates = at_most(candidates, max(max_candidates, n_picks), rng)

    rows, share_R = pool[candidates], changed_U[candidates] / n_inferences
    points_ND = fused_rows(view)
    clusters = kmeans(points_ND, n_picks, rng, rows=rows)
    squared_R = squared_to_center(points_ND, clusters, rows)
    size_R = np.bincount(clusters.cluster_N)[clusters.cluster_N]
    is_center_R = np.zeros(len(rows), dtype=bool)
    is_center_R[nearest_to_centers(squared_R, clusters.cluster_N)] = True
    nearest_first = np.lexsort((np.where(is_center_R, 0.0, squared_R), ~is_center_R))  # stable, so ties go by id
    picks = np.sort(nearest_first[:n_picks])
    picks = picks[np.lexsort((-size_R[picks], -share_R[picks], ~is_center_R[picks]))]
    reasons = {
        "changed": share_R[picks],
        "cluster": clusters.cluster_N[picks].astype(np.float64),
        "cluster_size": size_R[picks].astype(np.float64),
        "center_distance": np.sqrt(squared_R[picks]),
        "head_r_squared": np.full(len(picks), head.r_squared),
    }
    return Selection(view.sample_ids[rows[picks]], share_R[picks], reasons)

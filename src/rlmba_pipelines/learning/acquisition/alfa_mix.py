"""ALFA-Mix: samples whose prediction flips when a little of a labeled class is mixed into their features.

Concept  z̃ = α z* + (1 − α) z with z* the mean embedding of a labeled class; where the predicted class of z̃ is another,
         the sample has features that the model does not know yet. Clusters of such samples make the batch.
Source   Parvaneh et al. 2022 (arXiv 2203.07034), closed-form α.
Stated   α = ε ‖z* − z‖ / ‖∇‖ · ∇ / (z* − z), elementwise, ∇ the gradient of the loss at the predicted class;
         ε = cap / √D, cap growing by 1/32 until more samples flip than are asked for, at most to 1; k-means to Q on
         unit-length embeddings of those that flip, the nearest sample to each centre; the rest is drawn at random.
Chosen   put in, the formula is z̃ = z + ε ‖z* − z‖ ∇/‖∇‖: all anchors push along one line, the farthest pushes most.
         With a linear head (``linear_head``) the cap at which a sample first flips is known, and nothing is searched.
         A class without labels has the mean of all labeled (of the pool where there are none) as anchor. k-means
         looks at ``max_clustered`` of the flipping samples at most, drawn evenly at random beyond. Picks that flip at
         the smallest cap come first.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.badge import Residuals
from rlmba_pipelines.learning.acquisition.coverage import fused_rows
from rlmba_pipelines.learning.acquisition.linear_head import LEAST_PROBABILITY, LinearHead, fit_linear_head
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.batch import blocks, check_finite, selection_of
from rlmba_pipelines.learning.selection.clusters import (
    at_most,
    kmeans,
    nearest_to_centers,
    squared_distances,
    squared_to_center,
)
from rlmba_pipelines.learning.selection.kernels import Embedding
from rlmba_pipelines.learning.types import PoolView, Selection, UserError

CAP_STEP = 1 / 32
LARGEST_CAP = 1.0
LEAST_PUSH = 1e-12
BLOCK_ROWS = 2048


def class_anchors(embedding_ND: np.ndarray, y: np.ndarray, n_classes: int) -> np.ndarray:
    """float64[C, D]: mean embedding of every class's labeled samples (``y`` >= 0), of all labeled where it has none.

    >>> class_anchors(np.array([[1.0], [3.0], [9.0]]), np.array([0, 0, -1]), 2).tolist()
    [[2.0], [2.0]]
    """
    known = np.flatnonzero(y >= 0)
    everyone = known if len(known) else np.arange(len(y))
    anchors = np.tile(embedding_ND[everyone].mean(axis=0, dtype=np.float64), (n_classes, 1))
    for c in np.unique(y[known]):
        anchors[c] = embedding_ND[y == c].mean(axis=0, dtype=np.float64)
    return anchors


def flip_distance(probabilities_NC: np.ndarray, head: LinearHead) -> np.ndarray:
    """float64[N]: how far z must go up the loss of its predicted class to be predicted another; ``inf`` for never.

    >>> head = LinearHead(np.array([[2.0], [-2.0]]), np.zeros(2), 1.0)
    >>> flip_distance(np.array([[1 / (1 + np.exp(-4.0)), 1 / (1 + np.exp(4.0))]]), head).round(6).tolist()
    [1.0]
    """
    weight_CD = head.weight_CD
    slope_CC = weight_CD @ weight_CD.T
    residual_NC = Residuals(probabilities_NC)[:]
    logits = np.log(np.maximum(probabilities_NC.astype(np.float64), LEAST_PROBABILITY))
    likeliest = logits.argmax(axis=1)[:, None]
    rise_NC = residual_NC @ slope_CC  # of the logits along the gradient Wᵀ(p − onehot(ŷ))
    length_N = np.sqrt(np.maximum((residual_NC * rise_NC).sum(axis=1), 0.0))
    rise_NC -= np.take_along_axis(rise_NC, likeliest, axis=1)
    gap_NC = np.take_along_axis(logits, likeliest, axis=1) - logits
    scaled_NC = np.where(rise_NC > LEAST_PUSH, gap_NC / np.maximum(rise_NC, LEAST_PUSH), np.inf)
    np.put_along_axis(scaled_NC, likeliest, np.inf, axis=1)
    nearest_N = scaled_NC.min(axis=1)
    return np.where(np.isfinite(nearest_N), nearest_N * np.maximum(length_N, LEAST_PUSH), np.inf)


def needed_cap(
    embedding_ND: np.ndarray, probabilities_NC: np.ndarray, anchors_CD: np.ndarray, head: LinearHead
) -> np.ndarray:
    """float64[N]: the smallest cap at which the prediction flips, ``inf`` for never."""
    cap_N = np.empty(len(embedding_ND))
    for part in blocks(len(embedding_ND), BLOCK_ROWS):
        reach = np.sqrt(squared_distances(embedding_ND[part], anchors_CD).max(axis=1))
        far = flip_distance(probabilities_NC[part], head)
        can = np.isfinite(far) & (reach > 0)
        cap_N[part] = np.where(can, np.where(can, far, 0.0) / np.where(reach > 0, reach, 1.0), np.inf)
    return cap_N * np.sqrt(embedding_ND.shape[1])


def cluster_representatives(
    points_ND: Embedding, n_clusters: int, rng: np.random.Generator, rows: np.ndarray | None = None
) -> np.ndarray:
    """int64: positions in ``rows`` (all of an array) nearest to the centres of k-means, one each, ascending.

    Fewer where rows repeat.
    """
    clusters = kmeans(points_ND, n_clusters, rng, rows=rows)
    return np.sort(nearest_to_centers(squared_to_center(points_ND, clusters, rows), clusters.cluster_N))


@register(
    "alfa_mix",
    requires=("predictions", "y"),
    cost="O(N C (C + D) + min(N, max_clustered) Q D)",
    reference="Parvaneh et al. 2022, arXiv 2203.07034",
    idea="Ask for samples whose prediction flips when a little of a labeled class is mixed in, one a cluster.",
    formula="flip(ε ‖z* − z‖ ∇/‖∇‖) at the smallest ε = cap/√D that flips more than Q; then k-means to Q",
    when="Small label budgets on embeddings that are already good.",
    deterministic=False,
    options_from={"max_clustered": "chosen: k-means within seconds"},
)
def alfa_mix(
    view: PoolView, query_size: int, rng: np.random.Generator, *, max_clustered: int = 20_000
) -> Selection:
    """Representatives of what flips, smallest cap first, then random candidates; utility is 1 / (1 + cap needed).

    Args:
        max_clustered: k-means looks at so many samples at most; beyond, at an even random draw of those that flip.

    Raises:
        UserError: ``max_clustered`` is below 1.
    """
    assert view.predictions is not None
    assert view.y is not None
    if max_clustered < 1:
        raise UserError(f"max_clustered must be at least 1, got {max_clustered!r}.")
    embedding_ND, probabilities_NC = view.predictions.embedding_ND, view.predictions.probabilities_NC
    check_finite(embedding_ND, view, "alfa_mix: embedding")
    head = fit_linear_head(lambda rows: embedding_ND[rows].astype(np.float64), probabilities_NC)
    anchors_CD = class_anchors(embedding_ND, view.y, probabilities_NC.shape[1])
    cap_N = needed_cap(embedding_ND, probabilities_NC, anchors_CD, head)
    cap_N = cap_N.astype(np.float32).astype(np.float64)  # repeats tie

    candidate_rows = view.candidate_rows
    steps = np.arange(1, round(LARGEST_CAP / CAP_STEP) + 1) * CAP_STEP
    flipped = (int((cap_N[candidate_rows] < cap).sum()) for cap in steps)
    cap = next((cap for cap, n in zip(steps, flipped, strict=True) if n > query_size), LARGEST_CAP)
    flips_N = cap_N < cap
    flipping_rows = candidate_rows[flips_N[candidate_rows]]
    flipping_rows = at_most(flipping_rows, max(max_clustered, query_size), rng)
    if len(flipping_rows) > query_size:
        kept = cluster_representatives(fused_rows(view), query_size, rng, flipping_rows)
        flipping_rows = flipping_rows[kept]
    rows = flipping_rows[np.argsort(cap_N[flipping_rows], kind="stable")]
    rest = np.setdiff1d(candidate_rows, rows)
    rows = np.concatenate([rows, rng.choice(rest, query_size - len(rows), replace=False)])
    reasons = {"flips": flips_N.astype(np.float64), "cap": np.minimum(cap_N, LARGEST_CAP)}
    return selection_of(view, rows, 1 / (1 + cap_N[rows]), reasons)

"""DeepFool (DFAL): the samples that the smallest push would carry over a decision boundary.

Concept  distance of a sample to the nearest decision boundary, and the nearest are asked for.
Source   Ducoffe & Precioso 2018 (arXiv 1802.09841); the push is DeepFool, Moosavi-Dezfooli et al. 2016 (1511.04599).
Stated   DeepFool's iterations on the input of a network; the adversarial twin is trained on with the same label.
Chosen   the boundary of the last layer in the space of the fused embedding, where one step is exact:
         min_c (f_ŷ − f_c) / ‖w_ŷ − w_c‖, with f the model's own log-probabilities and w of the head that reproduces
         them (``linear_head``; its R² is among the reasons). Twins are not made: a pool has no pixels here.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.linear_head import LEAST_PROBABILITY, LinearHead, fit_linear_head
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.batch import blocks, check_finite
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.types import PoolView, Selection

LEAST_NORM = 1e-12  # classes that the head cannot tell apart are far apart, not at no distance
BLOCK_ROWS = 4096


def boundary_distance(probabilities_NC: np.ndarray, head: LinearHead) -> np.ndarray:
    """float64[N]: distance in the embedding to the nearest class boundary of a linear head.

    >>> head = LinearHead(np.array([[2.0], [-2.0]]), np.zeros(2), 1.0)
    >>> sure = 1 / (1 + np.exp(-4.0))
    >>> boundary_distance(np.array([[0.5, 0.5], [sure, 1 - sure]]), head).round(6).tolist()
    [0.0, 1.0]
    """
    weight_CD = head.weight_CD
    squared_C = np.square(weight_CD).sum(axis=1)
    apart_CC = np.sqrt(np.maximum(squared_C[:, None] + squared_C - 2 * weight_CD @ weight_CD.T, 0))
    apart_CC = np.maximum(apart_CC, LEAST_NORM)
    distance_N = np.empty(len(probabilities_NC))
    for part in blocks(len(probabilities_NC), BLOCK_ROWS):
        logits = np.log(np.maximum(probabilities_NC[part].astype(np.float64), LEAST_PROBABILITY))
        likeliest = logits.argmax(axis=1)
        here = np.arange(len(logits))
        push = (logits[here, likeliest][:, None] - logits) / apart_CC[likeliest]
        push[here, likeliest] = np.inf
        distance_N[part] = push.min(axis=1)
    return distance_N


@register(
    "deepfool",
    requires=("predictions",),
    cost="O(N C + min(N, 20,000) D²)",
    reference="Ducoffe & Precioso 2018, arXiv 1802.09841",
    idea="Ask for the samples nearest to a decision boundary.",
    formula="u(x) = −min_c (f_ŷ − f_c) / ‖w_ŷ − w_c‖",
    when="Like margin, where classes differ in scale; batches may repeat themselves.",
    deterministic=True,
)
def deepfool(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """Nearest boundary first; utility is minus the distance, in the unit of the fused embedding."""
    assert view.predictions is not None
    embedding_ND, probabilities_NC = view.predictions.embedding_ND, view.predictions.probabilities_NC
    check_finite(embedding_ND, view, "deepfool: embedding")
    head = fit_linear_head(lambda rows: embedding_ND[rows].astype(np.float64), probabilities_NC)
    distance_N = boundary_distance(probabilities_NC, head).astype(np.float32).astype(np.float64)  # repeats tie
    reasons = {"boundary_distance": distance_N, "head_r_squared": np.full(len(distance_N), head.r_squared)}
    return top_k(view, -distance_N, query_size, reasons)

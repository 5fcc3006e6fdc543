"""Selection as published: the policy draws the batch itself, from the most uncertain and most isolated samples.

Concept  RL-MBA's policy over ordered batches (arXiv 2603.25107, CVPR 2026).
Source   a third-party note on the paper: the full text was not readable, and no code is public.
Stated   d̃ = distance to the nearest of k = Q k-means++ centroids (at most 5 iterations) on fused features;
         q = Σ_m w_m ũ_m + β d̃, min-max per round; candidates = the κQ samples of highest q, κ = 5; Q of them are drawn
         without replacement by stepwise softmax.
Chosen   u_m = the published U of the modality's evidence where heads are evidential, else its entropy / ln C; w counts
         what a sample has; logits (q + weights · (uncertainty, distance, margin)) / temperature with the weights of
         ``policy/published.py``, 0 before it has learned and under any other policy; β and the temperature; over
         15,000 candidates the centroids are fitted to a drawn 15,000, the distances stay those of all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rlmba_pipelines.learning.acquisition.coverage import present_of
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.evidence import entropy, margin, share_of_present, uncertainty
from rlmba_pipelines.learning.policy.plackett_luce import sample, score_of_picks
from rlmba_pipelines.learning.policy.published import FEATURES, SCORE
from rlmba_pipelines.learning.selection.batch import blocks, check_finite, selection_of
from rlmba_pipelines.learning.selection.clusters import LEARNED_ROWS, at_most, kmeans, squared_distances
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.types import PoolView, Predictions, Selection, UserError

BLOCK_ROWS = 1024
DIGITS = 9  # of q: rows that repeat tie, whatever rounding did to their distances


@register(
    "rl_mba_published",
    requires=("predictions", "unimodal", "weights", "policy"),
    cost="O(N Q D) for the distances, with at most 15,000 rows in each of the iterations",
    reference="RL-MBA, arXiv 2603.25107, by a third-party note",
    idea="Let the policy draw the batch from the most uncertain and most isolated samples.",
    formula="P(batch) = Π_i softmax(l / T over what is left), l = Σ_m w_m ũ_m + β d̃ + learned, among κQ by q",
    when="To compare with the published method; with policy.name: published it learns from round to round.",
    deterministic=False,
    options_from={
        "kappa": "stated in the note on the paper",
        "beta": "chosen: uncertainty and distance count the same; the paper's value was not readable",
        "iterations": "stated in the note on the paper: at most 5",
        "temperature": "chosen: a tenth of the range of q is a factor of e; the paper's value was not readable",
    },
)
def rl_mba_published(
    view: PoolView,
    query_size: int,
    rng: np.random.Generator,
    *,
    kappa: float = 5.0,
    beta: float = 1.0,
    iterations: int = 5,
    temperature: float = 0.1,
) -> Selection:
    """Q samples in the order they were drawn; utility is the probability of each at its draw.

    Reasons hold ``q``, its parts, and ``score_<feature>``: what each draw adds to the gradient of the batch's
    log-probability by the policy's weights, which is all that the policy needs to learn from the batch.

    Raises:
        UserError: an option out of range.
    """
    if kappa < 1 or beta < 0 or iterations < 1 or temperature <= 0:
        raise UserError("rl_mba_published: kappa >= 1, beta >= 0, iterations >= 1, temperature > 0.")
    assert view.predictions is not None
    assert view.weights_M is not None
    assert view.policy is not None
    rows, present_NM = view.candidate_rows, present_of(view)
    weights_NM = share_of_present(present_NM, view.weights_M)
    doubt_NM = np.where(present_NM, modality_uncertainty(view.predictions), 0.0)
    scaled_NM = np.stack(
        [min_max(column, present_NM[:, m] & ~view.labeled_N) for m, column in enumerate(doubt_NM.T)], axis=1
    )
    uncertainty_N = (weights_NM * scaled_NM).sum(axis=1)
    check_finite(view.predictions.embedding_ND, view, "rl_mba_published: embedding")
    distance_N = np.zeros(len(view.sample_ids))
    distance_N[rows] = centroid_distance(view.predictions.embedding_ND, rows, query_size, rng, iterations)
    distance_N = min_max(distance_N, ~view.labeled_N)
    margin_N = min_max(margin(view.predictions.probabilities_NC), ~view.labeled_N)
    q_N = (uncertainty_N + beta * distance_N).round(DIGITS)

    best = top_k(view, q_N, min(len(rows), int(np.ceil(kappa * query_size))), {"row": np.arange(len(q_N))})
    among_K = np.sort(best.reasons["row"].astype(np.int64))
    features_KF = np.stack([uncertainty_N, distance_N, margin_N], axis=1)[among_K] / temperature
    logits_K = q_N[among_K] / temperature + features_KF @ learned_weights(view.policy)
    picks_Q = sample(logits_K, query_size, rng)
    score_QF = score_of_picks(logits_K, picks_Q, features_KF)

    chosen = among_K[picks_Q]
    reasons = {"q": q_N, "uncertainty": uncertainty_N, "isolation": distance_N, "margin": margin_N}
    for m, modality in enumerate(view.modalities):
        reasons |= {f"uncertainty_{modality}": scaled_NM[:, m], f"weight_{modality}": weights_NM[:, m]}
    drawn = selection_of(view, chosen, _probability_at_draw(logits_K, picks_Q), reasons)
    scores = {f"{SCORE}{name}": score_QF[:, f] for f, name in enumerate(FEATURES)}
    return Selection(drawn.sample_ids, drawn.utility_Q, {**drawn.reasons, **scores})


def modality_uncertainty(predictions: Predictions) -> np.ndarray:
    """float64[N, M]: U of each modality's evidence, or entropy / ln C of its head where there is no evidence."""
    if predictions.evidence_NMC is not None:
        return uncertainty(predictions.evidence_NMC.astype(np.float64, copy=False))
    return entropy(predictions.unimodal_NMC.astype(np.float64, copy=False)) / np.log(predictions.unimodal_NMC.shape[-1])


def min_max(values_N: np.ndarray, counts_N: np.ndarray) -> np.ndarray:
    """float64[N]: to [0, 1] over the rows that count; 0 in all others, and everywhere if the values are all the same.

    >>> min_max(np.array([3.0, 1.0, 2.0, 9.0]), np.array([True, True, True, False])).tolist()
    [1.0, 0.0, 0.5, 0.0]
    """
    scaled_N = np.zeros(len(values_N))
    if counts_N.any():
        least, most = values_N[counts_N].min(), values_N[counts_N].max()
        if most - least > np.finfo(np.float32).eps * abs(most):
            scaled_N[counts_N] = (values_N[counts_N] - least) / (most - least)
    return scaled_N


def centroid_distance(
    embedding_ND: np.ndarray, rows: np.ndarray, k: int, rng: np.random.Generator, iterations: int
) -> np.ndarray:
    """float64[U]: distance of every one of ``rows`` to the nearest of ``k`` k-means++ centroids of them."""
    fitted = at_most(rows, LEARNED_ROWS, rng)
    center_KD = kmeans(embedding_ND, k, rng, rows=fitted, steps=iterations).center_KD
    parts = [
        squared_distances(embedding_ND[rows[part]], center_KD).min(axis=1) for part in blocks(len(rows), BLOCK_ROWS)
    ]
    return np.sqrt(np.concatenate(parts))


def learned_weights(policy: Mapping[str, object]) -> np.ndarray:
    """float64[F]: the published policy's weights of the features; 0 under any other policy.

    >>> learned_weights({"name": "fixed"}).tolist()
    [0.0, 0.0, 0.0]
    """
    if policy.get("name") != "published":
        return np.zeros(len(FEATURES))
    return np.array(policy["weights"], dtype=np.float64)


def _probability_at_draw(logits_K: np.ndarray, picks_Q: np.ndarray) -> np.ndarray:
    weight_K = np.exp(logits_K - logits_K.max())
    out_K = np.ones(len(logits_K), dtype=bool)
    out_K[picks_Q] = False
    left_Q = weight_K[out_K].sum() + np.cumsum(weight_K[picks_Q][::-1])[::-1]
    return np.where(left_Q > 0, weight_K[picks_Q] / np.where(left_Q > 0, left_Q, 1.0), 1.0)

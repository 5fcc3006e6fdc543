"""BMMAL: BADGE that does not let the strongest modality speak for the others.

Concept  k-means++ on gradients whose weaker modalities are scaled down the more they are dominated, so that samples on
         which modalities are balanced have the larger gradients.
Source   Balanced Multi-Modal Active Learning, Shen et al. 2023 (arXiv 2306.08306).
Stated   g = (p − onehot(ŷ)) ⊗ [s₁z₁; s₂z₂], s = 1 for the stronger modality and 1 − (c_strong − c_weak) for the other;
         c_m = |φ_m| / Σ|φ|, φ_m the Shapley value of modality m for the predicted class, absent = features zeroed.
Chosen   any number of modalities: s_m = 1 − (max c − c_m). φ is that of the centred logit under the linear head on the
         modality embeddings laid side by side which best gives the fused probabilities (``linear_head``): there a
         Shapley value is w_ŷm · z_m, exactly. Modalities that a sample lacks have c = s = 0. Where every φ is 0 the
         modalities present share c evenly.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.badge import OuterProducts, Residuals, sample_gradients
from rlmba_pipelines.learning.acquisition.coverage import present_of
from rlmba_pipelines.learning.acquisition.linear_head import LinearHead, fit_linear_head
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.batch import blocks
from rlmba_pipelines.learning.types import PoolView, Selection

BLOCK_ROWS = 2048


def modality_scales(share_NM: np.ndarray, present_NM: np.ndarray) -> np.ndarray:
    """float64[N, M]: s_m = 1 − (max c − c_m), 0 for absent modalities.

    >>> modality_scales(np.array([[0.75, 0.25], [1.0, 0.0]]), np.array([[True, True], [True, False]])).tolist()
    [[1.0, 0.5], [1.0, 0.0]]
    """
    return np.where(present_NM, 1 - (share_NM.max(axis=1, keepdims=True) - share_NM), 0.0)


def contribution_shares(worth_NM: np.ndarray, present_NM: np.ndarray) -> np.ndarray:
    """float64[N, M]: c_m = |φ_m| / Σ|φ| over the modalities present; even shares where every φ is 0.

    >>> contribution_shares(np.array([[-3.0, 1.0], [0.0, 0.0]]), np.ones((2, 2), dtype=bool)).tolist()
    [[0.75, 0.25], [0.5, 0.5]]
    """
    size_NM = np.where(present_NM, np.abs(worth_NM), 0.0)
    size_NM = np.where(size_NM.sum(axis=1, keepdims=True) > 0, size_NM, present_NM.astype(np.float64))
    return size_NM / size_NM.sum(axis=1, keepdims=True)


def modality_worth(side_by_side: OuterProducts, head: LinearHead, likeliest_N: np.ndarray) -> np.ndarray:
    """float64[N, M]: φ_m = w_ŷm · z_m, what each modality adds to the centred logit of the predicted class."""
    assert side_by_side.weight_NM is not None
    worth_NM = np.empty(side_by_side.weight_NM.shape)
    for part in blocks(len(worth_NM), BLOCK_ROWS):
        products = side_by_side.factors(part)[1] * head.weight_CD[likeliest_N[part]]
        worth_NM[part] = products.reshape(*worth_NM[part].shape, -1).sum(axis=2)
    return worth_NM


@register(
    "bmmal",
    requires=("predictions", "unimodal"),
    cost="O(Q N (C + M D)) at most; by rejection most of it is never computed",
    reference="Shen et al. 2023, arXiv 2306.08306",
    idea="Ask for large and different gradients, from samples on which no modality dominates.",
    formula="D² sampling on (p − onehot(ŷ)) ⊗ [s₁z₁; …; s_M z_M], s_m = 1 − (max c − c_m)",
    when="Several modalities of which one tends to win, medium and large batches.",
    deterministic=False,
    options_from={"mode": "chosen: rejection has the same law as exact_stream and is faster"},
)
def bmmal(view: PoolView, query_size: int, rng: np.random.Generator, *, mode: str = "rejection") -> Selection:
    """k-means++ over gradients balanced by modality; utility is D² to the batch so far (‖g‖² for the first pick).

    Args:
        mode: ``rejection``, or ``exact_stream`` with one uniform a pick (slower; for comparisons pick for pick).
    """
    gradients, share_NM = balanced_gradients(view)
    reasons = {f"share_{modality}": share_NM[:, m] for m, modality in enumerate(view.modalities)}
    return sample_gradients(view, gradients, query_size, rng, mode, reasons)


def balanced_gradients(view: PoolView) -> tuple[OuterProducts, np.ndarray]:
    """The gradients of BMMAL by their factors, and the shares c, float64[N, M]."""
    assert view.predictions is not None
    predictions, present_NM = view.predictions, present_of(view)
    probabilities_NC, embedding_NMD = predictions.probabilities_NC, predictions.modality_embedding_NMD
    left_NC = Residuals(probabilities_NC)
    right_ND = embedding_NMD.reshape(len(embedding_NMD), -1)
    seen = OuterProducts(left_NC, right_ND, present_NM.astype(np.float64))
    head = fit_linear_head(lambda rows: seen.factors(rows)[1], probabilities_NC)
    worth_NM = modality_worth(seen, head, left_NC.likeliest_N)
    share_NM = contribution_shares(worth_NM, present_NM)
    return OuterProducts(left_NC, right_ND, modality_scales(share_NM, present_NM)), share_NM

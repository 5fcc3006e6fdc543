"""Herding with the fixed prior θ: cover the pool where the model is in doubt. The policy is not learned yet.

Concept  policy-conditioned herding: F(A) = Σ_x u_θ(x) · max_{a ∈ A ∪ L} k_θ(x, a), θ = ``Action``.
Source   Uncertainty Herding, Bae et al. 2025 (arXiv 2412.20644), for the form; modalities and θ are this project's.
Stated   greedy maximisation, u = margin, one kernel on one embedding.
Chosen   u mixes the fused margin with those of the modalities; k mixes the fused embedding, the modality embeddings
         balanced by their weights, and the raw features. θ stays at its prior: no policy learns it here.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.coverage import present_of, raw_embedding, unit_rows
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.evidence import margin, share_of_present
from rlmba_pipelines.learning.selection import herding as selector
from rlmba_pipelines.learning.selection.kernels import Kernel, bandwidth_of
from rlmba_pipelines.learning.types import PoolView, Selection


@register(
    "herding",
    requires=("predictions", "features", "weights", "action"),
    cost="O(N² D), then a few rows a pick",
    reference="Bae et al. 2025, arXiv 2412.20644; θ of RL-MBA at its fixed prior",
    idea="Ask for the batch that stands for the parts of the pool where model and modalities are in doubt.",
    formula="F(A) = Σ_x u_θ(x) · max_{a ∈ A ∪ L} k_θ(x, a)",
    when="The default, at any budget and any number of modalities.",
    deterministic=True,
)
def herding(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """Greedy F with u = [s · fused margin + (1 − s) · Σ_m w_m margin_m]^exponent and up to three kernels, all by θ.

    Weights w count only what a sample has; of an absent modality margin and weight are reported as 0.
    """
    assert view.predictions is not None
    assert view.weights_M is not None
    assert view.action is not None
    predictions, action = view.predictions, view.action
    weights_NM = share_of_present(present_of(view), view.weights_M)
    margin_N = margin(predictions.probabilities_NC)
    margin_NM = np.where(present_of(view), margin(predictions.unimodal_NMC), 0.0)
    share = action.fused_uncertainty
    doubt_N = share * margin_N + (1 - share) * (weights_NM * margin_NM).sum(axis=1)
    doubt_N = np.maximum(doubt_N, 0)  # a rounded softmax may sum to more than 1

    parts = (
        (action.fused_kernel, fused_embedding),
        (action.balanced_kernel, balanced_embedding),
        (action.raw_kernel, raw_embedding),
    )
    kernels = []
    for weight, embed in parts:
        if weight > 0:
            embedding_ND = embed(view)
            kernels.append(Kernel(weight, embedding_ND, bandwidth_of(embedding_ND, view, action.bandwidth_quantile)))

    reasons = {"margin": margin_N}
    for m, modality in enumerate(view.modalities):
        reasons |= {f"margin_{modality}": margin_NM[:, m], f"weight_{modality}": weights_NM[:, m]}
    return selector.herding(view, doubt_N**action.exponent, kernels, query_size, reasons)


def fused_embedding(view: PoolView) -> np.ndarray:
    """float32[N, D]: the fused representation at length 1."""
    assert view.predictions is not None
    return unit_rows(view.predictions.embedding_ND, np.ones(len(view.sample_ids), dtype=bool))


def balanced_embedding(view: PoolView) -> np.ndarray:
    """float32[N, M·D]: modality embeddings at length √(w_m M), side by side; zeros where absent."""
    assert view.predictions is not None
    assert view.weights_M is not None
    present_NM = present_of(view)
    scale_M = np.sqrt(view.weights_M * len(view.weights_M))
    embedding_NMD = view.predictions.modality_embedding_NMD
    parts = [unit_rows(embedding_NMD[:, m], present_NM[:, m]) * scale_M[m] for m in range(len(scale_M))]
    return np.concatenate(parts, axis=1).astype(np.float32)

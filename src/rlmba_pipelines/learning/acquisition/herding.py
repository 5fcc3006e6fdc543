"""Herding by θ, the action of the policy: cover the pool where the model is in doubt.

Concept  policy-conditioned herding: F(A) = Σ_x u_θ(x) · max_{a ∈ A ∪ L} k_θ(x, a), θ = ``Action``.
Source   Uncertainty Herding, Bae et al. 2025 (arXiv 2412.20644), for the form; modalities and θ are this project's.
Stated   greedy maximisation, u = margin, one kernel on one embedding.
Chosen   u mixes the fused margin with those of the modalities; what looks like a class that the pool has little of
         counts more. k mixes the fused embedding, the modality embeddings balanced by their weights, and the raw
         features. By default θ stays at its prior (``policy.name: fixed``).
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.coverage import UnitRows, fused_rows, present_of, raw_rows
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.evidence import margin, share_of_present
from rlmba_pipelines.learning.selection import herding as selector
from rlmba_pipelines.learning.selection.kernels import Kernel, bandwidth_of
from rlmba_pipelines.learning.theta import tilted
from rlmba_pipelines.learning.types import Action, PoolView, Selection, UserError


@register(
    "herding",
    requires=("predictions", "unimodal", "features", "weights", "action"),
    optional=("terms", "prices"),
    cost="O(N² D), then a few rows a pick",
    reference="Bae et al. 2025, arXiv 2412.20644; θ of RL-MBA at its fixed prior",
    idea="Ask for the batch that stands for the parts of the pool where model and modalities are in doubt.",
    formula="F(A) = Σ_x u_θ(x) · max_{a ∈ A ∪ L} k_θ(x, a), u_θ = [s · margin + (1 − s) · Σ_m w_m margin_m]^exponent "
    "· Σ_c p_c (C π_c)^−rarity with π the mean prediction of the candidates, "
    "k_θ a mixture of kernels on fused, balanced and raw features",
    when="The default, at any budget and any number of modalities.",
    deterministic=True,
)
def herding(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """Greedy F with u = [s · fused margin + (1 − s) · Σ_m w_m margin_m]^exponent · r and up to three kernels, all by θ.

    r = Σ_c p_c (C π_c)^−rarity; told is the column ``rarity``, how many times rarer than an average class that is.

    Weights w count only what a sample has; of an absent modality margin and weight are reported as 0. Over 15,000
    candidates, 14,000 drawn ones stand for all; below, the generator is never asked.

    With a share of difficulty in θ the rest of the utility is u, and the term ``difficulty`` has that share.

    Raises:
        UserError: θ asks for difficulty, and none was learned.
    """
    utility_N, reasons = utility_of(view)
    return selector.herding(view, utility_N, kernels_of(view), query_size, reasons, rng=rng)


def utility_of(view: PoolView) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """u_θ of every row, float64[N] >= 0, and the columns that it was made of.

    Raises:
        UserError: θ asks for difficulty, and none was learned.
    """
    assert view.predictions is not None
    assert view.weights_M is not None
    assert view.action is not None
    predictions, action = view.predictions, view.action
    weights_M = tilted(entering(view.weights_M, action.weigh_utility), view.modalities, action.uncertainty_tilt)
    weights_NM = share_of_present(present_of(view), weights_M)
    margin_N = margin(predictions.probabilities_NC)
    margin_NM = np.where(present_of(view), margin(predictions.unimodal_NMC), 0.0)
    share = action.fused_uncertainty
    doubt_N = share * margin_N + (1 - share) * (weights_NM * margin_NM).sum(axis=1)
    doubt_N = np.maximum(doubt_N, 0)  # a rounded softmax may sum to more than 1
    reasons = {"margin": margin_N}
    if action.difficulty > 0:
        if view.terms is None or "difficulty" not in view.terms.columns:
            raise UserError("policy.difficulty is above 0, but none is learned: set difficulty.enabled to true.")
        reasons["difficulty"] = view.terms["difficulty"]
        doubt_N = (1 - action.difficulty) * doubt_N + action.difficulty * reasons["difficulty"]
    for m, modality in enumerate(view.modalities):
        reasons |= {f"margin_{modality}": margin_NM[:, m], f"weight_{modality}": weights_NM[:, m]}
    utility_N = doubt_N**action.exponent
    if action.rarity > 0:
        factor_N = rarity_factor(predictions.probabilities_NC, view.candidate_rows, action.rarity)
        utility_N = utility_N * factor_N
        reasons["rarity"] = factor_N ** (1 / action.rarity)  # says the same whatever the power
    return utility_N, reasons


def rarity_factor(probabilities_NC: np.ndarray, candidate_rows: np.ndarray, power: float) -> np.ndarray:
    """``Σ_c p_c (C π_c)^−power``, float64[N] > 0: how much more a sample counts for the class that it looks like.

    π_c is the mean prediction of the candidates, at least one sample of them; a class of average size counts 1.

    >>> p_NC = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    >>> rarity_factor(p_NC, np.arange(4), 1.0).round(3)      # of two classes: 1 / (2 · 3/4), 1 / (2 · 1/4)
    array([0.667, 0.667, 0.667, 2.   ])
    """
    share_C = probabilities_NC[candidate_rows].mean(axis=0, dtype=np.float64)
    worth_C = (probabilities_NC.shape[1] * np.maximum(share_C, 1 / len(candidate_rows))) ** -power
    return np.einsum("nc,c->n", probabilities_NC, worth_C)  # the same bits with any number of threads


def kernels_of(view: PoolView) -> list[Kernel]:
    """The mixture k_θ."""
    assert view.action is not None
    parts = (
        (view.action.fused_kernel, fused_rows),
        (view.action.balanced_kernel, balanced_rows),
        (view.action.raw_kernel, raw_rows),
    )
    kernels = []
    for weight, embed in parts:
        if weight > 0:
            rows_ND = embed(view)
            kernels.append(Kernel(weight, rows_ND, bandwidth_of(rows_ND, view, view.action.bandwidth_quantile)))
    return kernels


def entering(weights_M: np.ndarray, enter: bool) -> np.ndarray:
    """The modality weights, or equal ones where they are switched off."""
    return weights_M if enter else np.full(len(weights_M), 1 / len(weights_M))


def balanced_rows(view: PoolView) -> UnitRows:
    """Modality embeddings at length √(w_m M), w tilted by θ, side by side; zeros where absent."""
    assert view.predictions is not None
    assert view.weights_M is not None
    present_NM = present_of(view)
    action = view.action or Action()
    weights_M = tilted(entering(view.weights_M, action.weigh_kernel), view.modalities, action.kernel_tilt)
    scale_M = np.sqrt(weights_M * len(weights_M))
    embedding_NMD = view.predictions.modality_embedding_NMD
    return UnitRows(
        view,
        {
            f"embedding of {name!r}": (embedding_NMD[:, m], present_NM[:, m], float(scale_M[m]))
            for m, name in enumerate(view.modalities)
        },
    )

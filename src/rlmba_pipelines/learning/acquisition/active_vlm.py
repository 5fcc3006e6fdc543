"""Active-VLM: cover the questions where image, wording or reasoning are in doubt.

Concept  V = w_v U_vis + w_l U_lang + w_r U_reas chooses, a core set spreads the batch, stages shift the weights.
Source   Active-VLM, a forum post without formulas; herding: Bae et al. 2025 (arXiv 2412.20644).
Stated   three uncertainties make an information value; core-set selection balances value and similarity.
Chosen   θ of RL-MBA holds the weights, so that every policy can move them: w_r is the share of the fused doubt, w_v and
         w_l are the weights of image and text among the rest. Ranks over the candidates make the doubts add. Herding
         covers the pool with u = V^exponent; ``active_vlm_core_set`` is the literal weighted k-center.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.bald import disagreement
from rlmba_pipelines.learning.acquisition.coverage import present_of
from rlmba_pipelines.learning.acquisition.herding import entering, kernels_of
from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.evidence import margin, share_of_present
from rlmba_pipelines.learning.selection import herding as selector
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.theta import tilted
from rlmba_pipelines.learning.types import PoolView, Selection, UserError
from rlmba_pipelines.learning.vlm.terms import information_value, outliers, ranked

DOUBT_OF = {"image": "visual", "video": "visual", "text": "language", "audio": "acoustic"}
FOCUS_FLOOR = 0.2  # what is left of the utility where a focus is 0
REQUIRES = ("draws", "unimodal", "features", "weights", "action")
OPTIONS_FROM = {"guard": "ours: off, nobody has measured what it is worth"}


@register(
    "active_vlm",
    requires=REQUIRES,
    optional=("terms", "prices"),
    cost="O(N² D), then a few rows a pick",
    reference="Active-VLM (forum post); Bae et al. 2025, arXiv 2412.20644",
    idea="Ask for the batch that stands for the questions where image, wording or reasoning are in doubt.",
    formula="herding with u = (w_v rank U_vis + w_l rank U_lang + w_r rank U_reas)^exponent",
    when="Visual questions; on other samples the doubt of each modality and of the ensemble stand in.",
    deterministic=True,
    options_from=OPTIONS_FROM | {"spread": "ours: off, the most valuable questions alone, for comparison"},
)
def active_vlm(
    view: PoolView, query_size: int, rng: np.random.Generator, *, guard: float = 0.0, spread: bool = True
) -> Selection:
    """Herding on the information value; ``guard`` is the share of collective outliers that is left out, without
    ``spread`` no question covers another."""
    utility_N, reasons = value_of(view, guard)
    if not spread:
        return top_k(view, utility_N, query_size, reasons=reasons)
    return selector.herding(view, utility_N, kernels_of(view), query_size, reasons, rng=rng)


def value_of(view: PoolView, guard: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """u_θ of every row, float64[N] >= 0, and the columns that it was made of; labeled rows count as 0.

    Raises:
        UserError: θ looks for a term that is not there.
    """
    assert view.weights_M is not None
    assert view.action is not None
    action, rows = view.action, view.candidate_rows
    weights_M = tilted(entering(view.weights_M, action.weigh_utility), view.modalities, action.uncertainty_tilt)
    share = action.fused_uncertainty
    weights_NM = share_of_present(present_of(view), weights_M)
    doubts = [doubt_of(view, "reasoning")]
    doubts += [doubt_of(view, DOUBT_OF.get(name, name), m) for m, name in enumerate(view.modalities)]
    reasons, columns = dict(doubts), [column for _, column in doubts]
    weights = [np.full(len(weights_NM), share), *((1 - share) * weights_NM).T]
    value_U = information_value([column[rows] for column in columns], [weight[rows] for weight in weights])
    ranks = [ranked(column[rows]) for column in columns]
    utility_N = np.zeros(len(view.sample_ids))
    utility_N[rows] = np.where(outliers(np.min(ranks, axis=0), guard), 0.0, value_U**action.exponent)
    for name, power in action.focus.items():
        if view.terms is None or name not in view.terms.columns:
            raise UserError(f"Strategy 'active_vlm': θ looks for the term {name!r}, which this learner does not tell.")
        reasons[name] = view.terms[name]
        utility_N *= (FOCUS_FLOOR + (1 - FOCUS_FLOOR) * reasons[name]) ** power
    return utility_N, reasons | {f"weight_{name}": weights_NM[:, m] for m, name in enumerate(view.modalities)}


def doubt_of(view: PoolView, name: str, modality: int | None = None) -> tuple[str, np.ndarray]:
    """A column of doubt with its name; of a learner that does not tell it, what its ensemble or the modality's own
    head doubts."""
    assert view.predictions is not None
    if view.terms is not None and name in view.terms.columns:
        return name, view.terms[name]
    if modality is None:
        return "bald", disagreement(view.predictions.draws_NKC)
    own_N = np.where(present_of(view)[:, modality], margin(view.predictions.unimodal_NMC[:, modality]), 0.0)
    return f"margin_{view.modalities[modality]}", np.maximum(own_N, 0)

"""Coverage: the first batch, before there is a model. Reference: MaxHerding, Bae et al. 2024 (arXiv 2407.12212)."""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.batch import check_finite
from rlmba_pipelines.learning.selection.herding import herding
from rlmba_pipelines.learning.selection.kernels import Kernel, bandwidth_of
from rlmba_pipelines.learning.types import PoolView, Selection


def present_of(view: PoolView) -> np.ndarray:
    """bool[N, M]: which modalities each sample has; all of them where the view does not say."""
    if view.present_NM is None:
        return np.ones((len(view.sample_ids), len(view.modalities)), dtype=bool)
    return view.present_NM


def unit_rows(block_ND: np.ndarray, present_N: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; zeros where the sample lacks the modality, whatever the block holds there.

    >>> unit_rows(np.array([[3.0, 4.0], [np.nan, 1.0]]), np.array([True, False])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    block_ND = np.where(present_N[:, None], block_ND, 0)
    norm_N = np.sqrt(np.square(block_ND).sum(axis=1, keepdims=True))
    return block_ND / np.where(norm_N > 0, norm_N, 1)


def raw_embedding(view: PoolView) -> np.ndarray:
    """float32[N, ΣD_m]: the encoders' features side by side, each modality at length 1, so that none outweighs."""
    assert view.features is not None
    present_NM = present_of(view)
    parts = [unit_rows(view.features[name], present_NM[:, m]) for m, name in enumerate(view.modalities)]
    for name, part in zip(view.modalities, parts, strict=True):
        check_finite(part, view, f"features of {name!r}")
    return np.concatenate(parts, axis=1)


@register(
    "coverage",
    requires=("features",),
    cost="O(N² D)",
    reference="Bae et al. 2024, arXiv 2407.12212",
    idea="Ask for the batch that the rest of the pool most resembles.",
    formula="F(A) = Σ_x max_{a ∈ A ∪ L} k(x, a), k on raw features",
    when="The first batch, before there is a model.",
    deterministic=True,
    options_from={"bandwidth_quantile": "chosen: the quantile of the default θ"},
)
def coverage(
    view: PoolView, query_size: int, rng: np.random.Generator, *, bandwidth_quantile: float = 0.1
) -> Selection:
    """Herding with u = 1 on the encoders' features alone; needs no model and no label."""
    embedding_ND = raw_embedding(view)
    kernel = Kernel(1.0, embedding_ND, bandwidth_of(embedding_ND, view, bandwidth_quantile))
    return herding(view, np.ones(len(view.sample_ids)), [kernel], query_size)

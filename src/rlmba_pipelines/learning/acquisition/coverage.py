"""Coverage: the first batch, before there is a model.

Concept  herding with u = 1: every sample of the pool counts the same, and the batch should resemble them all.
Source   MaxHerding, Bae et al. 2024 (arXiv 2407.12212).
Stated   greedy maximisation of the mean similarity to the nearest chosen sample, in a self-supervised embedding.
Chosen   the frozen features of all modalities side by side, each at the same length.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.batch import blocks, check_finite
from rlmba_pipelines.learning.selection.herding import herding
from rlmba_pipelines.learning.selection.kernels import Kernel, bandwidth_of
from rlmba_pipelines.learning.types import PoolView, Selection

BLOCK_ROWS = 4096  # rows whose lengths are measured at once


def present_of(view: PoolView) -> np.ndarray:
    """bool[N, M]: which modalities each sample has; all of them where the view does not say."""
    if view.present_NM is None:
        return np.ones((len(view.sample_ids), len(view.modalities)), dtype=bool)
    return view.present_NM


class UnitRows:
    """Blocks of a view side by side, rows of each at length ``scale``, made when they are asked for: no copy is kept.

    Args:
        parts: name -> (block [N, D] of float16 to float64, bool[N] whether a row is there, scale).

    Raises:
        ValueError: values of a row that is there are not finite; the samples are named.

    >>> view = PoolView(np.array(["a", "b"]), np.array([False, False]))
    >>> rows = UnitRows(view, {"x": (np.array([[3.0, 4.0], [np.nan, 1.0]]), np.array([True, False]), 10.0)})
    >>> rows[np.array([1, 0])].tolist()
    [[0.0, 0.0], [6.0, 8.0]]
    """

    def __init__(self, view: PoolView, parts: Mapping[str, tuple[np.ndarray, np.ndarray, float]]) -> None:
        self._parts = []
        for name, (block_ND, present_N, scale) in parts.items():
            norm_N = np.zeros(len(block_ND), dtype=np.float64)
            for part in blocks(len(block_ND), BLOCK_ROWS):
                norm_N[part] = _norms(block_ND[part], present_N[part])
            check_finite(norm_N, view, name)
            self._parts.append((block_ND, present_N, np.where(norm_N > 0, norm_N, 1.0), scale))

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """float32[len(rows), ΣD]."""
        made = []
        for block_ND, present_N, norm_N, scale in self._parts:
            points = np.where(present_N[rows, None], block_ND[rows], 0).astype(_at_least_float32(block_ND), copy=False)
            points /= norm_N[rows, None].astype(points.dtype)
            if scale != 1:
                points *= points.dtype.type(scale)
            made.append(points.astype(np.float32, copy=False))
        return made[0] if len(made) == 1 else np.concatenate(made, axis=1)


def _norms(block_BD: np.ndarray, present_B: np.ndarray) -> np.ndarray:
    points = np.where(present_B[:, None], block_BD, 0).astype(_at_least_float32(block_BD), copy=False)
    with np.errstate(over="ignore", invalid="ignore"):  # refused by the caller
        return np.sqrt(np.einsum("bd,bd->b", points, points))


def _at_least_float32(block_ND: np.ndarray) -> np.dtype:
    return np.result_type(block_ND.dtype, np.float32)


def fused_rows(view: PoolView) -> UnitRows:
    """The fused representation at length 1."""
    assert view.predictions is not None
    everyone = np.ones(len(view.sample_ids), dtype=bool)
    return UnitRows(view, {"embedding": (view.predictions.embedding_ND, everyone, 1.0)})


def raw_rows(view: PoolView) -> UnitRows:
    """The encoders' features side by side, each modality at length 1, so that none outweighs."""
    assert view.features is not None
    present_NM = present_of(view)
    parts = {
        f"features of {name!r}": (view.features[name], present_NM[:, m], 1.0) for m, name in enumerate(view.modalities)
    }
    return UnitRows(view, parts)


@register(
    "coverage",
    requires=("features",),
    cost="O(N² D)",
    reference="Bae et al. 2024, arXiv 2407.12212",
    idea="Ask for the batch that the rest of the pool most resembles.",
    formula="F(A) = Σ_x max_{a ∈ A ∪ L} k(x, a), k on raw features",
    when="The first batch, before there is a model.",
    deterministic=True,
    options_from={"bandwidth_quantile": "chosen: narrow, as there is no model yet"},
)
def coverage(
    view: PoolView, query_size: int, rng: np.random.Generator, *, bandwidth_quantile: float = 0.1
) -> Selection:
    """Herding with u = 1 on the encoders' features alone; needs no model and no label.

    Over 15,000 candidates, 14,000 drawn ones stand for all; below, the generator is never asked.
    """
    rows_ND = raw_rows(view)
    kernel = Kernel(1.0, rows_ND, bandwidth_of(rows_ND, view, bandwidth_quantile))
    return herding(view, np.ones(len(view.sample_ids)), [kernel], query_size, rng=rng)

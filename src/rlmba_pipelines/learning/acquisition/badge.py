"""BADGE: diverse and uncertain at once, by the gradients that the samples would give if the model were right.

Concept  k-means++ on g = (p − onehot(ŷ)) ⊗ z, the gradient of the loss in the last layer at the predicted class.
Source   Ash et al. 2020 (arXiv 1906.03671).
Stated   the embedding g, and D² sampling over the unlabeled.
Chosen   g_i · g_j = (a_i · a_j)(z_i · z_j), so the N × (C·D) gradients are never written out; z is the fused embedding.
         ``mode="rejection"`` (default) and ``"exact_stream"`` draw by the same law; see ``selection.kmeans_pp``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.batch import blocks
from rlmba_pipelines.learning.selection.kmeans_pp import kmeans_pp, kmeans_pp_rejection
from rlmba_pipelines.learning.types import PoolView, Predictions, Selection, UserError

MODES = ("rejection", "exact_stream")
BLOCK_ROWS = 256  # rows in memory as float64 at once; they stay in the cache


class Residuals:
    """float64[R, C]: p − onehot(ŷ) of the rows that are asked for; no copy of the probabilities is kept.

    >>> Residuals(np.array([[0.25, 0.75], [1.0, 0.0]]))[np.array([0])].tolist()
    [[0.25, -0.25]]
    """

    def __init__(self, probabilities_NC: np.ndarray) -> None:
        self._probabilities_NC = probabilities_NC
        self.likeliest_N = probabilities_NC.argmax(axis=1)

    def __len__(self) -> int:
        return len(self.likeliest_N)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        residual_RC = self._probabilities_NC[rows].astype(np.float64)
        residual_RC[np.arange(len(residual_RC)), self.likeliest_N[rows]] -= 1
        return residual_RC


@dataclass(frozen=True)
class OuterProducts:
    """Embeddings ``left_i ⊗ right_i`` known by their factors: float64[N, C] and float32 or float64[N, D].

    Attributes:
        left_NC: an array, or rows that are made when they are asked for.
        weight_NM: float64[N, M]; the right factor is M parts of equal width, each to be multiplied by its weight.
            What a part of weight 0 holds is never looked at. None = as it is.

    >>> two = OuterProducts(np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[3.0], [5.0]]))
    >>> two.squared_norm_N.tolist(), two.inner(0).tolist()    # (3, 6) and (0, 5)
    ([45.0, 25.0], [45.0, 30.0])
    >>> half = OuterProducts(np.ones((1, 1)), np.array([[4.0, np.nan]]), np.array([[0.5, 0.0]]))
    >>> half.factors(slice(0, 1))[1].tolist()
    [[2.0, 0.0]]
    """

    left_NC: np.ndarray | Residuals
    right_ND: np.ndarray
    weight_NM: np.ndarray | None = None

    @property
    def squared_norm_N(self) -> np.ndarray:
        """float64[N]; computed at every call."""
        parts = (self.factors(part) for part in blocks(len(self.left_NC), BLOCK_ROWS))
        return np.concatenate([np.einsum("nc,nc,n->n", a, a, np.einsum("nd,nd->n", z, z)) for a, z in parts])

    def inner(self, row: int) -> np.ndarray:
        """float64[N]: inner products of row ``row`` with every row."""
        left, right = (factor[0] for factor in self.factors(slice(row, row + 1)))
        parts = (self.factors(part) for part in blocks(len(self.left_NC), BLOCK_ROWS))
        return np.concatenate([(a @ left) * (z @ right) for a, z in parts])

    def factors(self, rows: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float64[R, C] and float64[R, D] of the rows asked for."""
        left = self.left_NC[rows]
        right = self.right_ND[rows].astype(np.float64)
        if self.weight_NM is not None:
            weight = self.weight_NM[rows][:, :, None]
            parts = right.reshape(*weight.shape[:2], -1)
            right = np.multiply(parts, weight, where=weight > 0, out=np.zeros_like(parts)).reshape(right.shape)
        return left, right


def gradient_embedding(predictions: Predictions) -> OuterProducts:
    """``(p − onehot(ŷ)) ⊗ z``, the last layer's gradient if the likeliest class were the label."""
    return OuterProducts(Residuals(predictions.probabilities_NC), predictions.embedding_ND)


def sample_gradients(
    view: PoolView,
    gradients: OuterProducts,
    query_size: int,
    rng: np.random.Generator,
    mode: str,
    reasons: Mapping[str, np.ndarray] | None = None,
) -> Selection:
    """D² sampling on ``gradients`` in one of the ``MODES``; ``gradient_norm`` is added to the reasons.

    Raises:
        UserError: there is no such mode.
    """
    if mode not in MODES:
        raise UserError(f"mode must be one of {', '.join(MODES)}, got {mode!r}.")
    squared_norm_N = gradients.squared_norm_N
    reasons = {"gradient_norm": np.sqrt(squared_norm_N), **(reasons or {})}
    if mode == "exact_stream":
        return kmeans_pp(view, squared_norm_N, gradients.inner, query_size, rng, reasons)
    return kmeans_pp_rejection(view, squared_norm_N, gradients.factors, query_size, rng, reasons)


@register(
    "badge",
    requires=("predictions",),
    cost="O(Q N (C + D)) at most; by rejection most of it is never computed",
    reference="Ash et al. 2020, arXiv 1906.03671",
    idea="Ask for samples whose gradients are large and point different ways.",
    formula="D² sampling on g = (p − onehot(ŷ)) ⊗ z",
    when="Medium and large batches once the model is better than guessing.",
    deterministic=False,
    options_from={"mode": "chosen: rejection has the same law as exact_stream and is faster"},
)
def badge(view: PoolView, query_size: int, rng: np.random.Generator, *, mode: str = "rejection") -> Selection:
    """k-means++ over gradient embeddings; utility is D² to the batch so far (‖g‖² for the first pick).

    Args:
        mode: ``rejection``, or ``exact_stream`` with one uniform a pick (slower; for comparisons pick for pick).
    """
    assert view.predictions is not None
    return sample_gradients(view, gradient_embedding(view.predictions), query_size, rng, mode)

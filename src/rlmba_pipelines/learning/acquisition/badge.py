"""BADGE: diverse and uncertain at once, by the gradients that the samples would give if the model were right.

Concept  k-means++ on g = (p − onehot(ŷ)) ⊗ z, the gradient of the loss in the last layer at the predicted class.
Source   Ash et al. 2020 (arXiv 1906.03671).
Stated   the embedding g, and D² sampling over the unlabeled.
Chosen   g_i · g_j = (a_i · a_j)(z_i · z_j), so the N × (C·D) gradients are never written out; z is the fused embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.selection.kmeans_pp import kmeans_pp
from rlmba_pipelines.learning.types import PoolView, Predictions, Selection


@dataclass(frozen=True)
class OuterProducts:
    """Embeddings ``left_i ⊗ right_i`` known by their factors: float64[N, C] and float64[N, D].

    >>> two = OuterProducts(np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[3.0], [5.0]]))
    >>> two.squared_norm_N.tolist(), two.inner(0).tolist()    # (3, 6) and (0, 5)
    ([45.0, 25.0], [45.0, 30.0])
    """

    left_NC: np.ndarray
    right_ND: np.ndarray

    @property
    def squared_norm_N(self) -> np.ndarray:
        return np.square(self.left_NC).sum(axis=1) * np.square(self.right_ND).sum(axis=1)

    def inner(self, row: int) -> np.ndarray:
        """float64[N]: inner products of row ``row`` with every row."""
        return (self.left_NC @ self.left_NC[row]) * (self.right_ND @ self.right_ND[row])


def gradient_embedding(predictions: Predictions) -> OuterProducts:
    """``(p − onehot(ŷ)) ⊗ z``, the last layer's gradient if the likeliest class were the label."""
    probabilities_NC = predictions.probabilities_NC
    residual_NC = probabilities_NC.astype(np.float64)
    residual_NC[np.arange(len(residual_NC)), probabilities_NC.argmax(axis=1)] -= 1
    return OuterProducts(residual_NC, predictions.embedding_ND.astype(np.float64))


@register(
    "badge",
    requires=("predictions",),
    cost="O(Q N (C + D))",
    reference="Ash et al. 2020, arXiv 1906.03671",
    idea="Ask for samples whose gradients are large and point different ways.",
    formula="D² sampling on g = (p − onehot(ŷ)) ⊗ z",
    when="Medium and large batches once the model is better than guessing.",
    deterministic=False,
)
def badge(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """k-means++ over gradient embeddings; utility is D² to the batch so far (‖g‖² for the first pick)."""
    assert view.predictions is not None
    gradients = gradient_embedding(view.predictions)
    reasons = {"gradient_norm": np.sqrt(gradients.squared_norm_N)}
    return kmeans_pp(view, gradients.squared_norm_N, gradients.inner, query_size, rng, reasons)

"""The linear softmax head that a model's probabilities and embeddings speak of; a view holds no network.

Concept  log p_c − mean_c log p_c = W z + b for a linear softmax head, so least squares on [z, 1] finds it.
Chosen   a ridge far below the scale of z; normal equations in float64, block by block, on at most 20,000 evenly spaced
         rows (by sample id). Exact where the model's head is linear softmax and its logits span less than ~27; for an
         average of several heads the closest in squares. ``r_squared`` says how close.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from rlmba_pipelines.learning.selection.batch import blocks

LEAST_PROBABILITY = 1e-12  # a probability of 0 has no logarithm
RIDGE = 1e-9  # of the mean square of a coordinate of z
MAX_ROWS = 20_000
BLOCK_ROWS = 2048

EmbeddingOf = Callable[[slice | np.ndarray], np.ndarray]
"""rows -> float64[R, D]."""


@dataclass(frozen=True)
class LinearHead:
    """``logits = z Wᵀ + b``, centred: they sum to 0 over the classes.

    Attributes:
        weight_CD: float64[C, D].
        bias_C: float64[C].
        r_squared: share of the centred log-probabilities' variation that the head explains, at most 1; 1 where there
            is none to explain.
    """

    weight_CD: np.ndarray
    bias_C: np.ndarray
    r_squared: float


def centered_logits(probabilities_NC: np.ndarray) -> np.ndarray:
    """float64[N, C]: log-probabilities less their mean over the classes.

    >>> centered_logits(np.array([[0.8, 0.2]])).round(3).tolist()
    [[0.693, -0.693]]
    """
    logits_NC = np.log(np.maximum(probabilities_NC.astype(np.float64), LEAST_PROBABILITY))
    logits_NC -= logits_NC.mean(axis=1, keepdims=True)
    return logits_NC


def fit_linear_head(embedding_of: EmbeddingOf, probabilities_NC: np.ndarray, max_rows: int = MAX_ROWS) -> LinearHead:
    """The head that best gives ``probabilities_NC`` from the embedding; memory O(D² + C D).

    Args:
        embedding_of: rows -> float64[R, D], finite.
        max_rows: beyond so many rows, as many evenly spaced ones speak for all.

    >>> z = np.array([[0.0], [1.0], [3.0]])
    >>> p = np.exp(z * [0.5, -0.5]); p /= p.sum(axis=1, keepdims=True)
    >>> head = fit_linear_head(lambda rows: z[rows], p)
    >>> head.weight_CD.round(6).tolist(), round(head.r_squared, 6)
    ([[0.5], [-0.5]], 1.0)
    """
    n_rows = len(probabilities_NC)
    rows = np.arange(n_rows)
    if n_rows > max_rows:
        rows = np.linspace(0, n_rows - 1, max_rows).astype(np.int64)
    parts = [rows[part] for part in blocks(len(rows), BLOCK_ROWS)]
    mean_D = sum(embedding_of(part).sum(axis=0) for part in parts) / len(rows)
    mean_C = sum(centered_logits(probabilities_NC[part]).sum(axis=0) for part in parts) / len(rows)
    gram_DD = np.zeros((len(mean_D), len(mean_D)))
    cross_DC = np.zeros((len(mean_D), len(mean_C)))
    variation = 0.0
    for part in parts:
        z, logits = embedding_of(part) - mean_D, centered_logits(probabilities_NC[part]) - mean_C
        gram_DD += z.T @ z
        cross_DC += z.T @ logits
        variation += float(np.square(logits).sum())
    scale = (np.trace(gram_DD) + len(rows) * np.square(mean_D).sum()) / len(mean_D)
    ridge_DD = gram_DD + (RIDGE * scale if scale > 0 else 1.0) * np.eye(len(mean_D))
    weight_DC = linalg.solve(ridge_DD, cross_DC, assume_a="pos")
    missed = variation - 2 * (weight_DC * cross_DC).sum() + (weight_DC * (gram_DD @ weight_DC)).sum()
    nothing = 1e-18 * len(rows) * max(1.0, float(np.square(mean_C).sum()))
    explained = 1 - missed / variation if variation > nothing else 1.0
    return LinearHead(weight_DC.T.copy(), mean_C - mean_D @ weight_DC, float(min(explained, 1.0)))

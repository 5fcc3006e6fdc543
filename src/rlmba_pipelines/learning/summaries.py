"""Summaries of pool, training and labels for the state of the decision process: scale-free, and blind to order.

Concept  the state of a policy: uncertainty and diversity of the pool, progress of training, labels by class.
Source   RL-MBA (arXiv 2603.25107) names them; their form was not readable.
Stated   summaries of uncertainty and diversity, slope of the training loss, gradient norm, labels per class.
Chosen   means and normalized entropies: none of them changes with the order, the number or the unit of what it sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rlmba_pipelines.learning.evidence import entropy
from rlmba_pipelines.learning.types import Predictions, Terms


def pool_summary(predictions: Predictions, terms: Terms, candidate_N: np.ndarray, labeled_N: np.ndarray) -> dict:
    """``doubt``, ``doubt_spread``, ``class_diversity``, ``novelty`` and ``modality_doubt`` of ``mdp.State``.

    All 0 without a candidate; ``novelty`` is 0 without a labeled sample, or where all embeddings are the same.

    Args:
        predictions, terms: of the same N samples, in the same order; terms hold ``margin`` and ``margin_<modality>``.
        candidate_N, labeled_N: bool[N], what may be bought and what the model was trained on.

    Raises:
        ValueError: the parts are of different samples.
    """
    if not np.array_equal(predictions.sample_ids, terms.sample_ids):
        raise ValueError("pool_summary: predictions and terms are of different samples")
    names = predictions.modalities
    if not candidate_N.any():
        return {"doubt": 0.0, "doubt_spread": 0.0, "class_diversity": 0.0, "novelty": 0.0,
                "modality_doubt": dict.fromkeys(names, 0.0)}
    doubt_U = terms["margin"][candidate_N]
    mean_C = predictions.probabilities_NC[candidate_N].mean(axis=0)
    modality_doubt = {}
    for column, name in enumerate(names):
        has_N = candidate_N & predictions.present_NM[:, column]
        modality_doubt[name] = float(terms[f"margin_{name}"][has_N].mean()) if has_N.any() else 0.0
    return {
        "doubt": float(doubt_U.mean()),
        "doubt_spread": float(doubt_U.std()),
        "class_diversity": float(entropy(mean_C) / np.log(len(mean_C))),
        "novelty": novelty(predictions.embedding_ND, candidate_N, labeled_N),
        "modality_doubt": modality_doubt,
    }


def novelty(embedding_ND: np.ndarray, candidate_N: np.ndarray, labeled_N: np.ndarray) -> float:
    """How far the candidates' mean lies from the mean of the labeled, in standard deviations of the candidates.

    >>> novelty(np.array([[0.0], [2.0], [4.0]]), np.array([True, True, False]), np.array([False, False, True]))
    3.0
    """
    if not (candidate_N.any() and labeled_N.any()):
        return 0.0
    candidates = embedding_ND[candidate_N]
    spread = np.sqrt(candidates.var(axis=0, dtype=np.float64).sum())
    apart = candidates.mean(axis=0, dtype=np.float64) - embedding_ND[labeled_N].mean(axis=0, dtype=np.float64)
    return float(np.linalg.norm(apart) / spread) if spread > 0 else 0.0


def training_summary(log: Mapping[str, object]) -> dict[str, float]:
    """``loss_slope`` and ``gradient_norm`` of ``mdp.State`` from the log of a training; 0 for what it does not tell.

    The slope is that of a straight line through the mean loss of the epochs, over all of them, as a share of the mean
    loss: neither the unit of the loss nor the number of epochs matters.

    >>> training_summary({"train_loss": [3.0, 2.0, 1.0], "gradient_norm": 3.0})
    {'loss_slope': -1.0, 'gradient_norm': 0.75}
    >>> training_summary({})
    {'loss_slope': 0.0, 'gradient_norm': 0.0}
    """
    losses = np.asarray(log.get("train_loss", ()), dtype=np.float64)
    slope = 0.0
    if len(losses) > 1 and np.isfinite(losses).all() and losses.mean() > 0:
        when = np.linspace(-0.5, 0.5, len(losses))
        slope = float((when @ losses) / (when @ when) / losses.mean())
    norm = float(log.get("gradient_norm", 0.0))  # type: ignore[arg-type]
    return {"loss_slope": slope, "gradient_norm": norm / (1 + norm) if np.isfinite(norm) else 1.0}


def label_entropy(counts_C: Sequence[int] | np.ndarray) -> float:
    """Entropy of the class shares / ln C, [0, 1]: 1 is as many labels of every class; 0 with one class or no label.

    >>> label_entropy([5, 5, 0, 0])
    0.5
    """
    counts = np.asarray(counts_C, dtype=np.float64)
    if len(counts) < 2 or counts.sum() <= 0:
        return 0.0
    return float(entropy(counts / counts.sum()) / np.log(len(counts)))

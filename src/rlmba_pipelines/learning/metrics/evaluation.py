"""All that is measured of a model on labeled samples, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rlmba_pipelines.learning.balance import shapley
from rlmba_pipelines.learning.metrics.calibration import expected_calibration_error
from rlmba_pipelines.learning.metrics.classification import (
    accuracy,
    accuracy_by_class,
    macro_accuracy,
    macro_f1,
    negative_log_likelihood,
)
from rlmba_pipelines.learning.metrics.fairness import imbalance, worst_decile, worst_modality
from rlmba_pipelines.learning.types import Labels, Predictions


def measure(predictions: Predictions, labels: Labels) -> dict[str, float]:
    """Metrics of the fused head, and the accuracy of every modality's own head.

    Args:
        predictions: of at least the labeled samples.
        labels: the truth; classes as in the predictions, and after them perhaps some that the model does not know:
            their samples count as wrong.

    Returns:
        ``accuracy``, ``macro_accuracy``, ``macro_f1``, ``nll`` (nats), ``ece``, ``worst_decile`` (of classes),
        ``accuracy_<modality>`` over the samples that have the modality (left out where none has: there is no such
        number), and ``worst_modality``, the least of those.
    """
    taken = predictions.take(labels.sample_ids)
    unknown = len(labels.classes) - taken.probabilities_NC.shape[1]
    p_NC, y = np.pad(taken.probabilities_NC, ((0, 0), (0, unknown))), labels.y
    metrics = {
        "accuracy": accuracy(p_NC, y),
        "macro_accuracy": macro_accuracy(p_NC, y),
        "macro_f1": macro_f1(p_NC, y),
        "nll": negative_log_likelihood(p_NC, y),
        "ece": expected_calibration_error(p_NC, y),
        "worst_decile": worst_decile(accuracy_by_class(p_NC, y)),
    }
    unimodal = {
        f"accuracy_{name}": accuracy(taken.unimodal_NMC[here_N, column], y[here_N])
        for column, name in enumerate(taken.modalities)
        if (here_N := taken.present_NM[:, column]).any()
    }
    return {**metrics, **unimodal, "worst_modality": worst_modality(np.array(list(unimodal.values())))}


def contributions(
    probabilities_of: Callable[[frozenset[str]], np.ndarray], labels: Labels, modalities: tuple[str, ...]
) -> dict[str, float]:
    """Shapley value of each modality in the fused accuracy, and their ``imbalance``.

    Args:
        probabilities_of: float64[N, C], the fused prediction of the labeled samples, in their order, with only these
            modalities seen; for the empty set (and samples with nothing left) the class frequencies: ``v(none)`` is the
            accuracy of the majority class.
        labels: the truth, of the validation split when it steers weights.

    Returns:
        ``shapley_<modality>`` (shares of accuracy, they sum to ``v(all) - v(none)``) and ``imbalance``.
    """

    def worth(subset: frozenset[str]) -> float:
        return accuracy(probabilities_of(subset), labels.y)

    phi_M = shapley(worth, modalities)
    return {**{f"shapley_{name}": float(phi) for name, phi in zip(modalities, phi_M, strict=True)},
            "imbalance": imbalance(phi_M)}

"""Measure a model: on validation (which steers weights, policy and stop rules) and on test (which steers nothing)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rlmba_pipelines.config import FusionConfig
from rlmba_pipelines.learning.balance import under_use
from rlmba_pipelines.learning.metrics.classification import accuracy
from rlmba_pipelines.learning.metrics.evaluation import contributions, measure
from rlmba_pipelines.learning.types import Features, Labels, RoundState, rows_of
from rlmba_pipelines.ledger import NOT_LABELS
from rlmba_pipelines.models.fit import fit_fusion
from rlmba_pipelines.models.predict import predict_fusion, subset_predictor
from rlmba_pipelines.models.state import FusionState
from rlmba_pipelines.simulation.tables import TRAINING, VALIDATION, labels_for


def held_labels(validation: pd.DataFrame, labels: pd.DataFrame, classes: tuple[str, ...]) -> Labels:
    """The labels of the validation split or, where there is none, of the slice that was bought for it."""
    held = validation if len(validation) else labels[labels["purpose"] == VALIDATION]
    return labels_for(held.assign(purpose=VALIDATION), classes, VALIDATION)


def classes_with_unknown(held: pd.DataFrame, classes: tuple[str, ...]) -> tuple[str, ...]:
    """``classes``, which the model knows, and after them those of held-out labels that nobody has told of.

    Without the samples of the latter a model that has met few classes would look good; they count as wrong.
    """
    return (*classes, *sorted(set(held["label"]) - set(classes) - set(NOT_LABELS)))


def measure_validation(
    model: FusionState,
    features: Features,
    validation: pd.DataFrame,
    labels: pd.DataFrame,
    fusion: FusionConfig,
    *,
    alone: RoundState | None = None,
) -> dict[str, float]:
    """``measure_on`` the validation split ``sample_id, label``, or on the random slice that was bought for it.

    Args:
        alone: the state of the round, if every modality is to be fitted alone too. Adds ``alone_<modality>`` (accuracy
            of that fit), ``under_use_<modality>`` (what it has over the head inside the fusion) and ``under_use``, the
            largest of those.
    """
    held = held_labels(validation, labels, classes_with_unknown(validation, model.classes))
    found = _measure(model, features, held, fusion)
    if alone is None or not found:
        return found
    training = labels_for(labels, model.classes, TRAINING)
    alone_by_name = accuracy_alone(features, training, held, fusion, seed=int(alone.rng("alone").integers(2**31)))
    both = [name for name in alone_by_name if f"accuracy_{name}" in found]
    gap_M = under_use(
        np.array([alone_by_name[name] for name in both]), np.array([found[f"accuracy_{name}"] for name in both])
    )
    gaps = {f"under_use_{name}": float(gap) for name, gap in zip(both, gap_M, strict=True)}
    worst = {"under_use": max(gaps.values())} if gaps else {}
    return {**found, **{f"alone_{name}": value for name, value in alone_by_name.items()}, **gaps, **worst}


def measure_on(model: FusionState, features: Features, held: pd.DataFrame, fusion: FusionConfig) -> dict[str, float]:
    """Accuracy, macro-F1, NLL, ECE, accuracy of each modality's head, Shapley values and imbalance; {} without labels.

    Args:
        held: ``sample_id, label``; those of classes that the model has not met count as wrong (``n_unknown``).
    """
    classes = classes_with_unknown(held, model.classes)
    return _measure(model, features, labels_for(held.assign(purpose=VALIDATION), classes, VALIDATION), fusion)


def _measure(model: FusionState, features: Features, held: Labels, fusion: FusionConfig) -> dict[str, float]:
    if not len(held):
        return {}
    held_features = features.take(held.sample_ids)
    predictions = predict_fusion(model, held_features, fusion)
    found, of_subset = measure(predictions, held), subset_predictor(model, held_features, fusion)

    def probabilities_of(subset: frozenset[str]) -> np.ndarray:
        return predictions.probabilities_NC if len(subset) == len(features.modalities) else of_subset(subset)

    return {
        **found,
        **contributions(probabilities_of, held, features.modalities),
        "n_classes": len(model.classes),
        "n_unknown": int((held.y >= len(model.classes)).sum()),
        "n": len(held),
        "n_correct": round(found["accuracy"] * len(held)),
    }


def accuracy_alone(
    features: Features, training: Labels, held: Labels, fusion: FusionConfig, *, seed: int
) -> dict[str, float]:
    """Modality -> accuracy of a network that was fitted on that modality alone, over the samples that have it.

    A modality without a sample to train on, or to measure on, is left out.
    """
    found = {}
    for name in features.modalities:
        one = _one_modality(features, name)
        train, test = (_labels_among(labels, one.sample_ids) for labels in (training, held))
        if len(train) and len(test):
            known = _labels_among(test, test.sample_ids[test.y < len(training.classes)])
            model = fit_fusion(one, train, fusion, seed=seed, validation=known)
            found[name] = accuracy(predict_fusion(model, one.take(test.sample_ids), fusion).probabilities_NC, test.y)
    return found


def _one_modality(features: Features, name: str) -> Features:
    """The samples that have the modality, and nothing else of them."""
    here_N = features.present_NM[:, features.modalities.index(name)]
    present_N1 = np.ones((int(here_N.sum()), 1), dtype=bool)
    return Features(features.sample_ids[here_N], {name: features.blocks[name][here_N]}, present_N1)


def _labels_among(labels: Labels, sample_ids: np.ndarray) -> Labels:
    kept = labels.sample_ids[np.isin(labels.sample_ids, sample_ids)]
    return Labels(kept, labels.y[rows_of(labels.sample_ids, kept)], labels.classes)

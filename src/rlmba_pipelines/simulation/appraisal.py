"""Appraise the pool: predictions, evidence and terms, and how difficult the model finds what it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from rlmba_pipelines.config import BalanceConfig, DifficultyConfig, EvidenceConfig, FusionConfig
from rlmba_pipelines.learning.calibration import fit_temperature, log_probabilities
from rlmba_pipelines.learning.difficulty import Difficulty, fit_difficulty, folds_of
from rlmba_pipelines.learning.evidence import evidence_of, terms_of
from rlmba_pipelines.learning.types import Evidence, Features, Labels, Predictions, RoundState, Terms
from rlmba_pipelines.models.fit import fit_fusion
from rlmba_pipelines.models.predict import predict_fusion
from rlmba_pipelines.models.state import FusionState
from rlmba_pipelines.simulation.measurement import held_labels
from rlmba_pipelines.simulation.tables import TRAINING, labels_for


@dataclass(frozen=True)
class Appraisal:
    """What a model says about the pool.

    Attributes:
        difficulty: how good the learned difficulty is, see ``learning.difficulty.Difficulty.quality``; {} where it was
            not asked for.
    """

    predictions: Predictions
    evidence: Evidence
    terms: Terms
    difficulty: Mapping[str, float] = field(default_factory=dict)


def appraise(
    model: FusionState,
    features: Features,
    pool_ids: np.ndarray,
    labels: pd.DataFrame,
    validation: pd.DataFrame,
    state: RoundState,
    fusion: FusionConfig,
    evidence: EvidenceConfig,
    difficulty: DifficultyConfig,
    balance: BalanceConfig,
) -> Appraisal:
    """What the model says about the pool, how sure it is, and what that is worth in terms.

    Args:
        features: of the pool and of the samples of ``validation``.
        pool_ids: what the round looks at, see ``tables.looked_at_ids``.
        labels: everything bought; difficulty is learned from it, by refits without a fold at a time.
        validation: ``sample_id, label`` of the validation split; looked at by the source ``temperature`` alone, which
            takes the slice that was bought for validation where there is no split.
    """
    predictions = predict_fusion(model, features.take(pool_ids), fusion)
    held = held_labels(validation, labels, model.classes)
    temperature_M = _temperatures(model, features, held, fusion) if evidence.source == "temperature" else np.ones(1)
    weights_M = state.weights_M if balance.enter_evidence else None

    def opinions_of(said: Predictions) -> tuple[Evidence, Terms]:
        found = evidence_of(
            said, source=evidence.source, rule=evidence.rule, weights_M=weights_M, temperature=temperature_M
        )
        return found, terms_of(found, said, evidence.modality_terms)

    opinions, terms = opinions_of(predictions)
    quality: Mapping[str, float] = {}
    if difficulty.enabled:
        bought = labels_for(labels, model.classes, TRAINING)
        learned = Difficulty(quality={"labels": float(len(bought)), "fitted": 0.0})
        if len(bought) >= difficulty.min_labels:
            fold_N = folds_of(bought.y, difficulty.folds, state.rng("folds"))
            refits = _refits(features, bought, held, fold_N, state, fusion, balance)
            unseen, wrong_N = _out_of_fold(bought, fold_N, {k: (p, opinions_of(p)[1]) for k, p in refits.items()})
            learned = fit_difficulty(
                unseen,
                wrong_N,
                fold_N,
                ridge=difficulty.ridge,
                min_labels=difficulty.min_labels,
                min_errors=difficulty.min_errors,
            )
        terms, quality = Terms(terms.sample_ids, {**terms.columns, "difficulty": learned.of(terms)}), learned.quality
    # draws are most of what a round writes: those of single modalities are in the evidence now, and float32 logits
    # are behind the others
    kept = replace(
        predictions,
        draws_NKC=predictions.draws_NKC.astype(np.float32),
        unimodal_draws_NMKC=predictions.unimodal_draws_NMKC[:, :, :0],
    )
    return Appraisal(kept, opinions, terms, quality)


def _temperatures(model: FusionState, features: Features, held: Labels, fusion: FusionConfig) -> np.ndarray:
    """float64[M]: the temperature of each modality's head; 1 where no sample has both a label and the modality."""
    temperature_M = np.ones(len(features.modalities))
    if not len(held):
        return temperature_M
    said = predict_fusion(model, features.take(held.sample_ids), fusion)
    for m in range(len(temperature_M)):
        here_N = said.present_NM[:, m]
        if here_N.any():
            temperature_M[m] = fit_temperature(log_probabilities(said.unimodal_NMC[here_N, m]), held.y[here_N])
    return temperature_M


def _refits(
    features: Features,
    bought: Labels,
    held: Labels,
    fold_N: np.ndarray,
    state: RoundState,
    fusion: FusionConfig,
    balance: BalanceConfig,
) -> dict[int, Predictions]:
    """Fold -> what a network that was fitted on the other folds says about it."""
    found = {}
    draw = state.rng("refits")
    weights_M = state.weights_M if balance.enter_fusion else None
    for fold in np.unique(fold_N).tolist():
        rest_N = fold_N != fold
        rest = Labels(bought.sample_ids[rest_N], bought.y[rest_N], bought.classes)
        model = fit_fusion(
            features, rest, fusion, seed=int(draw.integers(2**31)), weights_M=weights_M, validation=held
        )
        found[fold] = predict_fusion(model, features.take(bought.sample_ids[~rest_N]), fusion)
    return found


def _out_of_fold(
    bought: Labels, fold_N: np.ndarray, said: Mapping[int, tuple[Predictions, Terms]]
) -> tuple[Terms, np.ndarray]:
    """Terms of every bought sample from the model that did not see it, and whether that model was wrong."""
    wrong_N = np.zeros(len(bought), dtype=bool)
    columns: dict[str, np.ndarray] = {}
    for fold, (predictions, terms) in said.items():
        here_N = fold_N == fold
        wrong_N[here_N] = predictions.probabilities_NC.argmax(axis=1) != bought.y[here_N]
        for name, column in terms.columns.items():
            columns.setdefault(name, np.zeros(len(bought)))[here_N] = column
    return Terms(bought.sample_ids, columns), wrong_N

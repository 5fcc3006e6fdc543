"""Dirichlet evidence of the pool, and the terms that say what a label would be worth."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rlmba_pipelines.config import BalanceConfig, DifficultyConfig, EvidenceConfig, FusionConfig, RoundsConfig
from rlmba_pipelines.learning.types import Evidence, Features, Predictions
from rlmba_pipelines.models.state import FusionState, PackedModel
from rlmba_pipelines.simulation import tables
from rlmba_pipelines.simulation.appraisal import appraise


def score_evidence(
    model: PackedModel,
    features: Features,
    samples: pd.DataFrame,
    labels: pd.DataFrame,
    validation_labels: pd.DataFrame,
    round_state: dict[str, Any],
    fusion: FusionConfig,
    evidence: EvidenceConfig,
    difficulty: DifficultyConfig,
    balance: BalanceConfig,
    rounds: RoundsConfig,
) -> tuple[Predictions, Evidence, pd.DataFrame, dict[str, float]]:
    """Predictions, evidence and terms of what the round looks at of the pool; how good a learned difficulty is."""
    state = tables.state_from_dict(round_state)
    seen = appraise(
        FusionState.unpack(model),
        features,
        tables.looked_at_ids(tables.pool_ids(samples), labels, rounds.candidates, state.rng("candidates")),
        labels,
        validation_labels,
        state,
        fusion,
        evidence,
        difficulty,
        balance,
    )
    return seen.predictions, seen.evidence, tables.terms_to_frame(seen.terms), dict(seen.difficulty)

"""Dirichlet evidence of the pool, and the terms that say what a label would be worth."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rlmba_pipelines.config import EvidenceConfig, FusionConfig
from rlmba_pipelines.learning.types import Evidence, Features, Predictions
from rlmba_pipelines.models.state import FusionState, PackedModel
from rlmba_pipelines.simulation import steps, tables


def score_evidence(
    model: PackedModel,
    features: Features,
    samples: pd.DataFrame,
    round_state: dict[str, Any],
    fusion: FusionConfig,
    evidence: EvidenceConfig,
) -> tuple[Predictions, Evidence, pd.DataFrame]:
    """Predictions, evidence and terms of every sample of the pool."""
    predictions, opinions, terms = steps.appraise(
        FusionState.unpack(model),
        features.take(tables.pool_ids(samples)),
        tables.state_from_dict(round_state),
        fusion,
        evidence,
    )
    return predictions, opinions, tables.terms_to_frame(terms)

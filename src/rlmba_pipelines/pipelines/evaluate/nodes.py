"""Measure: validation feeds weights, policy and stop rules; test is read here and nowhere else."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rlmba_pipelines.config import BalanceConfig, FusionConfig
from rlmba_pipelines.learning.types import Features
from rlmba_pipelines.models.state import FusionState, PackedModel
from rlmba_pipelines.simulation import measurement, tables


def measure_validation(
    model: PackedModel,
    features: Features,
    validation_labels: pd.DataFrame,
    labels: pd.DataFrame,
    round_state: dict[str, Any],
    fusion: FusionConfig,
    balance: BalanceConfig,
) -> dict[str, Any]:
    """On the validation split, or on the random slice that was bought for it."""
    alone = tables.state_from_dict(round_state) if balance.fits_alone else None
    return measurement.measure_validation(
        FusionState.unpack(model), features, validation_labels, labels, fusion, alone=alone
    )


def measure_test(
    model: PackedModel, features: Features, test_labels: pd.DataFrame, fusion: FusionConfig
) -> dict[str, Any]:
    """On the test split; empty where there is none."""
    return measurement.measure_on(FusionState.unpack(model), features, test_labels, fusion)

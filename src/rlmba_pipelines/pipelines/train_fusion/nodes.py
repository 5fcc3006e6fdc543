"""Train the fusion network on every label bought so far."""

from __future__ import annotations

from typing import Any

import pandas as pd

from rlmba_pipelines.config import BalanceConfig, FusionConfig
from rlmba_pipelines.learning.types import Features
from rlmba_pipelines.models.state import PackedModel
from rlmba_pipelines.simulation import steps, tables


def train_fusion(
    features: Features,
    labels: pd.DataFrame,
    validation_labels: pd.DataFrame,
    round_state: dict[str, Any],
    setup: dict[str, Any],
    samples: pd.DataFrame,
    fusion: FusionConfig,
    balance: BalanceConfig,
) -> tuple[PackedModel, dict[str, Any]]:
    """The model of this round, and the log of its training."""
    classes = tables.known_classes(setup["classes"], labels)
    state = tables.state_from_dict(round_state)
    model = steps.learn(
        features, labels, validation_labels, classes, state, fusion, tables.pool_ids(samples),
        weigh=balance.enter_fusion,
    )
    return model.pack(), dict(model.log)

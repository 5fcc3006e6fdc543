"""Teach the base model what was bought so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.pipeline import Pipeline, node

from rlmba_pipelines.config import IngestConfig, VlmConfig
from rlmba_pipelines.models.state import PackedModel
from rlmba_pipelines.models.vlm.state import load_base, pack_vlm
from rlmba_pipelines.pipelines.vlm_ingest.nodes import reader
from rlmba_pipelines.simulation import questions, tables


def train_vlm(
    base: Path,
    samples: pd.DataFrame,
    manifest: Path,
    labels: pd.DataFrame,
    setup: dict[str, Any],
    round_state: dict[str, Any],
    unfinished: Path,
    ingest: IngestConfig,
    vlm: VlmConfig,
) -> tuple[PackedModel, dict[str, Any]]:
    """The round's model and the log of its training, which goes on from ``unfinished`` where it was killed."""
    classes = tables.known_classes(setup["classes"], labels)
    bought = questions.training_questions(samples, labels, classes, reader(manifest, ingest))
    state = tables.state_from_dict(round_state)
    model, log = questions.teach(load_base(base, vlm), bought, state, vlm, unfinished)
    return pack_vlm(model, classes), log


def create_pipeline() -> Pipeline:
    data = ["base", "samples", "manifest", "labels", "setup", "round_state", "unfinished_training"]
    inputs = [*data, "params:ingest", "params:vlm"]
    return Pipeline([node(train_vlm, inputs, ["model", "training_log"], name="train_vlm")])

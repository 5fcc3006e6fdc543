"""Measure the model: validation feeds policy and stop rules; test is read here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.pipeline import Pipeline, node

from rlmba_pipelines.config import IngestConfig, VlmConfig
from rlmba_pipelines.models.state import PackedModel
from rlmba_pipelines.models.vlm.state import load_base, unpack_vlm
from rlmba_pipelines.pipelines.vlm_ingest.nodes import reader
from rlmba_pipelines.simulation import questions, tables
from rlmba_pipelines.simulation.question_measures import measure_questions


def measure_validation(
    base: Path,
    model: PackedModel,
    samples: pd.DataFrame,
    manifest: Path,
    validation_labels: pd.DataFrame,
    labels: pd.DataFrame,
    ingest: IngestConfig,
    vlm: VlmConfig,
) -> dict[str, Any]:
    """On the validation split, or on the random slice that was bought for it; with Shapley values."""
    return _measured(base, model, samples, manifest, validation_labels, labels, ingest, vlm)


def measure_test(
    base: Path,
    model: PackedModel,
    samples: pd.DataFrame,
    manifest: Path,
    test_labels: pd.DataFrame,
    ingest: IngestConfig,
    vlm: VlmConfig,
) -> dict[str, Any]:
    """On the test split; empty where there is none."""
    nothing = tables.empty_labels()
    return _measured(base, model, samples, manifest, test_labels, nothing, ingest, vlm)


def _measured(
    base: Path,
    model: PackedModel,
    samples: pd.DataFrame,
    manifest: Path,
    held_out: pd.DataFrame,
    labels: pd.DataFrame,
    ingest: IngestConfig,
    vlm: VlmConfig,
) -> dict[str, Any]:
    taught, classes = unpack_vlm(model, load_base(base, vlm))
    asked, held, facts = questions.held_questions(samples, held_out, labels, classes, reader(manifest, ingest))
    return measure_questions(taught, classes, asked, held, facts, vlm, by_modality=True)


def create_pipeline() -> Pipeline:
    of_model, configured = ["base", "model", "samples", "manifest"], ["params:ingest", "params:vlm"]
    return Pipeline(
        [
            node(
                measure_validation,
                [*of_model, "validation_labels", "labels", *configured],
                "validation_metrics",
                name="measure_validation",
            ),
            node(measure_test, [*of_model, "test_labels", *configured], "test_metrics", name="measure_test"),
        ]
    )

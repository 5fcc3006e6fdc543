"""Once an experiment: the questions, the base model, and what it makes of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlmba_pipelines.config import EncodersConfig, IngestConfig, LabelingConfig, VlmConfig
from rlmba_pipelines.learning.types import Features, UserError
from rlmba_pipelines.models.vlm.state import base_folder, load_base
from rlmba_pipelines.pipelines.ingest.nodes import check_samples, media_root
from rlmba_pipelines.simulation import questions


def reader(manifest: Path, ingest: IngestConfig) -> questions.Read:
    """Gives the bytes of an image by its reference."""
    return partial(media_root(manifest, ingest).read, max_bytes=ingest.caps.max_bytes)


def check_questions(
    manifest: Path, feature_cache: Path, ingest: IngestConfig, encoders: EncodersConfig, labeling: LabelingConfig
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As ``check_samples``; a question without its image is set aside."""
    return check_samples(manifest, feature_cache, ingest, encoders, labeling, whole=True)


def make_base(vlm: VlmConfig, vlm_cache: Path) -> Path:
    """The folder of the base model that every round starts from."""
    return base_folder(vlm, vlm_cache)


def encode_questions(
    base: Path, samples: pd.DataFrame, setup: dict[str, Any], manifest: Path, ingest: IngestConfig, vlm: VlmConfig
) -> Features:
    """Hidden states of the base model over image and over question.

    Raises:
        UserError: a sample has no image or no question.
    """
    if setup["modalities"] != list(questions.MODALITIES):
        raise UserError(f"Visual questions have image and text; this manifest has {', '.join(setup['modalities'])}.")
    ids = np.sort(samples["sample_id"].to_numpy(dtype=str))
    for name in questions.MODALITIES:
        missing = samples.loc[samples[name] == "", "sample_id"]
        if len(missing):
            raise UserError(f"The question {missing.iloc[0]!r} has no {name}; give it one, or drop its row.")
    asked = questions.questions_of(samples, ids, reader(manifest, ingest))
    return questions.encode_questions(load_base(base, vlm), asked, vlm, f"{vlm.model} {base.name}")

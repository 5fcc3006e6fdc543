"""Ingest: what samples there are, which of them can be read, and how they are divided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from rlmba_pipelines.config import EncodersConfig, IngestConfig, LabelingConfig, RoundsConfig
from rlmba_pipelines.encoders.extract import decoders
from rlmba_pipelines.engines.local import map_shards
from rlmba_pipelines.sources.check import check_media
from rlmba_pipelines.sources.media import MediaRoot, folder_of_media
from rlmba_pipelines.sources.public import read_samples
from rlmba_pipelines.sources.roster import divide
from rlmba_pipelines.sources.splits import assign_splits


def media_root(manifest: Path, ingest: IngestConfig) -> MediaRoot:
    """Where the media of a manifest lie."""
    return MediaRoot(folder_of_media(manifest, ingest.media_root))


def check_samples(
    manifest: Path,
    feature_cache: Path,
    ingest: IngestConfig,
    encoders: EncodersConfig,
    labeling: LabelingConfig,
    *,
    whole: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the manifest and decode every medium once; unreadable ones are set aside with their reason.

    Args:
        whole: whether a sample is set aside with its first bad medium, as a question without its image is none.
    """
    prices = {str(name): price for name, price in labeling.prices.items()}
    return check_media(
        read_samples(manifest, ingest, prices),
        media_root(manifest, ingest),
        decoders(encoders, ingest.caps),
        caps=ingest.caps,
        max_bad_share=ingest.max_bad_media,
        workers=ingest.workers,
        map_shards=map_shards,
        whole=whole,
        remember=feature_cache / "checked",
    )


def divide_samples(
    readable: pd.DataFrame, ingest: IngestConfig, rounds: RoundsConfig
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Split by group; from here on the labels of the pool are behind a door."""
    split = assign_splits(
        readable, validation_share=ingest.validation_share, test_share=ingest.test_share, seed=ingest.split_seed
    )
    roster = divide(readable.assign(split=split), rounds)
    held = (roster.validation_labels, roster.test_labels)
    return roster.samples, *held, roster.hidden_labels, roster.given_labels, roster.setup

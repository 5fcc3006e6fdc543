"""Readers of the user's own manifest and of the media it names."""

from rlmba_pipelines.sources.check import check_media
from rlmba_pipelines.sources.manifest import MODALITIES, read_manifest
from rlmba_pipelines.sources.media import MediaError, MediaRoot, read_medium
from rlmba_pipelines.sources.splits import assign_splits

__all__ = ["MODALITIES", "MediaError", "MediaRoot", "assign_splits", "check_media", "read_manifest", "read_medium"]

"""Pipeline ``feature_extraction``."""

from rlmba_pipelines.pipelines.feature_extraction.pipeline import create_pipeline

__all__ = ["create_pipeline"]

"""Pipeline ``evaluate``."""

from rlmba_pipelines.pipelines.evaluate.pipeline import create_pipeline

__all__ = ["create_pipeline"]

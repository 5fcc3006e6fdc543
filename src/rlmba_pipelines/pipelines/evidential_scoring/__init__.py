"""Pipeline ``evidential_scoring``."""

from rlmba_pipelines.pipelines.evidential_scoring.pipeline import create_pipeline

__all__ = ["create_pipeline"]

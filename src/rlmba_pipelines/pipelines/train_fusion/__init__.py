"""Pipeline ``train_fusion``."""

from rlmba_pipelines.pipelines.train_fusion.pipeline import create_pipeline

__all__ = ["create_pipeline"]

"""Pipeline ``policy_selection``."""

from rlmba_pipelines.pipelines.policy_selection.pipeline import create_pipeline, create_start

__all__ = ["create_pipeline", "create_start"]

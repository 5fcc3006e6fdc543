"""Once an experiment, before the rounds."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Pipeline, node

from rlmba_pipelines.pipelines.ingest.nodes import check_samples, divide_samples


def create_pipeline(check: Callable[..., Any] = check_samples) -> Pipeline:
    """``check``: in place of ``check_samples``."""
    return Pipeline(
        [
            node(
                check,
                ["manifest", "feature_cache", "params:ingest", "params:encoders", "params:labeling"],
                ["readable", "quarantine"],
                name="check_samples",
            ),
            node(
                divide_samples,
                ["readable", "params:ingest", "params:rounds"],
                ["samples", "validation_labels", "test_labels", "answers", "given_labels", "setup"],
                name="divide_samples",
            ),
        ]
    )

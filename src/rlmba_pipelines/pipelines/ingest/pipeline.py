"""Once an experiment, before the rounds."""

from kedro.pipeline import Pipeline, node

from rlmba_pipelines.pipelines.ingest.nodes import check_samples, divide_samples


def create_pipeline() -> Pipeline:
    return Pipeline(
        [
            node(
                check_samples,
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

"""Accuracy, calibration and balance of this round's model."""

from kedro.pipeline import Pipeline, node

from rlmba_pipelines.pipelines.evaluate.nodes import measure_test, measure_validation


def create_pipeline() -> Pipeline:
    return Pipeline(
        [
            node(
                measure_validation,
                [
                    "model",
                    "features",
                    "validation_labels",
                    "labels",
                    "round_state",
                    "params:fusion",
                    "params:balance",
                ],
                "validation_metrics",
                name="measure_validation",
            ),
            node(
                measure_test, ["model", "features", "test_labels", "params:fusion"], "test_metrics", name="measure_test"
            ),
        ]
    )

"""First step of a round."""

from kedro.pipeline import Pipeline, node

from rlmba_pipelines.pipelines.train_fusion.nodes import train_fusion


def create_pipeline() -> Pipeline:
    return Pipeline(
        [
            node(
                train_fusion,
                [
                    "features", "labels", "validation_labels", "round_state", "setup", "samples", "params:fusion",
                    "params:balance",
                ],
                ["model", "training_log"],
                name="train_fusion",
            ),
        ]
    )

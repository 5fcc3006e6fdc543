"""What the model of this round knows, and does not know, about the pool."""

from kedro.pipeline import Pipeline, node

from rlmba_pipelines.pipelines.evidential_scoring.nodes import score_evidence


def create_pipeline() -> Pipeline:
    return Pipeline(
        [
            node(
                score_evidence,
                [
                    "model",
                    "features",
                    "samples",
                    "labels",
                    "validation_labels",
                    "round_state",
                    "params:fusion",
                    "params:evidence",
                    "params:difficulty",
                    "params:balance",
                    "params:rounds",
                ],
                ["predictions", "evidence", "terms", "difficulty_quality"],
                name="score_evidence",
            ),
        ]
    )

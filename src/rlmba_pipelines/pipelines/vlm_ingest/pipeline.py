"""Once an experiment, before the rounds of Active-VLM."""

from kedro.pipeline import Pipeline, node

from rlmba_pipelines.pipelines import ingest
from rlmba_pipelines.pipelines.vlm_ingest.nodes import check_questions, encode_questions, make_base


def create_pipeline() -> Pipeline:
    return ingest.create_pipeline(check_questions) + Pipeline(
        [
            node(make_base, ["params:vlm", "vlm_cache"], "base", name="make_base"),
            node(
                encode_questions,
                ["base", "samples", "setup", "manifest", "params:ingest", "params:vlm"],
                "features",
                name="encode_questions",
            ),
        ]
    )

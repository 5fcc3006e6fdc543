"""Every pipeline by name: the six steps (of the open round), ``round_NN``, ``final``, ``report``, and the whole."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from rlmba_pipelines.benchmark import pipeline as benchmark
from rlmba_pipelines.pipelines import feature_extraction, ingest
from rlmba_pipelines.rounds.current import current
from rlmba_pipelines.rounds.unroll import (
    STEPS,
    build_final,
    build_report,
    build_round,
    stage_name,
    step_of_round,
    unroll,
)


def register_pipelines() -> dict[str, Pipeline]:
    """The registry; see ``rounds/current.py`` for what decides the number of rounds."""
    rounds, open_round = current.registered_rounds(), current.open_round()
    return {
        "ingest": ingest.create_pipeline(),
        "feature_extraction": feature_extraction.create_pipeline(),
        **{step: step_of_round(step, open_round) for step in STEPS},
        **{stage_name(k): build_round(k) for k in range(rounds + 1)},
        "final": build_final(rounds),
        "report": build_report(rounds),
        "benchmark": benchmark.create_pipeline(),
        "__default__": unroll(rounds),
    }

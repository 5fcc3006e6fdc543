"""Where an experiment stands when it could buy on: what its committed rounds measured on validation."""

from __future__ import annotations

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.reporting.outlook import Outlook
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.progress import bought_so_far, is_closed, n_training_labels, read_json
from rlmba_pipelines.rounds.unroll import FINAL, stage_name
from rlmba_pipelines.simulation.budget import outlook_of


def outlook(experiment: Experiment, parameters: Parameters) -> Outlook:
    """What committed rounds measured, and what the next one may buy under these parameters."""
    stages = [stage_name(k) for k in range(1, experiment.rounds_done() + 1)]
    measured = []
    for stage in [*stages, FINAL] if is_closed(experiment) else stages:
        found = read_json(experiment, stage, "validation_metrics")
        if found:
            measured.append((n_training_labels(experiment, stage), float(found["accuracy"]), int(found["n"])))
    return outlook_of(measured, *bought_so_far(experiment), parameters.rounds, parameters.labeling)

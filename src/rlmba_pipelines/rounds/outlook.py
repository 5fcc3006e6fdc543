"""Where an experiment stands when it could buy on: its learning curve on validation, and the size of the next batch."""

from __future__ import annotations

from rlmba_pipelines.config import RoundsConfig
from rlmba_pipelines.reporting.outlook import Outlook
from rlmba_pipelines.rounds.commits import Experiment, read_object
from rlmba_pipelines.rounds.driver import is_closed, n_training_labels, read_json, read_table
from rlmba_pipelines.rounds.unroll import FINAL, stage_name
from rlmba_pipelines.simulation.steps import affordable, batch_size
from rlmba_pipelines.simulation.tables import spent


def outlook_of(experiment: Experiment, rounds: RoundsConfig) -> Outlook:
    """What committed rounds measured on validation, and what the next one may buy under these parameters."""
    done = experiment.rounds_done()
    points = []
    for stage in [stage_name(k) for k in range(1, done + 1)] + ([FINAL] if is_closed(experiment) else []):
        validation = read_json(experiment, stage, "validation_metrics")
        if validation:
            points.append((n_training_labels(experiment, stage), validation["accuracy"], int(validation["n"])))
    setup = read_object(experiment.folder / "setup.json")
    labels = read_table(experiment.path_of(stage_name(done), "labels_next"))
    n_paid, paid = spent(labels, setup["n_validation"]), float(labels["cost"].sum())
    size = affordable(batch_size(rounds.query_size, setup["n_pool"]), n_paid, rounds)
    return Outlook(
        labels=[n for n, _, _ in points],
        accuracies=[accuracy for _, accuracy, _ in points],
        n_validation=[n for _, _, n in points],
        labels_spent=n_paid,
        next_labels=min(size, setup["n_pool"] - len(labels)),
        paid=paid,
        price=paid / len(labels),
    )

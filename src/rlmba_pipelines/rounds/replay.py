"""A prepared experiment as a task in memory: for benchmarks, notebooks and the proof that both ways are one."""

from __future__ import annotations

from rlmba_pipelines.datasets import FeaturesDataset
from rlmba_pipelines.labeling import SimulatedOracle
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.commits import PREPARED, Experiment, read_object, read_table
from rlmba_pipelines.rounds.parameters import asked_for
from rlmba_pipelines.simulation.round import Task


def task_of(experiment: Experiment) -> tuple[Task, SimulatedOracle]:
    """What ingest and feature extraction of ``experiment`` made, with the parameters it was asked for.

    Raises:
        UserError: the experiment is not prepared, or people answer it, so that no label is known in advance.
    """
    if not experiment.is_done(PREPARED):
        raise UserError(f"Experiment {experiment.name!r} has no samples yet; run 'kedro rounds run' first.")
    setup = read_object(experiment.folder / "setup.json")
    if setup["annotator"] != "simulated":
        raise UserError(f"Experiment {experiment.name!r} is labeled by people; only simulated ones can be replayed.")
    hidden = read_table(experiment.folder / "hidden_labels.parquet")
    features = experiment.folder.parents[1] / "04_feature" / experiment.name / "features"
    task = Task(
        FeaturesDataset(filepath=str(features)).load(),
        read_table(experiment.folder / "samples.parquet"),
        read_table(experiment.folder / "validation_labels.parquet"),
        read_table(experiment.folder / "test_labels.parquet"),
        tuple(setup["classes"]),
        asked_for(experiment),
    )
    return task, SimulatedOracle(lambda ids: hidden[hidden["sample_id"].isin(ids)])

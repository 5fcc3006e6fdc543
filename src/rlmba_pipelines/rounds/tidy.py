"""What killed runs leave behind: temporaries, swept when a run begins, and attempts, which people prune."""

from __future__ import annotations

from dataclasses import dataclass

from rlmba_pipelines import disk
from rlmba_pipelines.disk import STALE_SECONDS, TEMPORARY_PREFIX
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.lock import locked


def sweep(experiment: Experiment) -> None:
    """Remove what killed commands left of an experiment; the caller holds its lock, so nobody is writing it.

    Beside the experiments' folders others may be at work: there only what is old goes.
    """
    for folder in experiment.layer_folders:
        disk.sweep(folder)
        for path in folder.parent.glob(f"{TEMPORARY_PREFIX}*"):
            disk.remove_stale(path, STALE_SECONDS)
    remove_aside(experiment)


def remove_aside(experiment: Experiment) -> None:
    """Remove what an ``append`` prepared; the caller holds the experiment's lock."""
    for folder in experiment.aside.layer_folders:
        disk.remove(folder)


@dataclass(frozen=True)
class Pruned:
    """Attempts that were removed.

    Attributes:
        attempts: ``<stage>.<dataset> <version>``.
        n_bytes: what they took on the disk.
    """

    attempts: tuple[str, ...]
    n_bytes: int


def prune(experiment: Experiment, keep: int) -> Pruned:
    """Remove the attempts that no commit names, but for the ``keep`` newest of each dataset.

    Raises:
        UserError: the experiment is being run, or a commit is damaged, so that nobody knows what it names.
    """
    with locked(experiment.folder):
        sweep(experiment)
        return remove_attempts(experiment, keep)


def remove_attempts(experiment: Experiment, keep: int) -> Pruned:
    """``prune`` for a caller that holds the lock.

    Raises:
        UserError: a commit is damaged.
    """
    committed = {commit.stage: set(commit.versions.values()) for commit in experiment.commits()}
    removed, n_bytes = [], 0
    for folder in experiment.layer_folders:
        for dataset in sorted(folder.glob("*/*")):
            attempts = [a for a in sorted(dataset.glob("*")) if (a / dataset.name).exists()]
            loose = [a for a in attempts if a.name not in committed.get(dataset.parent.name, ())]
            for attempt in loose[: len(loose) - keep]:
                n_bytes += sum(file.stat().st_size for file in attempt.rglob("*") if file.is_file())
                disk.remove(attempt)
                removed.append(f"{dataset.parent.name}.{dataset.name.partition('.')[0]} {attempt.name}")
    return Pruned(tuple(removed), n_bytes)

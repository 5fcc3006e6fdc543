"""What killed runs leave behind: temporaries, swept when a run begins, and attempts, which people prune."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlmba_pipelines import disk
from rlmba_pipelines.disk import STALE_SECONDS, TEMPORARY_PREFIX
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.lock import locked


def sweep(experiment: Experiment) -> None:
    """Remove the temporaries of an experiment; the caller holds its lock, so nobody is writing them.

    Beside the experiments' folders others may be at work: there only what is old goes.
    """
    for layer in _layers(experiment):
        disk.sweep(layer / experiment.name)
        for path in layer.glob(f"{TEMPORARY_PREFIX}*"):
            disk.remove_stale(path, STALE_SECONDS)


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
    for layer in _layers(experiment):
        for dataset in sorted((layer / experiment.name).glob("*/*")):
            attempts = [a for a in sorted(dataset.glob("*")) if (a / dataset.name).exists()]
            loose = [a for a in attempts if a.name not in committed.get(dataset.parent.name, ())]
            for attempt in loose[: len(loose) - keep]:
                n_bytes += sum(file.stat().st_size for file in attempt.rglob("*") if file.is_file())
                disk.remove(attempt)
                removed.append(f"{dataset.parent.name}.{dataset.name.partition('.')[0]} {attempt.name}")
    return Pruned(tuple(removed), n_bytes)


def _layers(experiment: Experiment) -> list[Path]:
    return sorted(path for path in experiment.data_path.iterdir() if path.is_dir())

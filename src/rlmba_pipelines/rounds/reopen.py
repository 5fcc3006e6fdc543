"""A start batch that nothing can be learned from waits again, as long as no round stands on it."""

from __future__ import annotations

from dataclasses import replace

from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.rounds.commits import ASKED, DONE, PREPARED, Commit, Experiment, read_table
from rlmba_pipelines.rounds.unroll import CARRIED, START, stage_name
from rlmba_pipelines.simulation.tables import LEAST_LABELS, TRAINING, n_training


def reopen_start(experiment: Experiment) -> None:
    """Let the answers to the start batch be looked at again where they came to too few training labels: they may have
    been corrected since. Where so much of it was withdrawn that no answers help, another one is to be chosen.

    The caller holds the lock.
    """
    start = experiment.commit(START)
    if start is None or experiment.commit(stage_name(1)) is not None:
        return
    batch = read_table(experiment.path_of(START, "annotation_batch"))
    with Ledger(experiment.ledger_path) as ledger:
        withdrawn = batch["sample_id"].isin(set(ledger.withdrawn()))
    n_given = n_training(read_table(experiment.path_of(PREPARED, "given_labels")))
    n_possible = int(((batch["purpose"] == TRAINING) & ~withdrawn).sum()) + n_given
    if withdrawn.any() and n_possible < LEAST_LABELS:
        experiment.uncommit(START)
    elif start.state == DONE and n_training(read_table(experiment.path_of(START, "labels_next"))) < LEAST_LABELS:
        experiment.write_commit(_asked(start))


def _asked(commit: Commit) -> Commit:
    """A commit as it was when its batch went out."""
    closing = {f"{commit.stage}.{name}" for name in CARRIED.values()}
    versions, digests, files = (
        {name: value for name, value in found.items() if name not in closing}
        for found in (commit.versions, commit.digests, commit.files)
    )
    return replace(commit, state=ASKED, versions=versions, digests=digests, files=files)

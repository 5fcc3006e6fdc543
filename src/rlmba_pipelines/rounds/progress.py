"""How far an experiment is: what is measured, bought and done, read from its commits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from rlmba_pipelines.config import LabelingConfig, RoundsConfig
from rlmba_pipelines.reporting.headline import percent
from rlmba_pipelines.rounds.commits import PREPARED, Experiment, damaged, read_object, read_table
from rlmba_pipelines.rounds.unroll import FINAL, stage_name
from rlmba_pipelines.simulation.budget import why_stop
from rlmba_pipelines.simulation.tables import n_training

STOP_RULES = ("budget", "max_cost", "target_accuracy", "plateau")


def is_closed(experiment: Experiment) -> bool:
    """Whether the closing measurement came after the last round, by what the ledger held: a clock may be set back."""
    last, final = experiment.commit(stage_name(experiment.rounds_done())), experiment.commit(FINAL)
    if last is None or final is None:
        return False
    if last.ledger is None or final.ledger is None:  # commits of an earlier version
        return final.run_id >= last.run_id
    return final.ledger.rows >= last.ledger.rows


def is_reported(experiment: Experiment) -> bool:
    """Whether the closing measurement and the report are newer than the last round."""
    if not is_closed(experiment) or not experiment.report_path.exists():
        return False
    return experiment.report_path.stat().st_mtime >= experiment.commit_path(FINAL).stat().st_mtime


def stop_reason(experiment: Experiment, rounds: RoundsConfig, labeling: LabelingConfig) -> str | None:
    """Why nothing more is to be bought after the last committed round under these rules; None while the run goes on."""
    return _reason_under(experiment, labeling)(rounds)


def rules_in_the_way(experiment: Experiment, rounds: RoundsConfig, labeling: LabelingConfig) -> list[str] | None:
    """The stop rules that hold now, by their names in ``rounds``; None where nothing is left to buy."""
    reason_under = _reason_under(experiment, labeling)
    off = rounds.model_copy(update=dict.fromkeys(STOP_RULES))
    if reason_under(off):
        return None
    return [name for name in STOP_RULES if reason_under(off.model_copy(update={name: getattr(rounds, name)}))]


def _reason_under(experiment: Experiment, labeling: LabelingConfig) -> Callable[[RoundsConfig], str | None]:
    """``stop_reason`` under any rules; what was measured and bought is read once."""
    done = experiment.rounds_done()
    if done < 1:
        return lambda rounds: None
    state, bought = read_json(experiment, stage_name(done), "round_state_next") or {}, bought_so_far(experiment)
    return lambda rounds: why_stop(state["accuracies"], *bought, rounds, labeling)


def bought_so_far(experiment: Experiment) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """The labels after the last committed round, the samples, and the setup."""
    labels = read_table(experiment.path_of(stage_name(experiment.rounds_done()), "labels_next"))
    setup = read_object(experiment.path_of(PREPARED, "setup"))
    return labels, read_table(experiment.path_of(PREPARED, "samples")), setup


def read_json(experiment: Experiment, stage: str, role: str) -> dict[str, Any] | None:
    """A JSON dataset of a committed stage; None while the stage does not exist.

    Raises:
        UserError: the file is not what was committed.
    """
    commit = experiment.commit(stage)
    if commit is None:
        return None
    if f"{stage}.{role}" in commit.files and (found := experiment.damage(commit, f"{stage}.{role}")):
        raise damaged(experiment.path_of(stage, role), f"it is {found}")
    return read_object(experiment.path_of(stage, role))


def measured(experiment: Experiment, stage: str) -> dict[str, Any] | None:
    """The metrics that count for a stage: on test, or on validation where there is no test split."""
    test = read_json(experiment, stage, "test_metrics")
    return test or read_json(experiment, stage, "validation_metrics")


def accuracy_words(found: Mapping[str, Any]) -> str:
    """A measured accuracy, with the samples behind it.

    >>> accuracy_words({"accuracy": 2 / 3, "n": 3})
    'accuracy 66.7 % (of 3)'
    """
    return f"accuracy {percent(found['accuracy'])} (of {found['n']:,})"


def n_training_labels(experiment: Experiment, stage: str) -> int:
    """How many labels the model of a stage was trained on."""
    k = experiment.rounds_done() if stage == FINAL else int(stage.removeprefix("round_")) - 1
    return n_training(read_table(experiment.path_of(stage_name(k), "labels_next")))

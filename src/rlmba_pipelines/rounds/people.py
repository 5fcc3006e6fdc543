"""The way of a batch to people and back: what is open, and answers into the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rlmba_pipelines.labeling import read_answers
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.rounds.commits import ASKED, Experiment
from rlmba_pipelines.rounds.driver import sheet_path
from rlmba_pipelines.rounds.unroll import stage_name


@dataclass(frozen=True)
class OpenBatch:
    """A batch that was sent and is not yet answered."""

    round_idx: int
    batch: pd.DataFrame
    n_answered: int
    csv: Path
    jsonl: Path


def open_batch(experiment: Experiment) -> OpenBatch | None:
    """The batch that waits for people, or None."""
    k = experiment.rounds_done() + 1
    stage = stage_name(k)
    commit = experiment.commit(stage)
    if commit is None or commit.state != ASKED:
        return None
    batch = pd.read_parquet(sheet_path(experiment, stage, "annotation_batch.parquet"))
    with Ledger(experiment.ledger_path) as ledger:
        rows = ledger.rows()
    answered = set(rows.loc[rows["round"] == k, "sample_id"]) & set(batch["sample_id"])
    csv, jsonl = (sheet_path(experiment, stage, file) for file in ("annotation_sheet.csv", "annotation_tasks.jsonl"))
    return OpenBatch(k, batch, len(answered), csv, jsonl)


def import_answers(experiment: Experiment, files: Sequence[Path], classes: tuple[str, ...]) -> tuple[int, list[str]]:
    """Take the answers of ``files`` into the ledger; what is there already changes nothing.

    Returns:
        How many answers were new, and one sentence for every row that was not taken.

    Raises:
        UserError: no batch is open, or a file cannot be read as answers.
    """
    opened = open_batch(experiment)
    if opened is None:
        raise UserError(
            f"Experiment {experiment.name!r} waits for no answers; 'kedro rounds status' says what is next."
        )
    reports = [read_answers(path, opened.batch, classes) for path in files]
    with Ledger(experiment.ledger_path) as ledger:
        known = ledger.rows()
        known_labels = dict(zip(known["sample_id"], known["label"], strict=True))
        new, rejected = 0, [line for report in reports for line in report.rejected]
        asked = opened.batch.set_index("sample_id")
        for report in reports:
            fresh = report.accepted[~report.accepted["sample_id"].isin(known_labels)]
            for sample_id, label in report.accepted.itertuples(index=False):
                if known_labels.get(sample_id, label) != label:
                    rejected.append(
                        f"{sample_id!r} was answered {known_labels[sample_id]!r} before and is {label!r} now; "
                        "the first answer stays"
                    )
            new += ledger.append(
                pd.DataFrame(
                    {
                        "sample_id": fresh["sample_id"],
                        "label": fresh["label"],
                        "purpose": asked.loc[fresh["sample_id"], "purpose"].to_numpy(),
                        "round": opened.round_idx,
                        "annotator": "people",
                        "cost": asked.loc[fresh["sample_id"], "cost"].to_numpy(dtype=float),
                    }
                )
            )
            known_labels.update(zip(fresh["sample_id"], fresh["label"], strict=True))
    return new, rejected

"""The batch that people label: how far it is answered, its way out as files, and its end before all is answered."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rlmba_pipelines.config import LabelingConfig, Parameters
from rlmba_pipelines.disk import replacing
from rlmba_pipelines.labeling import DISPUTE, SETTLED, read_answers, resolve, sheet_of, texts_of
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.reporting.reasons import reasons_in_words
from rlmba_pipelines.rounds.commits import ASKED, HANDED_OUT, PREPARED, Experiment, read_object, read_table
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.systems import SYSTEMS
from rlmba_pipelines.rounds.unroll import stage_name
from rlmba_pipelines.simulation.tables import LEAST_LABELS, n_training
from rlmba_pipelines.sources.media import folder_of_media


@dataclass(frozen=True)
class OpenBatch:
    """A batch that was sent and is not yet settled.

    Attributes:
        resolved: what the answers to it come to so far, of ``labeling.resolve``.
        withdrawn: samples of the batch that nobody waits for.
    """

    round_idx: int
    batch: pd.DataFrame
    resolved: pd.DataFrame
    withdrawn: frozenset[str]
    csv: Path
    jsonl: Path

    @property
    def settled_ids(self) -> set[str]:
        """Samples that nobody waits for any more."""
        return set(self.resolved.loc[self.resolved["state"] == SETTLED, "sample_id"]) | self.withdrawn

    @property
    def disputed(self) -> pd.DataFrame:
        """The samples that an adjudicator has to decide."""
        return self.resolved[self.resolved["state"] == DISPUTE]

    @property
    def unanswered_ids(self) -> set[str]:
        """The samples that annotators have to answer yet."""
        return set(self.batch["sample_id"]) - self.settled_ids - set(self.disputed["sample_id"])

    @property
    def n_answered(self) -> int:
        return len(self.settled_ids)

    def progress(self) -> str:
        """``9/20 answered``, and disputes if there are any."""
        disputes = f", {len(self.disputed)} disputed" if len(self.disputed) else ""
        return f"{self.n_answered}/{len(self.batch)} answered{disputes}"


def open_batch(experiment: Experiment, labeling: LabelingConfig) -> OpenBatch | None:
    """The batch that waits for people, or None."""
    k = experiment.rounds_done() + 1
    stage = stage_name(k)
    commit = experiment.commit(stage)
    if commit is None or commit.state != ASKED:
        return None
    batch = read_table(experiment.path_of(stage, "annotation_batch"))
    asked = set(batch["sample_id"])
    with Ledger(experiment.ledger_path) as ledger:
        rows, withdrawn = ledger.rows(), asked & set(ledger.withdrawn())
        resolved = resolve(rows, labeling, closed=ledger.closed(), open_round=k)
    resolved = resolved[resolved["sample_id"].isin(asked)]
    csv, jsonl = (experiment.path_of(stage, role) for role in HANDED_OUT)
    return OpenBatch(k, batch, resolved, frozenset(withdrawn), csv, jsonl)


def opened_batch(experiment: Experiment, labeling: LabelingConfig) -> OpenBatch:
    """The batch that waits for people.

    Raises:
        UserError: there is none.
    """
    opened = open_batch(experiment, labeling)
    if opened is None:
        raise nothing_asked(experiment)
    return opened


def nothing_asked(experiment: Experiment) -> UserError:
    return UserError(f"Experiment {experiment.name!r} waits for no answers; 'kedro rounds status' says what is next.")


def close_round(experiment: Experiment, labeling: LabelingConfig) -> int:
    """Stop waiting for the open batch; gives how many of its samples go back into the pool.

    Raises:
        UserError: no batch is open, or nothing of it can be learned from yet.
    """
    with locked(experiment.folder):
        opened = opened_batch(experiment, labeling)
        settled = opened.resolved[opened.resolved["state"] == SETTLED]
        given = read_table(experiment.path_of(PREPARED, "given_labels"))
        if opened.round_idx == 0 and n_training(settled) + n_training(given) < LEAST_LABELS:
            raise UserError(
                "The start batch cannot be closed with fewer than two training labels; import more answers first."
            )
        if opened.resolved.empty:
            raise UserError(
                f"Nothing of round {opened.round_idx} is answered yet, so there is nothing to go on with; import "
                "answers first."
            )
        with Ledger(experiment.ledger_path) as ledger:
            ledger.close(opened.round_idx)
        return len(opened.batch) - len(set(opened.resolved["sample_id"]) | opened.withdrawn)


def export_batch(
    experiment: Experiment, parameters: Parameters, folder: Path, *, disputed: bool = False
) -> tuple[Path, Path, int]:
    """Write the open batch, or what of it is disputed, as CSV and JSON Lines for people and tools.

    Beside each sample: rank, the model's guess, why it was chosen, and where its media lie on this machine.

    The ledger's outbox learns of it first, so a kill in between leaves a record and the same files next time.

    Returns:
        The two files and how many samples they hold: those still open, in the order of choice.

    Raises:
        UserError: no batch is open, or nothing of it is, or somebody has filled in a file of that name.
    """
    with locked(experiment.folder):
        opened = opened_batch(experiment, parameters.labeling)
        rows = opened.batch[~opened.batch["sample_id"].isin(opened.settled_ids)]
        if disputed:
            rows = rows[rows["sample_id"].isin(set(opened.disputed["sample_id"]))]
        if rows.empty:
            raise UserError(f"Nothing of round {opened.round_idx} is {'disputed' if disputed else 'open'}.")
        described = _described(experiment, parameters, opened.round_idx, rows)
        if disputed:
            described = described.assign(answers=described["sample_id"].map(_votes(experiment)))
        sheet = sheet_of(described, explained=SYSTEMS[experiment.system()].questions)
        name = f"{experiment.name}-{stage_name(opened.round_idx)}{'-disputed' if disputed else ''}"
        csv, jsonl = folder / f"{name}.csv", folder / f"{name}.jsonl"
        as_csv, as_lines = texts_of(sheet)
        for path in (csv, jsonl):
            _refuse_filled(path)
        with Ledger(experiment.ledger_path) as ledger:
            ledger.intend(opened.round_idx, "files", hashlib.sha256(as_csv.encode()).hexdigest())
        for path, text in ((csv, as_csv), (jsonl, as_lines)):
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
    return csv, jsonl, len(rows)


def _refuse_filled(path: Path) -> None:
    try:
        filled = path.exists() and bool((read_answers(path).rows[["label", "explanation"]] != "").any(axis=None))
    except UserError:  # it is not as it was exported: somebody has worked on it
        filled = True
    if filled:
        raise UserError(
            f"{path} was filled in since it was exported; take its answers in ('kedro rounds import'), then move it "
            "away, or name another folder."
        )


def _described(experiment: Experiment, parameters: Parameters, round_idx: int, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a sentence each, and with paths that can be opened in place of references into the media root."""
    modalities = modalities_of(experiment)
    described = rows.assign(why=reasons_for(experiment, round_idx, rows))
    root = media_folder(experiment, parameters)
    if root is None:
        return described
    for name in [m for m in modalities if m != "text" and m in rows]:
        described[name] = [str(root / cell) if cell else "" for cell in described[name].fillna("")]
    return described


def reasons_for(experiment: Experiment, round_idx: int, rows: pd.DataFrame) -> list[str]:
    """Why each of some rows of a round's batch was chosen, in words."""
    terms = read_table(experiment.path_of(stage_name(round_idx), "terms")) if round_idx else None
    return reasons_in_words(rows, terms, modalities_of(experiment))


def modalities_of(experiment: Experiment) -> list[str]:
    """The modalities that the experiment looks at."""
    found: list[str] = read_object(experiment.path_of(PREPARED, "setup"))["modalities"]
    return found


def media_folder(experiment: Experiment, parameters: Parameters) -> Path | None:
    """Where the media of an experiment lie; None where only the catalog knows."""
    manifest = experiment.request()["runtime_params"].get("manifest")
    root = parameters.ingest.media_root
    return folder_of_media(Path(manifest or ""), root) if manifest or root else None


def _votes(experiment: Experiment) -> dict[str, str]:
    with Ledger(experiment.ledger_path) as ledger:
        answers = answers_in_force(ledger.rows())
    return {sample_id: json.dumps(said, ensure_ascii=False, sort_keys=True) for sample_id, said in answers.items()}


def answers_in_force(rows: pd.DataFrame) -> dict[str, dict[str, str]]:
    answers: dict[str, dict[str, str]] = {}
    for sample_id, annotator, label in rows[["sample_id", "annotator", "label"]].itertuples(index=False):
        answers.setdefault(sample_id, {})[annotator] = label
    return answers

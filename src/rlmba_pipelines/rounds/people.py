"""The way of a batch to people and back: what is open, batches out, answers into the ledger, rounds closed early."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rlmba_pipelines.config import LabelingConfig, Parameters
from rlmba_pipelines.datasets.atomic import replacing
from rlmba_pipelines.labeling import DISPUTE, SETTLED, AnswerFile, Asked, read_answers, resolve, sheet_of, sort_answers
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import NOT_LABELS, Ledger
from rlmba_pipelines.pipelines.report.gallery import reasons_in_words
from rlmba_pipelines.rounds.commits import ASKED, Experiment, read_object, read_table
from rlmba_pipelines.rounds.lock import locked
from rlmba_pipelines.rounds.unroll import stage_name


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
    def n_answered(self) -> int:
        return len(self.settled_ids)

    def progress(self) -> str:
        """``9/20 answered``, and disputes if there are any."""
        disputes = f", {len(self.disputed)} disputed" if len(self.disputed) else ""
        return f"{self.n_answered}/{len(self.batch)} answered{disputes}"


@dataclass(frozen=True)
class Imported:
    """What a call of import came to, in rows.

    Attributes:
        rejected, set_aside: one sentence a row.
        new_classes: labels that were met for the first time, and are classes from now on.
    """

    accepted: int
    corrected: int
    known: int
    rejected: tuple[str, ...]
    set_aside: tuple[str, ...]
    new_classes: tuple[str, ...]


def open_batch(experiment: Experiment, labeling: LabelingConfig | None = None) -> OpenBatch | None:
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
        resolved = resolve(rows, labeling or LabelingConfig(), closed=ledger.closed(), open_round=k)
    resolved = resolved[resolved["sample_id"].isin(asked)]
    csv, jsonl = (experiment.path_of(stage, role) for role in ("annotation_sheet", "annotation_tasks"))
    return OpenBatch(k, batch, resolved, frozenset(withdrawn), csv, jsonl)


def known_classes(experiment: Experiment, parameters: Parameters, ledger: Ledger) -> frozenset[str]:
    """Every class that was told in advance, was made known, or is met in a label that somebody answers for."""
    known = {*parameters.rounds.classes, *ledger.classes()}
    for name in ("given_labels", "validation_labels", "test_labels"):
        known |= set(read_table(experiment.folder / f"{name}.parquet")["label"])
    return frozenset(known | set(ledger.rows()["label"])) - set(NOT_LABELS)


def import_answers(
    experiment: Experiment,
    files: Sequence[Path],
    parameters: Parameters,
    *,
    by: str | None = None,
    correct: bool = False,
    adjudicate: bool = False,
) -> Imported:
    """Take the answers of ``files`` into the ledger, all of them or none; what is there already changes nothing.

    While nothing is known about the classes, the first batch makes them known; later a label that is none of them is
    set aside until ``add_classes``.

    Raises:
        UserError: nothing was asked yet, or a file cannot be read as answers.
    """
    read = [read_answers(path) for path in files]
    return _take(experiment, read, parameters, by=by, correct=correct, adjudicate=adjudicate)


def _take(
    experiment: Experiment,
    files: Sequence[AnswerFile],
    parameters: Parameters,
    *,
    by: str | None = None,
    correct: bool = False,
    adjudicate: bool = False,
) -> Imported:
    samples = _asked_samples(experiment)
    accepted = corrected = known = 0
    rejected: list[str] = []
    aside: list[str] = []
    with locked(experiment.folder), Ledger(experiment.ledger_path) as ledger, ledger.transaction():
        before = known_classes(experiment, parameters, ledger)
        first_batch = not before or (not _told(experiment, parameters, ledger) and experiment.rounds_done() < 0)
        for file in files:
            asked = Asked(
                samples,
                _answers_in_force(ledger.rows()),
                None if first_batch else before,
                parameters.labeling.annotators,
                frozenset(ledger.withdrawn()),
            )
            found = sort_answers(file, asked, by=by, correct=correct, adjudicate=adjudicate)
            accepted += ledger.append(found.ledger_rows(), file.digest)
            corrections = pd.DataFrame(found.corrected, columns=["sample_id", "annotator", "label"])
            corrected += ledger.correct(corrections, file.digest)
            columns = ["sample_id", "label", "annotator", "round", "reason"]
            ledger.set_aside(pd.DataFrame(found.set_aside, columns=columns), file.digest)
            ledger.record_import(file.digest, file.name, len(found.accepted), len(found.rejected), len(found.set_aside))
            known += found.n_known
            rejected += found.rejected
            aside += [reason for *_, reason in found.set_aside]
        new_classes = known_classes(experiment, parameters, ledger) - before
    return Imported(accepted, corrected, known, tuple(rejected), tuple(aside), tuple(sorted(new_classes)))


def _told(experiment: Experiment, parameters: Parameters, ledger: Ledger) -> bool:
    """Whether anybody but the first batch itself has said what classes there are."""
    given = read_table(experiment.folder / "given_labels.parquet")
    held = read_table(experiment.folder / "validation_labels.parquet")
    return bool(parameters.rounds.classes or ledger.classes() or len(given) or len(held))


def _asked_samples(experiment: Experiment) -> dict[str, tuple[int, str, float]]:
    """Sample -> (round, purpose, price) of everything that was ever asked; of the latest round that asked for it."""
    found: dict[str, tuple[int, str, float]] = {}
    for k in range(experiment.rounds_done() + 2):
        stage = stage_name(k)
        if experiment.commit(stage) is None:
            continue
        batch = read_table(experiment.path_of(stage, "annotation_batch"))
        for sample_id, purpose, cost in batch[["sample_id", "purpose", "cost"]].itertuples(index=False):
            found[sample_id] = (k, purpose, float(cost))
    if not found:
        raise _nothing_asked(experiment)
    return found


def _opened(experiment: Experiment, labeling: LabelingConfig) -> OpenBatch:
    opened = open_batch(experiment, labeling)
    if opened is None:
        raise _nothing_asked(experiment)
    return opened


def _nothing_asked(experiment: Experiment) -> UserError:
    return UserError(f"Experiment {experiment.name!r} waits for no answers; 'kedro rounds status' says what is next.")


def _answers_in_force(rows: pd.DataFrame) -> dict[str, dict[str, str]]:
    answers: dict[str, dict[str, str]] = {}
    for sample_id, annotator, label in rows[["sample_id", "annotator", "label"]].itertuples(index=False):
        answers.setdefault(sample_id, {})[annotator] = label
    return answers


def add_classes(experiment: Experiment, names: Collection[str], parameters: Parameters) -> Imported:
    """Make classes known, and take the answers that were set aside for want of them.

    Raises:
        UserError: a name is empty or stands for no label.
    """
    for name in names:
        if not name.strip() or name in NOT_LABELS:
            raise UserError(f"{name!r} cannot be a class; give the name that stands in the answers.")
    with locked(experiment.folder):
        with Ledger(experiment.ledger_path) as ledger:
            ledger.add_classes(names)
            waiting = ledger.quarantined()
        waiting = waiting[waiting["label"].isin(set(names))]
        waiting = waiting.assign(row=range(1, len(waiting) + 1))[["row", "sample_id", "label", "annotator"]]
        return _take(experiment, [AnswerFile("set aside", "quarantine", waiting)], parameters)


def close_round(experiment: Experiment, labeling: LabelingConfig) -> int:
    """Stop waiting for the open batch; gives how many of its samples go back into the pool.

    Raises:
        UserError: no batch is open, or nothing of it can be learned from yet.
    """
    with locked(experiment.folder):
        opened = _opened(experiment, labeling)
        labeled = opened.resolved[(opened.resolved["state"] == SETTLED) & ~opened.resolved["label"].isin(NOT_LABELS)]
        if opened.round_idx == 0 and (labeled["purpose"] == "training").sum() < 2:
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
        UserError: no batch is open, or nothing of it is.
    """
    with locked(experiment.folder):
        opened = _opened(experiment, parameters.labeling)
        rows = opened.batch[~opened.batch["sample_id"].isin(opened.settled_ids)]
        if disputed:
            rows = rows[rows["sample_id"].isin(set(opened.disputed["sample_id"]))]
        if rows.empty:
            raise UserError(f"Nothing of round {opened.round_idx} is {'disputed' if disputed else 'open'}.")
        described = _described(experiment, parameters, opened.round_idx, rows)
        if disputed:
            described = described.assign(answers=described["sample_id"].map(_votes(experiment)))
        sheet = sheet_of(described)
        name = f"{experiment.name}-{stage_name(opened.round_idx)}{'-disputed' if disputed else ''}"
        csv, jsonl = folder / f"{name}.csv", folder / f"{name}.jsonl"
        as_csv = sheet.to_csv(index=False)
        as_lines = sheet.to_json(orient="records", lines=True, force_ascii=False, double_precision=15)
        with Ledger(experiment.ledger_path) as ledger:
            ledger.intend(opened.round_idx, "files", hashlib.sha256(as_csv.encode()).hexdigest())
        for path, text in ((csv, as_csv), (jsonl, as_lines)):
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")
    return csv, jsonl, len(rows)


def _described(experiment: Experiment, parameters: Parameters, round_idx: int, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a sentence each, and with paths that can be opened in place of references into the media root."""
    stage = stage_name(round_idx)
    terms = read_table(experiment.path_of(stage, "terms")) if round_idx else None
    modalities = read_object(experiment.folder / "setup.json")["modalities"]
    described = rows.assign(why=reasons_in_words(rows, terms, modalities))
    root = media_folder(experiment, parameters)
    if root is None:
        return described
    for name in [m for m in modalities if m != "text" and m in rows]:
        described[name] = [str(root / cell) if cell else "" for cell in described[name].fillna("")]
    return described


def media_folder(experiment: Experiment, parameters: Parameters) -> Path | None:
    """Where the media of an experiment lie; None where only the catalog knows."""
    if parameters.ingest.media_root:
        return Path(parameters.ingest.media_root)
    manifest = experiment.request()["runtime_params"].get("manifest")
    return Path(manifest).parent if manifest else None


def _votes(experiment: Experiment) -> dict[str, str]:
    with Ledger(experiment.ledger_path) as ledger:
        answers = _answers_in_force(ledger.rows())
    return {sample_id: json.dumps(said, ensure_ascii=False, sort_keys=True) for sample_id, said in answers.items()}

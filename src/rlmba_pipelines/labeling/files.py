"""Batches to people and back as plain files: CSV for spreadsheets, JSON Lines for tools."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rlmba_pipelines.learning.types import UserError

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def _escape(cell: object) -> object:
    """A spreadsheet must not run a cell that came from the data: ``=…`` becomes ``'=…``."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def _unescape(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell


def sheet_of(batch: pd.DataFrame) -> pd.DataFrame:
    """The batch as people fill it in: an empty ``label`` column beside the sample, formula cells disarmed.

    >>> sheet_of(pd.DataFrame({"sample_id": ["=1+1"], "text": ["a cat"]})).values.tolist()
    [["'=1+1", '', 'a cat']]
    """
    sheet = batch.map(_escape)
    sheet.insert(1, "label", "")
    return sheet


@dataclass(frozen=True)
class AnswerReport:
    """What a file of answers came to.

    Attributes:
        accepted: ``sample_id, label``, one row a sample.
        n_open: samples of the batch that the file leaves unanswered.
        rejected: one sentence for every row that was not taken.
    """

    accepted: pd.DataFrame
    n_open: int
    rejected: tuple[str, ...]


def read_answers(path: Path, batch: pd.DataFrame, classes: tuple[str, ...] = ()) -> AnswerReport:
    """Read the answers to ``batch`` from a CSV or JSON Lines file with ``sample_id`` and ``label``.

    The whole file is parsed before anything is accepted. Rows with an empty label are still open; rows of unknown
    samples, of unknown classes (where ``classes`` are known in advance) or that contradict each other are rejected.

    Raises:
        UserError: the file cannot be read as answers.
    """
    frame = _read_rows(path)
    asked = set(batch["sample_id"])
    rejected: list[str] = []
    answers: dict[str, str] = {}
    contradicted: set[str] = set()
    for number, sample_id, label in zip(frame["row"], frame["sample_id"], frame["label"], strict=True):
        if not label:
            continue
        if sample_id not in asked:
            rejected.append(f"{path.name}, row {number}: sample {sample_id!r} was not asked for in this round")
        elif classes and label not in classes:
            rejected.append(f"{path.name}, row {number}: {label!r} is not one of the {len(classes)} classes")
        elif answers.get(sample_id, label) != label:
            rejected.append(f"{path.name}, row {number}: {sample_id!r} is {answers[sample_id]!r} and {label!r} at once")
            contradicted.add(sample_id)
        else:
            answers[sample_id] = label
    accepted = {sample_id: label for sample_id, label in answers.items() if sample_id not in contradicted}
    return AnswerReport(
        pd.DataFrame({"sample_id": list(accepted), "label": list(accepted.values())}, dtype=str),
        len(asked - set(accepted)),
        tuple(rejected),
    )


def _read_rows(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give the CSV or JSON Lines file that holds the answers.")
    try:
        if path.suffix == ".csv":
            frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
            frame["row"] = range(2, len(frame) + 2)
        elif path.suffix in {".jsonl", ".ndjson"}:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
            records = [{**json.loads(line), "row": n} for n, line in enumerate(lines, 1) if line.strip()]
            frame = pd.DataFrame(records, columns=["row", "sample_id", "label"])
        else:
            raise UserError(f"{path}: answers are read from .csv or .jsonl files; save it as one of these.")
    except (UnicodeDecodeError, json.JSONDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, TypeError) as e:
        raise UserError(f"{path}: this cannot be read as {path.suffix} ({e}); export it again.") from e
    for column in ("sample_id", "label"):
        if column not in frame:
            raise UserError(f"{path}: the column {column!r} is missing; answers need sample_id and label.")
    text = frame[["sample_id", "label"]].fillna("").astype(str)
    return pd.DataFrame(
        {
            "row": frame["row"],
            "sample_id": text["sample_id"].map(_unescape),
            "label": text["label"].map(_unescape).str.strip(),
        }
    )

"""Batches to people and back as plain files: CSV for spreadsheets, JSON Lines for tools."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.records import bytes_of, disarmed, read_records, rearmed

MAX_BYTES = 200_000_000


def sheet_of(batch: pd.DataFrame, *, explained: bool = False) -> pd.DataFrame:
    """The batch as people fill it in: an empty ``label`` column beside the sample, formula cells disarmed.

    Args:
        explained: whether answers come with an ``explanation``, which then has an empty column too: the annotator's own
            chain, its steps separated by semicolons.

    >>> sheet_of(pd.DataFrame({"sample_id": ["=1+1"], "text": ["a cat"]})).values.tolist()
    [["'=1+1", '', 'a cat']]
    """
    sheet = batch.map(disarmed)
    sheet.insert(1, "label", "")
    if explained:
        sheet.insert(2, "explanation", "")
    return sheet


def texts_of(sheet: pd.DataFrame) -> tuple[str, str]:
    """A sheet as CSV, its rows ending so that a line break of any kind within a cell is quoted, and as JSON Lines."""
    lines = sheet.to_json(orient="records", lines=True, force_ascii=False, double_precision=15)
    return sheet.to_csv(index=False, lineterminator="\r\n"), lines


@dataclass(frozen=True)
class AnswerFile:
    """What a file says, before anybody judges it.

    Attributes:
        digest: sha256 of its bytes.
        rows: ``row`` (its number in the file), ``sample_id``, ``label``, ``annotator``, ``explanation``; empty text
            where a cell is.
    """

    name: str
    digest: str
    rows: pd.DataFrame


def read_answers(path: Path) -> AnswerFile:
    """Read a CSV or JSON Lines file with ``sample_id``, ``label`` and perhaps ``annotator``, whole or not at all.

    Raises:
        UserError: the file cannot be read as answers; the sentence names file and row.
    """
    if path.suffix.lower() not in (".csv", ".jsonl", ".ndjson"):
        raise UserError(f"{path}: answers are read from .csv or .jsonl files; save it as one of these.")
    if os.path.isfile(path) and path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: the file has more than {MAX_BYTES:,} bytes; answers alone are much smaller.")
    data = bytes_of(path, "give the CSV or JSON Lines file that holds the answers")
    columns, records = read_records(data, path)
    for column, wanted in (("sample_id", 1), ("label", 1), ("annotator", columns.count("annotator") and 1)):
        if columns.count(column) != wanted:
            problem = "is missing" if column not in columns else "occurs twice"
            raise UserError(f"{path.name}: the column {column!r} {problem}; answers need sample_id and label.")
    rows = []
    for row, cells in records:
        if any("\0" in cell for cell in cells.values()):
            raise UserError(f"{path.name}, row {row}: a cell holds a NUL byte; export the file again.")
        said = [rearmed(cells.get(column, "")) for column in ("sample_id", "label", "annotator", "explanation")]
        if any(cell.strip() for cell in cells.values()):
            rows.append((row, said[0], *(cell.strip() for cell in said[1:])))
    table = pd.DataFrame(rows, columns=["row", "sample_id", "label", "annotator", "explanation"])
    return AnswerFile(path.name, hashlib.sha256(data).hexdigest(), table)

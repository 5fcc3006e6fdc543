"""Batches to people and back as plain files: CSV for spreadsheets, JSON Lines for tools."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rlmba_pipelines.learning.types import UserError

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
MAX_BYTES = 200_000_000
_CELLS = ("sample_id", "label", "annotator")


def _escape(cell: object) -> object:
    """A spreadsheet must not run a cell that came from the data: ``=…`` becomes ``'=…``."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def _unescape(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA_STARTS) else cell


def sheet_of(batch: pd.DataFrame) -> pd.DataFrame:
    """The batch as people fill it in: an empty ``label`` column beside the sample, formula cells disarmed.

    >>> sheet_of(pd.DataFrame({"sample_id": ["=1+1"], "text": ["a cat"]})).values.tolist()
    [["'=1+1", '', 'a cat']]
    """
    sheet = batch.map(_escape)
    sheet.insert(1, "label", "")
    return sheet


@dataclass(frozen=True)
class AnswerFile:
    """What a file says, before anybody judges it.

    Attributes:
        digest: sha256 of its bytes.
        rows: ``row`` (its number in the file), ``sample_id``, ``label``, ``annotator``; empty text where a cell is.
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
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give the CSV or JSON Lines file that holds the answers.")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: the file has more than {MAX_BYTES:,} bytes; answers alone are much smaller.")
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path.name}, row {row}: the file is not UTF-8 text; save it with encoding UTF-8.") from error
    records = _from_csv(text, path.name) if path.suffix.lower() == ".csv" else _from_json_lines(text, path.name)
    rows = pd.DataFrame(list(records), columns=["row", *_CELLS])
    return AnswerFile(path.name, hashlib.sha256(data).hexdigest(), rows)


def _from_csv(text: str, name: str) -> Iterator[tuple[int, str, str, str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    for row, cells in _rows_of(reader, name):
        if not columns:
            columns = [c.strip() for c in cells]
            _check_columns(columns, name)
        elif any(cell.strip() for cell in cells):
            if len(cells) != len(columns):
                raise UserError(
                    f"{name}, row {row}: the row has {len(cells)} cells and the header {len(columns)}; export it again."
                )
            found = dict(zip(columns, cells, strict=True))
            yield row, *(_cleaned(found.get(column, ""), name, row, column) for column in _CELLS)  # type: ignore[misc]
    if not columns:
        raise UserError(f"{name}: the file is empty; answers need the columns sample_id and label.")


def _rows_of(reader: Iterator[list[str]], name: str) -> Iterator[tuple[int, list[str]]]:
    row = 0
    while True:
        row += 1
        try:
            yield row, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{name}, row {row}: this is not a row of CSV ({error}); export it again.") from error


def _from_json_lines(text: str, name: str) -> Iterator[tuple[int, str, str, str]]:
    for row, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{name}, row {row}: this line is not JSON; export it again.") from error
        if not isinstance(record, dict):
            raise UserError(f"{name}, row {row}: this line is not a JSON object; write one object a line.")
        _check_columns(list(record), f"{name}, row {row}")
        cells = []
        for column in _CELLS:
            value = record.get(column)
            if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | float)):
                raise UserError(f"{name}, row {row}: {column} is neither text nor a number; write it as text.")
            cells.append(_cleaned("" if value is None else str(value), name, row, column))
        yield row, *cells  # type: ignore[misc]


def _check_columns(columns: list[str], where: str) -> None:
    for column in ("sample_id", "label"):
        if columns.count(column) != 1:
            problem = "is missing" if column not in columns else "occurs twice"
            raise UserError(f"{where}: the column {column!r} {problem}; answers need sample_id and label.")
    if columns.count("annotator") > 1:
        raise UserError(f"{where}: the column 'annotator' occurs twice; drop one of them.")


def _cleaned(cell: str, name: str, row: int, column: str) -> str:
    text = _unescape(cell) if column == "sample_id" else _unescape(cell).strip()
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        raise UserError(f"{name}, row {row}: the cell {column!r} holds what is no text; export the file again.")
    return text

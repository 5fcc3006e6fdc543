"""Tables that people hand in as text: CSV and JSON Lines, row by row with their numbers, or one sentence.

And what goes back to them: cells that no spreadsheet runs.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from rlmba_pipelines.learning.types import UserError

Record = tuple[int, dict[str, str]]  # row number as the user sees it, column -> text
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
LONGEST_HEADER = 1_000_000
FORMULA = re.compile("'*[=+\\-@\t\r]")  # how a cell begins that a spreadsheet runs, or that was disarmed
csv.field_size_limit(sys.maxsize)  # of one cell: a text may be long


def read_records(data: bytes, path: Path) -> tuple[list[str], Iterable[Record]]:
    """The columns and rows of a CSV or JSON Lines file; numbers are text, and a value that is missing is empty text.

    Args:
        data: the bytes of the file.
        path: its name tells which of the two it is: ``.csv``, or anything else.

    Raises:
        UserError: it is not UTF-8, a row is not what the file's kind says, or a cell is no text; on reading it, or the
            row in question.
    """
    text = decoded(data, path.name)
    return _from_csv(text, path.name) if path.suffix.lower() == ".csv" else _from_json_lines(text, path.name)


def decoded(data: bytes, name: str) -> str:
    """The text of a file.

    Raises:
        UserError: it is not UTF-8; the row is named.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}, row {row}: the file is not UTF-8 text; save it with encoding UTF-8.") from error


def bytes_of(path: Path, missing: str) -> bytes:
    """What a file that people name holds.

    Args:
        missing: what to do where it is not there.

    Raises:
        UserError: it is not there, or cannot be read.
    """
    if not os.path.isfile(path):  # of a name that no file can have, too
        raise UserError(f"{path}: there is no such file; {missing}.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: the file cannot be read ({error.strerror}); check its permissions.") from error


def csv_rows(text: str, name: str, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file with their numbers, from 1; a blank line has no cells.

    Raises:
        UserError: a row is none of CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    row = 0
    while True:
        row += 1
        try:
            yield row, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{name}, row {row}: this is not a row of CSV ({error}); mend its quotes.") from error


def _from_csv(text: str, name: str) -> tuple[list[str], Iterator[Record]]:
    start = text[:LONGEST_HEADER]
    separator = max(SEPARATORS, key=lambda separator: _fits(_header(start, separator), separator))
    rows = csv_rows(text, name, separator)
    columns = [c.strip() for c in next(rows, (1, []))[1]]

    @cache
    def may_be_short() -> bool:
        return _leaves_cells_away(csv_rows(text, name, separator), len(columns))

    def records() -> Iterator[Record]:
        for row, cells in rows:
            if not cells:
                continue  # a blank line
            n_missing = len(columns) - len(cells)
            if n_missing < 0 or (n_missing and not may_be_short()):
                raise UserError(
                    f"{name}, row {row}: the row has {len(cells)} cells and the header {len(columns)}; "
                    f"put cells that hold {SEPARATORS[separator]} or line breaks into double quotes."
                )
            yield row, dict(zip(columns, cells + [""] * n_missing, strict=True))

    return columns, records()


def _leaves_cells_away(rows: Iterable[tuple[int, list[str]]], n_columns: int) -> bool:
    """Whether rows are short because a spreadsheet program left the empty cells at their end away.

    A line break without quotes tears a row into short ones too, but those follow each other and have as many cells
    together as the header, and one more: a short row that is no such part tells that nothing was torn.
    """
    counts = [len(cells) for _, cells in rows if cells]
    whole = n_columns + 1
    return 1 not in counts and any(
        now < n_columns and before + now != whole != now + after
        for before, now, after in zip(counts, counts[1:], [*counts[2:], n_columns], strict=False)
    )


def _header(text: str, separator: str) -> list[str]:
    try:
        return [c.strip() for c in next(csv_rows(text, "", separator), (1, []))[1]]
    except UserError:
        return []


def _fits(columns: list[str], separator: str) -> tuple[bool, bool, int]:
    """How well a separator divides a header: every table has a ``sample_id``, and commas are usual."""
    has_ids = "sample_id" in columns
    return has_ids, has_ids and separator == ",", len(columns)


def _from_json_lines(text: str, name: str) -> tuple[list[str], list[Record]]:
    records: list[Record] = []
    for row, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=tuple, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{name}, row {row}: this line is not JSON; write one object a line.") from error
        if not line.lstrip().startswith("{"):
            raise UserError(f"{name}, row {row}: this line is not a JSON object; write one object a line.")
        cells: dict[str, str] = {}
        for column, value in pairs:
            if column in cells:
                raise UserError(f"{name}, row {row}: the name {quoted(column)} occurs twice; keep one of them.")
            if isinstance(value, (list, tuple)):
                raise UserError(
                    f"{name}, row {row}: {quoted(column)} holds a list or an object; make it text or a number."
                )
            cells[column] = "" if value is None else str(value).lower() if isinstance(value, bool) else value
        if re.search("[\ud800-\udfff]", "".join(itertools.chain.from_iterable(cells.items()))):
            raise UserError(f"{name}, row {row}: a \\u escape is half a character; write both halves or remove it.")
        records.append((row, cells))
    columns = list(dict.fromkeys(column for _, cells in records for column in cells))
    return columns, records


def share_of(text: str) -> float:
    """A share as people write it.

    Raises:
        UserError: it is none.

    >>> share_of("2%"), share_of("0.02")
    (0.02, 0.02)
    """
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"{quoted(text)} is not a share; write 0.02 or 2%.")
    return value


def quoted(text: str, longest: int = 60) -> str:
    """Text as a message may hold it: on one line, in quotes, and not too long.

    >>> quoted("a\\nb"), quoted("a" * 99, longest=4)
    ("'a\\\\nb'", "'aaaa…'")
    """
    return repr(text if len(text) <= longest else f"{text[:longest]}…")


def disarmed(cell: object) -> object:
    """A spreadsheet must not run a cell that came from the data: ``=…`` becomes ``'=…``; what is no text stays."""
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def rearmed(cell: str) -> str:
    """What ``disarmed`` was given.

    >>> [rearmed(disarmed(cell)) for cell in ("=1+1", "'tis", "'-5")]
    ['=1+1', "'tis", "'-5"]
    """
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell

"""The user's manifest: one row a sample, one column a modality, as CSV, JSON Lines or Parquet.

Everything is read as text, because ids like 007 and labels like NA are names and not numbers. Row numbers in messages
are those that a user sees: the header of a CSV file is row 1.
"""

from __future__ import annotations

import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import NoReturn

import pandas as pd

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import canonical_label, fault_of_class
from rlmba_pipelines.records import Record, bytes_of, quoted, read_records

MODALITIES = ("image", "text", "audio", "video")
OPTIONAL = ("label", "split", "group", "cost")
KNOWN = (*MODALITIES, *OPTIONAL, "explanation", "sample_id")
SPLITS = ("pool", "validation", "test")
MEANT = {"id": "sample_id", "picture": "image", "photo": "image", "caption": "text", "class": "label"}
MAX_TOLD = 8  # columns that a refusal lists
CELL_TYPES = (str, bool, int, float, Decimal, date, time, NoneType)  # of Parquet; a timestamp is a date


def read_manifest(
    path: str | Path,
    *,
    modalities: Sequence[str] = (),
    prices: Mapping[str, float] | None = None,
    ignored: Sequence[str] = (),
) -> pd.DataFrame:
    """The manifest as one canonical table.

    Args:
        path: a ``.csv`` (UTF-8; commas, semicolons or tabs), ``.jsonl``/``.ndjson`` or ``.parquet`` file.
        modalities: the modalities to keep; empty keeps all that the manifest has.
        prices: modality -> what it adds to the cost of a sample that has it, where the manifest gives no cost.
        ignored: columns that are not looked at, as if they were not there.

    Returns:
        One row a sample, sorted by ``sample_id``: ``sample_id``, the modality columns (empty = missing), ``label``,
        ``split`` ("" where not given), ``group`` (the sample's own id where not given), ``cost`` (float64; where not
        given the sum of ``prices``, 1 without any), ``row`` (int64, the row number in the file), then the ``meta_*``
        columns. ``attrs["name"]`` is the name of the file, for messages.

    Raises:
        UserError: the file or one of its rows is not what a manifest is; the sentence names the row.
    """
    path = Path(path)
    columns, records = _read_records(path)
    if ignored:
        columns = [column for column in columns if column not in ignored]
        records = ((row, {c: cells[c] for c in columns if c in cells}) for row, cells in records)
    return checked_manifest(columns, records, path.name, modalities=modalities, prices=prices)


def checked_manifest(
    columns: Sequence[str],
    records: Iterable[Record],
    name: str,
    *,
    modalities: Sequence[str] = (),
    prices: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Rows from anywhere as the table that ``read_manifest`` gives; ``name`` opens every complaint.

    Raises:
        UserError: a column or a row is not what a manifest has.
    """
    present = _check_columns(columns, modalities, name)
    meta = [c for c in columns if c.startswith("meta_")]
    seen: dict[str, int] = {}
    rows = [_check_record(record, present, meta, seen, name, prices or {}) for record in records]
    if not rows:
        raise UserError(f"{name}: the manifest has no rows; give it one row a sample below the header.")
    explained = ["explanation"] if "explanation" in columns else []
    order = ["sample_id", *present, *OPTIONAL, *explained, "row", *meta]
    table = pd.DataFrame(rows, columns=order).sort_values("sample_id", ignore_index=True)
    text = [c for c in order if c not in ("cost", "row")]
    table = table.astype({**dict.fromkeys(text, object), "cost": "float64", "row": "int64"})
    table.attrs["name"] = name
    return table


def _check_columns(columns: Sequence[str], wanted: Sequence[str], name: str) -> list[str]:
    """The modality columns to keep, in the order of ``MODALITIES``."""
    times = Counter(columns)
    for column in columns:
        if times[column] > 1:
            raise UserError(f"{name}: the column {quoted(column)} occurs twice; rename or drop one of them.")
    strangers = [column for column in columns if column not in KNOWN and not column.startswith("meta_")]
    if strangers:
        raise UserError(f"{name}: {_refusal_of(strangers, columns)}")
    if "sample_id" not in columns:
        raise UserError(f"{name}: there is no sample_id column; add one with a unique name for every sample.")
    have = [m for m in MODALITIES if m in columns]
    if not have:
        raise UserError(f"{name}: there is no modality column; add at least one of {', '.join(MODALITIES)}.")
    for modality in wanted:
        if modality not in have:
            raise UserError(
                f"{name}: the modality {modality!r} was asked for, but the manifest has only {', '.join(have)}; "
                f"add the column or change ingest.modalities."
            )
    return [m for m in have if not wanted or m in wanted]


def _refusal_of(strangers: Sequence[str], columns: Sequence[str]) -> str:
    """All columns that no manifest has, in one sentence, each with the name that it most likely was to have."""
    told = []
    for column in strangers[:MAX_TOLD]:
        near = [*get_close_matches(column.lower(), KNOWN, n=1), None]
        meant = MEANT.get(column.strip().lower()) or near[0]
        told.append(f"{quoted(column)} ({meant}?)" if meant and meant not in columns else quoted(column))
    more = f" and {len(strangers) - MAX_TOLD} more" if len(strangers) > MAX_TOLD else ""
    missing = "" if "sample_id" in columns else "there is no sample_id column, a unique name for every sample, and "
    return (
        f"{missing}a manifest has no columns called {', '.join(told)}{more}; rename such a column to what it is, to "
        "meta_… to keep it as a note, or drop it."
    )


def _check_record(
    record: Record, present: Sequence[str], meta: Sequence[str], seen: dict[str, int], name: str,
    prices: Mapping[str, float],
) -> dict[str, object]:
    row, cells = record

    def refuse(complaint: str) -> NoReturn:
        raise UserError(f"{name}, row {row}: {complaint}")

    for column, cell in cells.items():
        if "\0" in cell:
            refuse(f"the cell {quoted(column)} holds a NUL byte; remove it.")
    sample_id = cells.get("sample_id", "")
    if not sample_id.strip():
        refuse("the sample_id is empty; give every sample a name of its own.")
    if sample_id in seen:
        refuse(f"the sample_id {quoted(sample_id)} was already used in row {seen[sample_id]}; make the ids unique.")
    seen[sample_id] = row
    media = {m: cells.get(m, "") if cells.get(m, "").strip() else "" for m in present}
    if not any(media.values()):
        refuse(f"the sample {quoted(sample_id)} has no {' and no '.join(present)}; fill one in or drop the row.")
    split = cells.get("split", "").strip()
    if split and split not in SPLITS:
        refuse(f"the split {quoted(split)} is not one of {', '.join(SPLITS)}; correct it or leave it empty.")
    cost_text = cells.get("cost", "").strip()
    usual = sum(prices.get(m, 0.0) for m in present if media[m]) if prices else 1.0
    cost = _number(cost_text) if cost_text else usual
    if cost is None:
        refuse(f"the cost {quoted(cost_text)} is not a nonnegative number; correct it or leave it empty for 1.")
    label = canonical_label(cells.get("label", ""))
    if label and (fault := fault_of_class(label)):
        refuse(f"the label {quoted(label)} {fault}, so nobody could answer it; rename the class.")
    group = cells.get("group", "")
    return {
        "sample_id": sample_id,
        **media,
        "label": label,
        "split": split,
        "group": group if group.strip() else sample_id,
        "cost": cost,
        "row": row,
        "explanation": cells.get("explanation", ""),
        **{c: cells.get(c, "") for c in meta},
    }


def _number(text: str) -> float | None:
    """A nonnegative finite number, or None.

    >>> _number("2.5"), _number("-1"), _number("nan"), _number("1_000")
    (2.5, None, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 and "_" not in text else None


def _read_records(path: Path) -> tuple[list[str], Iterable[Record]]:
    if os.path.isdir(path):
        raise UserError(
            f"{path}: this is a folder; name the manifest in it, or read it as a public data set: "
            f"--env food101, kinetics_sounds or vggsound."
        )
    if path.suffix.lower() not in (".csv", ".jsonl", ".ndjson", ".parquet"):
        raise UserError(f"{path.name}: a manifest is a .csv, .jsonl or .parquet file; save it as one of these.")
    data = bytes_of(path, "give the path of your manifest with --manifest")
    if path.suffix.lower() == ".parquet":
        return _from_parquet(data, path.name)
    columns, records = read_records(data, path)
    if path.suffix.lower() != ".csv" and not records:
        raise UserError(f"{path.name}: the manifest has no rows; give it one JSON object a sample.")
    return columns, records


def _from_parquet(data: bytes, name: str) -> tuple[list[str], Iterator[Record]]:
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(io.BytesIO(data)).read()
        table.validate(full=True)
        names = [str(c) for c in table.column_names]
        values = [column.to_pylist() for column in table.columns]
    except Exception as error:  # Arrow meets hostile bytes with errors of every type
        raise UserError(f"{name}: this is not a Parquet file that can be read; write it again.") from error
    kept = [i for i, column in enumerate(names) if not column.startswith("__index_level_")]
    for i in kept:
        if any(not isinstance(value, CELL_TYPES) for value in values[i]):
            kind = quoted(str(table.schema.field(i).type))[1:-1]
            raise UserError(f"{name}: the column {quoted(names[i])} holds {kind} values; make it text or numbers.")

    def records() -> Iterator[Record]:
        for row in range(table.num_rows):
            yield row + 1, {names[i]: _text(values[i][row]) for i in kept}

    return [names[i] for i in kept], records()


def _text(value: object) -> str:
    """A cell as text: whole floats lose their ``.0``, which Parquet adds to integer columns with gaps.

    >>> _text(3.0), _text(2.5), _text(True), _text("007"), _text(float("nan")), _text(None)
    ('3', '2.5', 'true', '007', '', '')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    return str(value)

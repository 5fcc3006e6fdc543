"""Croissant: what the tables of a bundle are, for whoever looks for data (https://docs.mlcommons.org/croissant)."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from rlmba_pipelines.handoff.facts import Facts

PARQUET = "application/x-parquet"
COLUMNS = {
    "sample_id": "the sample",
    "label": "the answer; in parentheses what stands in place of one",
    "purpose": "what it was bought for",
    "round": "the round that bought it",
    "annotator": "who answered",
    "cost": "what it cost",
    "rank": "place in the batch, best first",
    "utility": "what the strategy expected of the sample",
}


def write_croissant(folder: Path, facts: Facts) -> None:
    """``croissant.json`` over ledger and selections, valid by mlcroissant's own check.

    Tables are told as Parquet, which knows its types: readers of Croissant guess those of CSV and read a label 01 as 1.
    """
    import mlcroissant as mlc  # of the extra [mlops]

    logging.getLogger("absl").setLevel(logging.ERROR)  # it recommends a citation and a license: the owner's to add
    files, record_sets = [], []
    tables = {"ledger": "ledger.parquet"}
    for path in sorted((folder / "selections").iterdir()):
        tables[f"selection_{path.stem}"] = f"selections/{path.name}"
    for name, file in tables.items():
        digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        files.append(mlc.FileObject(id=file, name=file, content_url=file, encoding_formats=[PARQUET], sha256=digest))
        fields = _fields(mlc, name, file, pd.read_parquet(folder / file))
        record_sets.append(mlc.RecordSet(id=name, name=name, fields=fields))
    metadata = mlc.Metadata(
        name=f"{facts.experiment}-{facts.stage}",
        description="Which samples were worth labeling, round by round, and the labels that were bought.",
        url=f"urn:rlmba:{facts.experiment}:{facts.stage}:{facts.run_id}",
        version="1.0.0",
        distribution=files,
        record_sets=record_sets,
    )
    (folder / "croissant.json").write_text(json.dumps(metadata.to_json(), indent=1, default=str), encoding="utf-8")


def _fields(mlc: Any, record_set: str, file: str, table: pd.DataFrame) -> list[Any]:
    return [
        mlc.Field(
            id=f"{record_set}/{column}",
            name=column,
            description=COLUMNS[column],
            data_types=_type(mlc, table[column]),
            source=mlc.Source(file_object=file, extract=mlc.Extract(column=column)),
        )
        for column in COLUMNS
        if column in table
    ]


def _type(mlc: Any, column: pd.Series) -> Any:
    if pd.api.types.is_integer_dtype(column):
        return mlc.DataType.INTEGER
    return mlc.DataType.FLOAT if pd.api.types.is_float_dtype(column) else mlc.DataType.TEXT

"""Two thousand broken manifests: each is refused in one sentence, or all of its rows obey the rules."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.random import Generator

from rlmba_pipelines.config import MediaCaps
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.sources import MODALITIES, MediaRoot, check_media, read_manifest
from rlmba_pipelines.sources.media import is_reference

T = TypeVar("T")
FILES, SHARES = 2000, 10
KINDS = ("csv", "jsonl", "parquet")
COLUMNS = ("image", "text", "audio", "video", "label", "split", "group", "cost", "meta_note")
DECODERS = {modality: lambda data: data for modality in MODALITIES}
HOSTILE = (
    "", " ", "\0", "\ufeff", "a\nb", "a\r", '"', '"a', ",", "\t", "\x1b[31m", "\u202eexe.png", "=1+1", "NaN", "null",
    "-1", "1e999", "1_0", "train", "Pool", "s0", " s0", "../secret.txt", "in/../../secret.txt", "/etc/passwd",
    "C:\\x.png", "\\\\host\\x.png", "..\\secret.txt", "http://example.org/x.png", "file:0.png", "data:,x", "out.png",
    "up/secret.txt", "loop.png", "in", ".", "a.zip/x.png", "a.zip/../x", "junk.zip/x.png", "x" * 300,
    "x" * 300 + ".zip/a", "é.png", "gone.png", "y" * 140_000, "../" + "z" * 50_000, "~/x.png", "0.png/", "./0.png",
)  # fmt: skip


def media_folder(folder: Path) -> MediaRoot:
    """A few media, links that lead out, a loop, archives good and bad; a secret beside the root."""
    root = folder / "media"
    (root / "in").mkdir(parents=True)
    (folder / "secret.txt").write_bytes(b"secret")
    for i in range(4):
        (root / f"{i}.png").write_bytes(b"medium")
    (root / "junk.zip").write_bytes(b"PK\x05\x06 no archive")
    os.symlink(folder / "secret.txt", root / "out.png")
    os.symlink(folder, root / "up")
    os.symlink(root / "loop.png", root / "loop.png")
    return MediaRoot(root)


def some_table(rng: Generator) -> dict[str, list[object]]:
    """Column -> cells of a good manifest, a few of them replaced."""
    n = int(rng.integers(0, 6))
    good: dict[str, Callable[[int], str]] = {
        "sample_id": lambda i: f"s{i}",
        "split": lambda i: ("pool", "validation", "test", "")[i % 4],
        "cost": lambda i: ("1", "2.5", "")[i % 3],
        "text": lambda i: ("a red car", "b", "note.txt")[i % 3],
    }
    chosen = [c for c in COLUMNS if rng.random() < 0.5] or ["image"]
    table: dict[str, list[object]] = {
        column: [good.get(column, lambda i: f"{i % 4}.png")(i) for i in range(n)] for column in ("sample_id", *chosen)
    }
    for _ in range(rng.integers(0, 3) if n else 0):
        table[str(rng.choice(list(table)))][rng.integers(n)] = one_of(rng, HOSTILE)
    if rng.random() < 0.1:
        table[one_of(rng, (*HOSTILE, "id", "meta_", "__index_level_0__"))] = table.pop(str(rng.choice(list(table))))
    return table


def one_of(rng: Generator, things: Sequence[T]) -> T:
    return things[rng.integers(len(things))]


def written(table: dict[str, list[object]], kind: str, rng: Generator) -> bytes:
    n = len(next(iter(table.values())))
    if kind == "parquet":
        odd = (
            [b"\xff"] * n,
            [["x"]] * n,
            [datetime(2020, 1, 1)] * n,
            list(range(n)),
            [timedelta(1)] * n,
            [{"a": 1}] * n,
        )
        columns = {**table, **({"meta_note": one_of(rng, odd)} if rng.random() < 0.2 else {})}
        buffer = io.BytesIO()
        pq.write_table(pa.table({name: pa.array(cells) for name, cells in columns.items()}), buffer)
        return buffer.getvalue()
    header, rows = list(table), list(zip(*table.values(), strict=True))
    if kind == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator=one_of(rng, ("\n", "\r\n", "\r")))
        writer.writerows([[*header, header[-1]] if rng.random() < 0.1 else header, *rows])
        text = stream.getvalue()
    else:
        strange = (None, True, 1.5, 10**30, ["x"], {"x": 1}, float("nan"), "\ud800")
        lines = [dict(zip(header, row, strict=True)) for row in rows]
        for line in lines:
            if rng.random() < 0.1:
                line[one_of(rng, header)] = one_of(rng, strange)
        text = "\n".join(json.dumps(line, ensure_ascii=bool(rng.random() < 0.5)) for line in lines)
    return text.encode(one_of(rng, (*["utf-8"] * 6, "utf-8-sig", "utf-16", "latin-1")), errors="replace")


def broken(data: bytes, rng: Generator) -> bytes:
    """Half of the files as they are; the others with bytes changed, put in, cut out, doubled, or the end missing."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5) if rng.random() < 0.5 else 0):
        if not out:
            break
        at, size = int(rng.integers(len(out))), int(rng.integers(1, 9))
        if rng.random() < 0.3:
            at = int(rng.integers(max(0, len(out) - 600), len(out)))  # Parquet keeps its schema at the end
        how = rng.integers(6)
        if how == 0:
            out[at] = rng.integers(256)
        elif how == 1:
            out[at:at] = (b"\0", b"\r", b'"', b",", b"\xef\xbb\xbf", b"\xff", rng.bytes(size))[rng.integers(7)]
        elif how == 2:
            del out[at : at + size]
        elif how == 3:
            out[at:at] = out[at : at + 40]
        elif how == 4:
            del out[at:]
        else:
            out[at] ^= 1 << rng.integers(8)
    return bytes(out)


def assert_obeys_the_rules(table: pd.DataFrame, root: MediaRoot) -> None:
    ids = table["sample_id"]
    assert len(table)
    assert ids.is_unique
    assert (ids.str.strip() != "").all()
    assert set(table["split"]) <= {"", "pool", "validation", "test"}
    assert (np.isfinite(table["cost"]) & (table["cost"] >= 0)).all()
    assert (table["group"] != "").all()
    modalities = [m for m in MODALITIES if m in table]
    assert (table[modalities] != "").any(axis=1).all()
    for modality in modalities:
        for cell, digest in zip(table[modality], table[f"{modality}_sha256"], strict=True):
            assert (cell == "") == (digest == "")
            if cell and is_reference(modality, cell):
                assert (root.root / cell).resolve().is_relative_to(root.root)
                assert (root.root / cell).read_bytes() == b"medium"
    cells = "".join(str(cell) for row in table.itertuples(index=False) for cell in row)
    assert "\0" not in cells
    assert cells.encode() is not None  # half a character would fail in Parquet, rounds later


@pytest.mark.parametrize("share", range(SHARES))
def test_a_broken_manifest_is_refused_in_one_sentence_or_obeys_the_rules(tmp_path: Path, share: int) -> None:
    root = media_folder(tmp_path)
    outcomes = {kind: {"taken": 0, "refused": 0} for kind in KINDS}
    for number in range(share * FILES // SHARES, (share + 1) * FILES // SHARES):
        rng = np.random.default_rng([20, number])
        kind = KINDS[number % len(KINDS)]
        path = tmp_path / f"m.{kind}"
        path.write_bytes(broken(written(some_table(rng), kind, rng), rng))
        try:
            table, quarantine = check_media(
                read_manifest(path), root, DECODERS, caps=MediaCaps(), max_bad_share=1.0, progress=False
            )
        except UserError as error:
            sentence = str(error)
            assert sentence.isprintable(), f"file {number}: {sentence!r}"
            assert len(sentence) < 400, f"file {number}: {sentence!r}"
            assert sentence.startswith("m."), f"file {number}: {sentence!r}"
            outcomes[kind]["refused"] += 1
            continue
        except Exception as error:
            raise AssertionError(f"file {number} ({kind})") from error
        assert_obeys_the_rules(table, root)
        assert set(quarantine["reason"]) <= {
            "is missing",
            "is not a file",
            "lies in a damaged archive",
            "is missing from its archive",
            "cannot be read (File name too long)",
            "cannot be read (Too many levels of symbolic links)",
        }
        outcomes[kind]["taken"] += 1
    for kind, count in outcomes.items():
        assert min(count.values()) >= 7, f"{kind}: {count}; files that are all alike test nothing"

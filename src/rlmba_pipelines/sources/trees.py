"""What the readers of public data sets share: lists read with their row in every complaint, clips found by name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.records import csv_rows, decoded
from rlmba_pipelines.sources.manifest import MODALITIES

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a")
YOUTUBE_ID = 11  # characters


def manifest_of(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """``sample_id``, the modalities that any row has, ``label``, ``split``, ``group`` ("" where a row has none)."""
    modalities = [m for m in MODALITIES if any(row.get(m) for row in rows)]
    columns = ["sample_id", *modalities, "label", "split", "group"]
    return pd.DataFrame([[row.get(c, "") for c in columns] for row in rows], columns=columns, dtype=object)


def refuse_layout(root: Path, name: str, *layouts: str) -> NoReturn:
    """End in a sentence that says which files were looked for."""
    raise UserError(f"{root} holds no layout of {name} that is known; looked for {', or '.join(layouts)}.")


def read_json(path: Path, kind: type) -> Any:
    """The list or object in a JSON file.

    Raises:
        UserError: it is no JSON, or of another kind.
    """
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, kind):
        expected = "a list" if kind is list else "an object"
        raise UserError(f"{path}: this is not JSON with {expected} in it; fetch the file again.")
    return found


def read_rows(path: Path, n_cells: int) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file without a header, with their numbers.

    Raises:
        UserError: a row does not have ``n_cells`` cells.
    """
    for number, cells in csv_rows(read_text(path), str(path)):
        if cells and len(cells) != n_cells:
            raise UserError(
                f"{path}, row {number}: the row has {len(cells)} cells and not {n_cells}; fetch the file again."
            )
        if cells:
            yield number, cells


def read_text(path: Path) -> str:
    """A list of the data set.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    try:
        return decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path}: the file cannot be read ({error.strerror}); the data set needs it.") from error


def own_text(text: str) -> str:
    """Text that stands for itself: a title that ends in ``.txt`` must not be taken for a file of that name.

    >>> own_text("menu.txt"), own_text(" pie ")
    ('menu.txt.', 'pie')
    """
    text = " ".join(text.split())
    return f"{text}." if text.lower().endswith(".txt") else text


def clips_below(root: Path, folder: str) -> Iterator[tuple[str, str, str]]:
    """``(name, modality, reference)`` of every clip at any depth below ``root / folder``, in a fixed order.

    A clip is a video or sound file, named without its suffix, or a folder of pictures ``frame_…``. Links to folders are
    not followed.
    """
    with os.scandir(root / folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        reference = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_dir(follow_symlinks=False):
            if _is_clip(entry.path):
                yield entry.name, "video", f"{reference}/"
            else:
                yield from clips_below(root, reference)
            continue
        stem, suffix = os.path.splitext(entry.name)
        if suffix.lower() in VIDEO_SUFFIXES:
            yield stem, "video", reference
        elif suffix.lower() in AUDIO_SUFFIXES:
            yield stem, "audio", reference


def _is_clip(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.startswith("frame_") for entry in entries)

"""Media of withdrawn samples: which files are left, and which go when somebody asks for it.

References are kept until the files are gone, since the tables that named them forget the samples first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from rlmba_pipelines.disk import replacing, writing
from rlmba_pipelines.rounds.commits import Experiment, read_object
from rlmba_pipelines.sources.manifest import MODALITIES
from rlmba_pipelines.sources.media import MediaRoot, is_reference

MEDIA_LEFT = "withdrawn_media.json"  # in the experiment's folder: withdrawn sample -> its media files, until deleted


def remember_media(experiment: Experiment, samples: pd.DataFrame) -> None:
    """Keep where the media of ``samples`` are, before they are withdrawn."""
    _write(experiment, {**_media_left(experiment), **_media_of(samples)})


def _media_of(samples: pd.DataFrame) -> dict[str, list[str]]:
    """Sample -> references to its media files."""
    rows = samples[["sample_id", *(m for m in MODALITIES if m in samples)]].to_dict("records")
    return {
        row["sample_id"]: [row[m] for m in MODALITIES if row.get(m) and is_reference(m, row[m])] for row in rows
    }


def _media_left(experiment: Experiment) -> dict[str, list[str]]:
    """``_media_of`` withdrawn samples whose files nobody has asked to delete, or that a kill has left."""
    path = experiment.folder / MEDIA_LEFT
    return read_object(path) if path.exists() else {}


def _write(experiment: Experiment, left: dict[str, list[str]]) -> None:
    with replacing(experiment.folder / MEDIA_LEFT) as temporary:
        temporary.write_text(json.dumps(left))


def delete_media(experiment: Experiment, gone: set[str], others: pd.DataFrame, folder: Path) -> tuple[Path, ...]:
    """Delete the files of withdrawn samples that no other sample reads, by whatever name, and links that lead there."""
    root, left = MediaRoot(folder), _media_left(experiment)

    def files(media: Mapping[str, list[str]]) -> dict[Path, Path]:
        return {path: path.resolve() for references in media.values() for ref in references for path in root.files(ref)}

    read = set(files(_media_of(others)).values())
    theirs = {path: file for path, file in files({i: left[i] for i in gone & left.keys()}).items() if file not in read}
    for path in (*theirs.values(), *theirs.keys()):
        with writing(path):
            path.unlink(missing_ok=True)
    _write(experiment, {i: references for i, references in left.items() if i not in gone})
    return tuple(sorted(set(theirs.values())))

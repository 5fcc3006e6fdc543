"""Kinetics-Sounds: classes of Kinetics that are seen and heard, 31 of the 34 first named. Arandjelović & Zisserman
2017, arXiv 1705.08168.

The layout of github.com/MengShen0709/bmmal: ``{train,test}/video/<label>/<id_start_end>/frame_0.jpg`` to
``frame_9.jpg``, and ``{train,test}/audio/<label>/<id_start_end>.wav``. In place of frames a video file may lie there,
which then is the sound too where there is no other. The lists ``my_train.txt`` and ``my_test.txt`` beside them are not
read: they give classes as numbers without names, and the folders say the same.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from rlmba_pipelines.sources.trees import VIDEO_SUFFIXES, YOUTUBE_ID, clips_below, manifest_of, refuse_layout

PARTS = {"train": "pool", "test": "test"}


def read(root: Path) -> pd.DataFrame:
    """The manifest of Kinetics-Sounds in ``root``: audio, video, label, split; clips of one YouTube video are a group.

    Raises:
        UserError: the layout is not there.
    """
    if not all(any((root / part / kind).is_dir() for kind in ("audio", "video")) for part in PARTS):
        refuse_layout(
            root, "Kinetics-Sounds", "the folders train/video, train/audio, test/video and test/audio with "
            "<label>/<clip>/frame_0.jpg, <label>/<clip>.mp4 and <label>/<clip>.wav in them",
        )
    rows = [row for part in PARTS for row in _clips(root, part).values()]
    return manifest_of(rows)


def _clips(root: Path, part: str) -> dict[tuple[str, str], dict[str, str]]:
    """Rows by label and name of the clip."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for kind in ("audio", "video"):
        for name, modality, reference in clips_below(root, f"{part}/{kind}") if (root / part / kind).is_dir() else ():
            label = PurePosixPath(reference).parent.name
            row = rows.setdefault((label, name), {
                "sample_id": name, "label": label, "split": PARTS[part], "group": name[:YOUTUBE_ID],
            })
            row.setdefault(modality, reference)
    for row in rows.values():
        if row.get("video", "").lower().endswith(VIDEO_SUFFIXES):
            row.setdefault("audio", row["video"])
    return rows

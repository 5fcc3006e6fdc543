"""VGGSound: 309 classes of ten-second clips that are seen and heard. Chen et al. 2020, arXiv 2004.14368.

``vggsound.csv`` without a header: YouTube id, second at which the clip starts, label, ``train`` or ``test``. The media
lie anywhere below the folder: video files (whose sound is the sound), sound files, or folders of frames
``frames/<split>/<label>/<clip>/frame_0.jpg`` beside ``audio/<split>/<label>/<clip>.wav``, as in
github.com/MengShen0709/bmmal. They are found by the name of the clip alone: labels have commas in the list that folders
of labels lack.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.sources.trees import VIDEO_SUFFIXES, clips_below, manifest_of, read_rows, refuse_layout

PARTS = {"train": "pool", "test": "test"}
SECONDS = 10  # of every clip


def read(root: Path) -> pd.DataFrame:
    """The manifest of VGGSound in ``root``: audio, video, label, split; clips of one YouTube video are a group.

    A clip that is not there is named all the same, as ``<id>_<start>.mp4`` or ``.wav``, and so set aside as missing:
    many are gone from YouTube, and ``ingest.max_bad_media`` says how many may be.

    Raises:
        UserError: the layout is not there, or the list is damaged.
    """
    path = root / "vggsound.csv"
    media: dict[str, dict[str, str]] = {}
    for name, modality, reference in clips_below(root, "") if path.is_file() else ():
        media.setdefault(name, {}).setdefault(modality, reference)
    rows, present = [], set[str]()
    for number, (video_id, start, label, part) in read_rows(path, 4) if media else ():
        if part not in PARTS or not start.isdecimal():
            raise UserError(
                f"{path}, row {number}: not a YouTube id, a second, a label, and train or test; fetch the file again."
            )
        names = _names(video_id, int(start))
        found = next((media[name] for name in names if name in media), {})
        present.update(found)
        rows.append({"sample_id": names[0], **found, "label": label, "split": PARTS[part], "group": video_id})
    if not present:
        refuse_layout(
            root, "VGGSound", "vggsound.csv and, below the same folder, <id>_<start>.mp4, <id>_<start>.wav or "
            "<id>_<start>_<end>/frame_0.jpg of its clips",
        )
    for row in rows:
        if not present & set(row):
            row.update({"video": f"{row['sample_id']}.mp4"} if "video" in present else
                       {"audio": f"{row['sample_id']}.wav"})
        if row.get("video", "").lower().endswith(VIDEO_SUFFIXES):
            row.setdefault("audio", row["video"])
    return manifest_of(rows)


def _names(video_id: str, start: int) -> tuple[str, ...]:
    """What tools that fetch and cut the clips call them; the first is the authors' own.

    >>> _names("abcdefghijk", 30)
    ('abcdefghijk_000030', 'abcdefghijk_30', 'abcdefghijk_000030_000040', 'abcdefghijk_30_40', 'abcdefghijk')
    """
    end = start + SECONDS
    spans = (f"{start:06d}", f"{start}", f"{start:06d}_{end:06d}", f"{start}_{end}")
    return (*(f"{video_id}_{span}" for span in spans), video_id)

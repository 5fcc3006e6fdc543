"""The samples that were bought, as the report shows them: their media, and the reasons in words."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from rlmba_pipelines.config import MediaCaps
from rlmba_pipelines.encoders.containers import MediaDecodeError
from rlmba_pipelines.encoders.media import decode_image
from rlmba_pipelines.encoders.video import poster
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.reporting.data import BoughtSample, Media
from rlmba_pipelines.reporting.reasons import looked_at, reasons_in_words
from rlmba_pipelines.sources.media import MediaError

AUDIO_TYPES = {
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
}
IMAGE_TYPES = {"webp": "image/webp", "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg"}
Read = Callable[[str], bytes]


def bought_samples(
    batch: pd.DataFrame,
    labels: Mapping[str, str],
    terms: pd.DataFrame | None,
    modalities: tuple[str, ...],
    read: Read,
    caps: MediaCaps,
    limit: int,
) -> list[BoughtSample]:
    """One round of the gallery, in the order of choice, at most ``limit`` samples.

    Args:
        batch: the annotation batch of the round.
        labels: answers by sample id.
        terms: of the whole pool when the batch was chosen; None in round 0.
        read: gives the bytes of a media reference.
    """
    shown = batch.head(limit)
    pool = terms.set_index("sample_id") if terms is not None else pd.DataFrame()
    samples = []
    for record, sentence in zip(shown.to_dict("records"), reasons_in_words(shown, terms, modalities), strict=True):
        row = {str(name): value for name, value in record.items()}
        terms_of_sample = pool.loc[row["sample_id"]].astype(float).to_dict() if row["sample_id"] in pool.index else {}
        samples.append(
            BoughtSample(
                round_idx=int(row["round"]),
                rank=int(row["rank"]) - 1,
                sample_id=str(row["sample_id"]),
                label=labels.get(str(row["sample_id"]), ""),
                guess=row.get("guess") if isinstance(row.get("guess"), str) else None,
                guess_probability=row.get("guess_probability") if isinstance(row.get("guess"), str) else None,
                text=_text(row, read),
                image=_image(row.get("image"), read, caps),
                audio=_audio(row.get("audio"), read),
                poster=_poster(row.get("video"), read, caps),
                terms={**terms_of_sample, **looked_at(row)},
                why=sentence,
            )
        )
    return samples


def _text(row: dict[str, Any], read: Read) -> str | None:
    text = row.get("text")
    if not text or not str(text).endswith(".txt"):
        return str(text) if text else None
    data = _bytes(text, read)
    return data.decode("utf-8", errors="replace") if data else None


def _bytes(reference: Any, read: Read) -> bytes | None:
    if not reference or not isinstance(reference, str):
        return None
    try:
        return read(reference)
    except (MediaError, UserError):
        return None


def _image(reference: Any, read: Read, caps: MediaCaps) -> Media | None:
    data = _bytes(reference, read)
    if data is None:
        return None
    kind = IMAGE_TYPES.get(reference.rpartition(".")[2].lower())
    if kind:
        return Media(data, kind)
    try:
        file = io.BytesIO()
        decode_image(data, caps).save(file, "PNG")  # a kind that browsers do not show
    except MediaDecodeError:
        return None
    return Media(file.getvalue(), "image/png")


def _audio(reference: Any, read: Read) -> Media | None:
    data = _bytes(reference, read)
    kind = AUDIO_TYPES.get(str(reference).rpartition(".")[2].lower())
    return Media(data, kind) if data and kind else None


def _poster(reference: Any, read: Read, caps: MediaCaps) -> Media | None:
    data = _bytes(reference, read)
    if data is None:
        return None
    try:
        return Media(poster(data, caps), "image/jpeg")
    except MediaDecodeError:
        return None

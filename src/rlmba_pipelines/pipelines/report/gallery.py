"""The samples that were bought, as the report shows them: media small enough to embed, and the reasons in words."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from rlmba_pipelines.config import MediaCaps
from rlmba_pipelines.encoders.containers import MediaDecodeError
from rlmba_pipelines.encoders.media import decode_image
from rlmba_pipelines.encoders.video import poster
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.reporting.data import BoughtSample, Media
from rlmba_pipelines.reporting.words import explain
from rlmba_pipelines.sources.media import MediaError

THUMBNAIL_PIXELS = 224
EMBEDDED_IMAGE_BYTES = 30_000
EMBEDDED_AUDIO_BYTES = 400_000
AUDIO_TYPES = {"ogg": "audio/ogg", "opus": "audio/ogg", "wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac",
               "m4a": "audio/mp4"}
IMAGE_TYPES = {"webp": "image/webp", "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg"}
NOT_TERMS = {"sample_id", "rank", "round", "purpose", "utility", "cost", "guess", "guess_probability",
             "image", "text", "audio", "video"}

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
    reasons = [name for name in shown.columns if name not in NOT_TERMS]
    pool = terms.set_index("sample_id") if terms is not None else pd.DataFrame()
    ordered = {name: np.sort(pool[name].to_numpy()) for name in pool.columns}
    samples = []
    for row in shown.to_dict("records"):
        values = {name: float(row[name]) for name in reasons if pd.notna(row[name])}
        if row["sample_id"] in pool.index:
            values = {**pool.loc[row["sample_id"]].astype(float).to_dict(), **values}
        ranks = {n: np.searchsorted(ordered[n], v) / len(pool) for n, v in values.items() if n in ordered}
        sentence = (
            "Drawn at random, to measure accuracy."
            if row["purpose"] == "validation"
            else explain(values if reasons else {}, ranks, modalities)
        )
        samples.append(
            BoughtSample(
                round_idx=int(row["round"]),
                rank=int(row["rank"]) - 1,
                sample_id=str(row["sample_id"]),
                label=labels.get(str(row["sample_id"]), ""),
                guess=row.get("guess"),
                guess_probability=row.get("guess_probability"),
                text=_text(row, read),
                image=_image(row.get("image"), read, caps),
                audio=_audio(row.get("audio"), read),
                poster=_poster(row.get("video"), read, caps),
                terms=values,
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
    if kind and len(data) <= EMBEDDED_IMAGE_BYTES:
        return Media(data, kind)
    try:
        image = decode_image(data, caps)
    except MediaDecodeError:
        return None
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    small = io.BytesIO()
    image.save(small, "WEBP", quality=70)
    return Media(small.getvalue(), "image/webp")


def _audio(reference: Any, read: Read) -> Media | None:
    data = _bytes(reference, read)
    kind = AUDIO_TYPES.get(str(reference).rpartition(".")[2].lower())
    return Media(data, kind) if data and kind and len(data) <= EMBEDDED_AUDIO_BYTES else None


def _poster(reference: Any, read: Read, caps: MediaCaps) -> Media | None:
    data = _bytes(reference, read)
    if data is None:
        return None
    try:
        return Media(poster(data, caps), "image/jpeg")
    except MediaDecodeError:
        return None

"""Media that may stand in a page: kinds on a list, bytes within bounds, as data URIs."""

from __future__ import annotations

import base64
import io
import wave
from dataclasses import dataclass

from PIL import Image

from rlmba_pipelines.reporting.data import Media

IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp")
AUDIO_TYPES = ("audio/wav", "audio/mpeg", "audio/ogg", "audio/flac", "audio/mp4", "audio/webm")
MAX_IMAGE_BYTES, MAX_AUDIO_BYTES = 40_000, 160_000
THUMBNAIL_PIXELS = 224  # twice the shown size, for fine screens
MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class Embedded:
    """What the page shows: a ``data:`` URI, or none; ``note`` says what was left out and why."""

    uri: str | None
    note: str = ""


def embed_image(media: Media) -> Embedded:
    """An image as it is, or as a thumbnail where it is larger than ``MAX_IMAGE_BYTES``."""
    if media.mime not in IMAGE_TYPES:
        return Embedded(None, f"Picture of kind {media.mime[:40]!r}, not shown.")
    if len(media.bytes) <= MAX_IMAGE_BYTES:
        return Embedded(_data_uri(media.bytes, media.mime))
    try:
        with Image.open(io.BytesIO(media.bytes), formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > MAX_PIXELS:
                return Embedded(None, "Picture too large to show.")
            small = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Embedded(None, "Picture that cannot be read.")
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return Embedded(_data_uri(file.getvalue(), "image/jpeg"))


def embed_audio(media: Media) -> Embedded:
    """A sound as it is; of a long WAV its beginning, other long sounds are left out."""
    if media.mime not in AUDIO_TYPES:
        return Embedded(None, f"Sound of kind {media.mime[:40]!r}, not embedded.")
    if len(media.bytes) <= MAX_AUDIO_BYTES:
        return Embedded(_data_uri(media.bytes, media.mime))
    if media.mime == "audio/wav":
        return _beginning(media.bytes)
    return Embedded(None, f"Sound of {len(media.bytes) / 1e6:.1f} MB, not embedded.")


def _beginning(wav: bytes) -> Embedded:
    try:
        with wave.open(io.BytesIO(wav)) as source:
            frame_bytes = source.getnchannels() * source.getsampwidth()
            n_frames = (MAX_AUDIO_BYTES - 44) // frame_bytes
            seconds, rate, header = n_frames / source.getframerate(), source.getframerate(), source.getparams()
            frames = source.readframes(n_frames)
    except (wave.Error, EOFError, ZeroDivisionError):
        return Embedded(None, f"Sound of {len(wav) / 1e6:.1f} MB, not embedded.")
    file = io.BytesIO()
    with wave.open(file, "wb") as cut:
        cut.setnchannels(header.nchannels)
        cut.setsampwidth(header.sampwidth)
        cut.setframerate(rate)
        cut.writeframes(frames)
    return Embedded(_data_uri(file.getvalue(), "audio/wav"), f"The first {seconds:.1f} s of the sound.")


def _data_uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"

"""Decode video through PyAV, or from a tar of its frames: evenly spaced frames, the sound, a poster for the report."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from rlmba_pipelines.config import MediaCaps
from rlmba_pipelines.encoders.containers import SAMPLE_RATE, MediaDecodeError, check_whole
from rlmba_pipelines.encoders.media import decode_image

if TYPE_CHECKING:
    from PIL import Image

MAX_FRAMES_PER_SECOND = 240  # with the cap on seconds this bounds the work, however a header lies
TURNS = {  # where a picture's right and its bottom come to lie, both as (right, down)
    (0, 1, -1, 0): "ROTATE_270", (-1, 0, 0, -1): "ROTATE_180", (0, -1, 1, 0): "ROTATE_90",
    (-1, 0, 0, 1): "FLIP_LEFT_RIGHT", (1, 0, 0, -1): "FLIP_TOP_BOTTOM", (0, 1, 1, 0): "TRANSPOSE",
    (0, -1, -1, 0): "TRANSVERSE",
}
LOST_FRAMES_SHARE = 0.05  # edit lists and delayed pictures may hide a few; more is a file that was cut


def decode_video(
    data: bytes, caps: MediaCaps, n_frames: int, sound: bool = True
) -> tuple[list[Image.Image], np.ndarray | None]:
    """Evenly spaced frames of a video, and its sound.

    The whole video is decoded, so a damaged one is found wherever the damage is. Of ``T`` pictures those nearest to
    the middle of ``n_frames`` equal parts are kept, turned as the video says; a shorter video repeats pictures. A tar
    of pictures, which a folder of frames reads as, is a video without sound.

    Returns:
        ``n_frames`` RGB images, and float32[T] at 16 kHz, or ``None`` without sound (or with ``sound=False``).

    Raises:
        MediaDecodeError: cut short, over a cap, or no video of a known format.
    """
    if data[257:262] == b"ustar":
        return _frames_of_tar(data, caps, n_frames), None
    n_pictures = _count_pictures(data, caps)
    wanted = _middles(n_pictures, n_frames)
    kept: dict[int, Image.Image] = {}
    for number, picture in enumerate(_pictures(data, caps)):
        if number in wanted:
            kept[number] = _upright(picture)
        last = number
    if not kept:
        raise MediaDecodeError("is cut short")
    if last + 1 < n_pictures * (1 - LOST_FRAMES_SHARE) - 2:
        raise MediaDecodeError(f"is cut short (expected {n_pictures:,} pictures, found {last + 1:,})")
    highest = max(kept)
    frames = [kept.get(number, kept[highest]) for number in wanted]
    return frames, read_sound(data, caps, None) if sound and _has_sound(data) else None


def _upright(picture: Any) -> Image.Image:
    """The picture turned by quarters or mirrored as its display matrix says; phones film lying pictures."""
    from PIL.Image import Transpose

    matrix = picture.side_data.get("DISPLAYMATRIX")
    signs = tuple(np.sign(np.frombuffer(matrix, dtype=np.int32)[[0, 1, 3, 4]])) if matrix else None
    image = picture.to_image()
    return image.transpose(Transpose[TURNS[signs]]) if signs in TURNS else image


def _middles(n_pictures: int, n_frames: int) -> list[int]:
    """The pictures nearest to the middle of ``n_frames`` equal parts.

    >>> _middles(10, 5), _middles(2, 4)
    ([1, 3, 5, 7, 9], [0, 0, 1, 1])
    """
    return [int((part + 0.5) * n_pictures / n_frames) for part in range(n_frames)]


def _frames_of_tar(data: bytes, caps: MediaCaps, n_frames: int) -> list[Image.Image]:
    """The same of pictures in a plain tar, in its order; every one is decoded."""
    if not data.endswith(bytes(2 * tarfile.BLOCKSIZE)):  # the end of every tar
        raise MediaDecodeError("is cut short")
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            members = archive.getmembers()
            plain = all(member.type == tarfile.REGTYPE and member.sparse is None for member in members)
            if not (members and plain):
                raise MediaDecodeError("is not a plain tar of pictures")
            wanted = _middles(len(members), n_frames)
            kept: dict[int, Image.Image] = {}
            for number, member in enumerate(members):
                file = archive.extractfile(member)
                picture = decode_image(file.read() if file else b"", caps)
                if number in wanted:
                    kept[number] = picture
    except (MediaDecodeError, MemoryError, TimeoutError):
        raise
    except Exception as error:  # tarfile meets hostile bytes with errors of every type
        raise MediaDecodeError("is not a tar that can be read") from error
    return [kept[number] for number in wanted]


def poster(data: bytes, caps: MediaCaps, pixels: int = 256) -> bytes:
    """A small WebP of the middle picture of a video, longest side at most ``pixels``, for the report's gallery."""
    frames, _ = decode_video(data, caps, 1, sound=False)
    frames[0].thumbnail((pixels, pixels))
    out = io.BytesIO()
    frames[0].save(out, "WEBP", quality=75)
    return out.getvalue()


def read_sound(data: bytes, caps: MediaCaps, seconds: float | None) -> np.ndarray:
    """The first sound stream that FFmpeg finds, float32[T] at 16 kHz in one channel.

    Raises:
        MediaDecodeError: cut short, too long, or no sound of a known format.
    """
    import av

    blocks: list[np.ndarray] = []
    n_samples = 0
    with _opened(data, "a sound or video") as container:
        if not container.streams.audio:
            raise MediaDecodeError("has no sound in it")
        stream = container.streams.audio[0]
        _check_duration(container, caps)
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        last_end = 0.0
        for frame in chain(_decoded(container, stream), [None]):  # None empties the resampler
            if frame is not None and frame.time is not None:
                last_end = frame.time + frame.samples / frame.sample_rate
            for piece in resampler.resample(frame):
                blocks.append(piece.to_ndarray().reshape(-1))
                n_samples += blocks[-1].size
            if n_samples > caps.max_seconds * SAMPLE_RATE:
                raise MediaDecodeError(f"lasts more than the {caps.max_seconds:,.0f} seconds allowed")
            if seconds is not None and n_samples >= seconds * SAMPLE_RATE:
                break
        else:
            _check_reached_end(stream, last_end)
    wave = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
    return wave if seconds is None else wave[: round(seconds * SAMPLE_RATE)]


def _check_reached_end(stream: Any, last_end: float) -> None:
    if stream.duration and stream.time_base:
        promised = float(stream.duration * stream.time_base)
        if last_end < promised * (1 - LOST_FRAMES_SHARE) - 0.2:
            raise MediaDecodeError(f"is cut short (expected {promised:,.1f} seconds, found {last_end:,.1f})")


def _has_sound(data: bytes) -> bool:
    with _opened(data, "a video") as container:
        return bool(container.streams.audio)


def _count_pictures(data: bytes, caps: MediaCaps) -> int:
    """How many pictures the header promises or, where it is silent, how many packets there are."""
    with _opened(data, "a video") as container:
        if not container.streams.video:
            raise MediaDecodeError("has no video in it")
        stream = container.streams.video[0]
        if stream.width * stream.height > caps.max_pixels:
            raise MediaDecodeError(
                f"has {stream.width * stream.height:,} pixels, more than the {caps.max_pixels:,} allowed"
            )
        _check_duration(container, caps)
        limit = int(caps.max_seconds * MAX_FRAMES_PER_SECOND)
        n_packets = 0
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise MediaDecodeError("is cut short")
            n_packets += packet.size > 0
            if n_packets > limit:
                raise MediaDecodeError(f"has more than {limit:,} pictures")
        return max(n_packets, min(stream.frames, limit))


def _pictures(data: bytes, caps: MediaCaps) -> Iterator[Any]:
    with _opened(data, "a video") as container:
        for frame in _decoded(container, container.streams.video[0]):
            if frame.width * frame.height > caps.max_pixels:  # a stream may change its size midway
                raise MediaDecodeError(
                    f"has {frame.width * frame.height:,} pixels, more than the {caps.max_pixels:,} allowed"
                )
            yield frame


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    stream.thread_count = 1
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise MediaDecodeError("is cut short")
        yield from packet.decode()


def _check_duration(container: Any, caps: MediaCaps) -> None:
    seconds = (container.duration or 0) / 1_000_000
    if seconds > caps.max_seconds:
        raise MediaDecodeError(f"lasts {seconds:,.0f} seconds, more than the {caps.max_seconds:,.0f} allowed")


@contextmanager
def _opened(data: bytes, what: str) -> Iterator[Any]:
    """An open container over bytes in memory: FFmpeg gets no path, so a playlist in it cannot reach out."""
    import av

    check_whole(data)
    try:
        with av.open(io.BytesIO(data), mode="r", options={"protocol_whitelist": ""}) as container:
            yield container
    except (MediaDecodeError, MemoryError, TimeoutError):
        raise
    except EOFError as error:
        raise MediaDecodeError("is cut short") from error
    except Exception as error:  # decoders meet hostile bytes with errors of every type
        raise MediaDecodeError(f"is not {what} that can be read") from error

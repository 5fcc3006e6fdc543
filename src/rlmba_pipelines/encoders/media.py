"""Decode images, sound and text from bytes that nobody vouches for: fully, under caps, or with a reason why not.

A reason continues the sentence "the file x …". Truncated files are found by loading them whole (``Image.verify`` passes
truncated JPEGs) and by comparing what a header promises with what is there.
"""

from __future__ import annotations

import io
import re
import warnings
from functools import cache
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from rlmba_pipelines.config import MediaCaps
from rlmba_pipelines.encoders.containers import SAMPLE_RATE, MediaDecodeError, check_whole

if TYPE_CHECKING:
    from PIL import Image

IMAGE_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "ICO", "TGA", "AVIF")
_BLOCK_FRAMES = 1 << 18
_UNKNOWN_LENGTH = 1 << 60  # libsndfile's answer for a stream without an end


def decode_text(data: bytes) -> str:
    """Text from UTF-8, a byte order mark dropped.

    Raises:
        MediaDecodeError: not UTF-8, empty, or with a NUL byte.

    >>> decode_text("a red car".encode())
    'a red car'
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MediaDecodeError("is not UTF-8 text") from None
    if not text.strip():
        raise MediaDecodeError("is empty")
    if "\0" in text:
        raise MediaDecodeError("holds a NUL byte")
    return text


def decode_image(data: bytes, caps: MediaCaps) -> Image.Image:
    """The first frame of an image as RGB, upright by its EXIF orientation, transparency laid on white.

    Raises:
        MediaDecodeError: cut short, over the pixel cap, without a known white, or no image of a known format.
    """
    from PIL import Image, ImageFile, ImageOps

    check_whole(data)
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = caps.max_pixels, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)  # damaged metadata beside sound pixels
            with Image.open(io.BytesIO(data), formats=_readable_formats()) as image:
                image.load()
                return _on_white(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as bomb:
        n_pixels = re.search(r"\d+", str(bomb))
        count = f"{int(n_pixels[0]):,}" if n_pixels else "too many"
        raise MediaDecodeError(f"has {count} pixels, more than the {caps.max_pixels:,} allowed") from None
    except (MediaDecodeError, MemoryError, TimeoutError):
        raise
    except Exception as error:  # decoders meet hostile bytes with errors of every type
        cut = any(sign in str(error).lower() for sign in ("truncated", "broken data stream", "unexpected end"))
        raise MediaDecodeError("is cut short" if cut else "is not an image that can be read") from error
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


@cache
def _readable_formats() -> tuple[str, ...]:
    """``IMAGE_FORMATS`` that this Pillow was built with."""
    from PIL import Image

    Image.init()
    return tuple(name for name in IMAGE_FORMATS if name in Image.OPEN)


def _on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "F":
        raise MediaDecodeError("has pixels that are fractions, of which nobody knows what is white; save 8 or 16 bits")
    if image.mode.startswith("I;16") or image.mode == "I":  # 16-bit gray, which convert() would clip
        values = np.asarray(image, dtype=np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise MediaDecodeError("has pixels outside of 0 to 65,535; save it with 8 or 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def decode_audio(data: bytes, caps: MediaCaps, seconds: float | None = None) -> np.ndarray:
    """Sound as one channel at 16 kHz.

    Args:
        data: a file that libsndfile or FFmpeg reads (wav, flac, ogg, opus, mp3, m4a, the sound of an mp4, …).
        caps: a longer file than ``max_seconds`` is refused.
        seconds: keep only the first so many; ``None`` decodes all.

    Returns:
        float32[T] in about [-1, 1], T >= 1.

    Raises:
        MediaDecodeError: cut short, too long, silent of samples, or no sound of a known format.
    """
    import soundfile

    check_whole(data)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            wave = resample(_read_soundfile(file, caps, seconds), file.samplerate)
    except soundfile.SoundFileError:
        from rlmba_pipelines.encoders.video import read_sound

        wave = read_sound(data, caps, seconds)
    if not np.isfinite(wave).all():
        raise MediaDecodeError("holds samples that are not finite numbers")
    if not len(wave):
        raise MediaDecodeError("has no sound in it")
    return wave


def _read_soundfile(file: Any, caps: MediaCaps, seconds: float | None) -> np.ndarray:
    rate, n_frames = file.samplerate, file.frames
    if n_frames > _UNKNOWN_LENGTH:
        raise MediaDecodeError("does not say how long it is")
    if n_frames / rate > caps.max_seconds:
        raise MediaDecodeError(f"lasts {n_frames / rate:,.0f} seconds, more than the {caps.max_seconds:,.0f} allowed")
    wanted = n_frames if seconds is None else min(n_frames, round(seconds * rate))
    blocks: list[np.ndarray] = []
    n_read = 0
    while n_read < wanted:
        block = file.read(min(_BLOCK_FRAMES, wanted - n_read), dtype="float32", always_2d=True)
        if not len(block):
            raise MediaDecodeError(f"is cut short (expected {n_frames:,} sound frames, found {n_read:,})")
        blocks.append(block.mean(axis=1))
        n_read += len(block)
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """float32[T] at ``rate`` brought to 16 kHz by a polyphase filter, the same on every machine.

    >>> len(resample(np.zeros(44_100, dtype=np.float32), 44_100))
    16000
    """
    if rate == SAMPLE_RATE:
        return np.ascontiguousarray(wave, dtype=np.float32)
    from scipy.signal import resample_poly

    divisor = gcd(rate, SAMPLE_RATE)
    return resample_poly(wave, SAMPLE_RATE // divisor, rate // divisor).astype(np.float32)

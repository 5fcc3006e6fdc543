"""Small media made on the spot, for the tests of decoding and encoding."""

import io
import tempfile
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image

from rlmba_pipelines.config import EncodersConfig, MediaCaps

CAPS = MediaCaps()
CPU = EncodersConfig(device="cpu", workers=1)


def picture(seed=0, size=(40, 30)):
    """Smooth colors that no codec blurs beyond recognition."""
    corners = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize(size, Image.Resampling.BICUBIC)


def image_bytes(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def tone(seconds=1.0, hz=440.0, rate=16_000, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def sound_bytes(wave, rate=16_000, kind="WAV", subtype=None):
    out = io.BytesIO()
    soundfile.write(out, wave, rate, format=kind, subtype=subtype)
    return out.getvalue()


def video_bytes(n_pictures=30, size=(64, 48), sound_seconds=None, kind="mp4", codec="mpeg4", options=None, corner=None):
    """A video whose picture number k is gray of value 8 k; ``corner`` is the gray of its upper left quarter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video"
        _write_video(path, n_pictures, size, sound_seconds, kind, codec, options or {}, corner)
        return path.read_bytes()


def _write_video(path, n_pictures, size, sound_seconds, kind, codec, options, corner):
    with av.open(str(path), "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono") if sound_seconds else None
        for number in range(n_pictures):
            gray = np.full((size[1], size[0], 3), min(8 * number, 255), dtype=np.uint8)
            if corner is not None:
                gray[: size[1] // 2, : size[0] // 2] = corner
            container.mux(stream.encode(av.VideoFrame.from_ndarray(gray, format="rgb24")))
        container.mux(stream.encode(None))
        if sound is not None:
            wave = tone(sound_seconds)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate = 16_000
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))

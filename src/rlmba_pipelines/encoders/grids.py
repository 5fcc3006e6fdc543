"""Decoded media on a small grid: what encoders that are trained with the fusion network see. No weights, no fitting.

Image   RGB, 32 x 32, channel by channel.
Text    counts of hashed character n-grams, as the encoder ``tiny`` has them.
Audio   log-mel spectrum of 40 bands in steps of 50 ms, padded with silence to the length asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from rlmba_pipelines.config import GRID_BANDS, GRID_PIXELS, EncodersConfig
from rlmba_pipelines.encoders.base import Found
from rlmba_pipelines.encoders.containers import SAMPLE_RATE
from rlmba_pipelines.encoders.spectrum import log_mel
from rlmba_pipelines.encoders.tiny import TEXT_DIM, text_counts

if TYPE_CHECKING:
    from PIL import Image

STEPS_PER_SECOND = 20


def find_grid(modality: str, config: EncodersConfig) -> Found:
    """The grid of one modality, before it is built."""
    encoder = GridEncoder(modality, config.audio_seconds)
    return Found(modality, encoder.fingerprint, lambda: encoder)


class GridEncoder:
    """Media of one modality as rows, behind the door that all encoders share."""

    def __init__(self, modality: str, audio_seconds: float) -> None:
        self.modality = modality
        n_steps = max(1, round(audio_seconds * STEPS_PER_SECOND))
        rows: dict[str, tuple[Callable[[Any], np.ndarray], int, str]] = {
            "image": (pixels, 3 * GRID_PIXELS**2, f"px{GRID_PIXELS}"),
            "text": (text_counts, TEXT_DIM, f"d{TEXT_DIM}"),
            "audio": (lambda wave: spectrum(wave, n_steps), GRID_BANDS * n_steps, f"mel{GRID_BANDS}-t{n_steps}"),
        }
        self._row, self.dim, shape = rows[modality]
        self.fingerprint = f"grid-{modality}-v1-{shape}"

    def encode(self, items: Iterable[Any]) -> np.ndarray:
        """float32[n, D]."""
        rows = [self._row(item) for item in items]
        return np.stack(rows) if rows else np.zeros((0, self.dim), dtype=np.float32)


def pixels(image: Image.Image) -> np.ndarray:
    """float32[3 * 32 * 32] in [0, 1], the whole image squeezed into a square."""
    from PIL.Image import Resampling

    small = image.resize((GRID_PIXELS, GRID_PIXELS), Resampling.BICUBIC)
    return (np.asarray(small, dtype=np.float32) / 255).transpose(2, 0, 1).ravel()


def spectrum(wave: np.ndarray, n_steps: int) -> np.ndarray:
    """float32[40 * n_steps], band by band; each step is the mean over its 50 ms."""
    per_step = SAMPLE_RATE // STEPS_PER_SECOND
    whole = np.zeros(n_steps * per_step, dtype=np.float32)
    whole[: len(wave)] = wave[: len(whole)]
    bands = log_mel(whole, GRID_BANDS)
    return bands.reshape(GRID_BANDS, n_steps, -1).mean(axis=2).astype(np.float32).ravel()

"""Encoders without weights: what to fall back on where nothing can be installed. Plain NumPy, no fitting.

Image   mean, spread and histogram of color, histograms of edge directions (Dalal and Triggs 2005) on a 4 x 4 grid.
Text    hashed character n-grams with sublinear counts (Weinberger et al. 2009).
Audio   statistics over time of a log-mel spectrum.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from rlmba_pipelines.encoders.containers import SAMPLE_RATE
from rlmba_pipelines.encoders.spectrum import log_mel

if TYPE_CHECKING:
    from PIL import Image

PIXELS = 48
CELLS = 4
DIRECTIONS = 8
TEXT_DIM = 512
N_MELS = 40
FINGERPRINTS = {
    "image": f"tiny-image-v1-px{PIXELS}",
    "text": f"tiny-text-v1-d{TEXT_DIM}",
    "audio": f"tiny-audio-v1-mel{N_MELS}",
}


def image_statistics(image: Image.Image) -> np.ndarray:
    """float32[288]: per cell mean and spread of RGB and edge directions, and a histogram of 64 colors."""
    from PIL.Image import Resampling

    rgb = np.asarray(image.resize((PIXELS, PIXELS), Resampling.BICUBIC), dtype=np.float32) / 255
    cells = _cells(rgb)
    colors = np.histogramdd(rgb.reshape(-1, 3), bins=(4, 4, 4), range=[(0, 1)] * 3)[0].ravel() / PIXELS**2
    down, right = np.gradient(rgb.mean(axis=2))
    strength = np.hypot(down, right)
    direction = ((np.arctan2(down, right) % np.pi) / np.pi * DIRECTIONS).astype(int) % DIRECTIONS
    edges = _cells(strength[..., None] * (direction[..., None] == np.arange(DIRECTIONS))).sum(axis=1)
    edges = edges / (np.linalg.norm(edges) + 1e-6)
    parts = (cells.mean(axis=1), cells.std(axis=1), np.sqrt(colors), edges)
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def _cells(array: np.ndarray) -> np.ndarray:
    """[PIXELS, PIXELS, X] as [CELLS * CELLS, pixels of a cell, X]."""
    side = PIXELS // CELLS
    grid = array.reshape(CELLS, side, CELLS, side, -1).swapaxes(1, 2)
    return grid.reshape(CELLS * CELLS, side * side, -1)


def text_counts(text: str) -> np.ndarray:
    """float32[512] of length 1: signed hashes of the 2- to 4-grams of every word, counts as ``1 + log(count)``.

    >>> bool(text_counts("red car") @ text_counts("red cars") > text_counts("red car") @ text_counts("blue sky"))
    True
    """
    grams: Counter[str] = Counter()
    for word in text.lower().split():
        marked = f"<{word}>"
        grams.update(marked[i : i + n] for n in (2, 3, 4) for i in range(len(marked) - n + 1))
    row = np.zeros(TEXT_DIM)
    for gram, count in grams.items():
        code = zlib.crc32(gram.encode("utf-8", errors="replace"))
        row[code % TEXT_DIM] += (1 if code >> 31 else -1) * (1 + np.log(count))
    return (row / max(float(np.linalg.norm(row)), 1e-6)).astype(np.float32)


def audio_statistics(wave: np.ndarray) -> np.ndarray:
    """float32[160]: mean, spread, loudest tenth and mean change over time of every band."""
    shortest = SAMPLE_RATE // 10
    spectrum = log_mel(np.pad(wave, (0, max(0, shortest - len(wave)))), N_MELS)
    change = np.abs(np.diff(spectrum, axis=1)).mean(axis=1)
    loud = np.quantile(spectrum, 0.9, axis=1)
    return np.concatenate([spectrum.mean(axis=1), spectrum.std(axis=1), loud, change]).astype(np.float32)


class TinyEncoder:
    """The statistics of one modality behind the door that all encoders share."""

    def __init__(self, modality: str, audio_seconds: float) -> None:
        self.modality = modality
        n_samples = round(audio_seconds * SAMPLE_RATE)
        rows: dict[str, Callable[[Any], np.ndarray]] = {
            "image": image_statistics,
            "text": text_counts,
            "audio": lambda wave: audio_statistics(wave[:n_samples]),
        }
        self._row = rows[modality]
        self.dim = {"image": CELLS**2 * (6 + DIRECTIONS) + 64, "text": TEXT_DIM, "audio": 4 * N_MELS}[modality]
        self.fingerprint = FINGERPRINTS[modality] + (f"-s{audio_seconds:g}" if modality == "audio" else "")

    def encode(self, items: Iterable[Any]) -> np.ndarray:
        rows = [self._row(item) for item in items]
        return np.stack(rows) if rows else np.zeros((0, self.dim), dtype=np.float32)

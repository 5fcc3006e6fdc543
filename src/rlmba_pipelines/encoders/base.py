"""What every encoder is, and the fixed grid that makes a row independent of its neighbours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Encoder(Protocol):
    """Frozen weights that turn decoded media of one modality into rows of features.

    Attributes:
        modality: image, text, audio or video.
        dim: D, the width of a row.
        fingerprint: names the encoder, the sha256 of its weights and its preprocessing; equal fingerprints mean
            equal features.
    """

    modality: str
    dim: int
    fingerprint: str

    def encode(self, items: Iterable[Any]) -> np.ndarray:
        """float32[n, D] for decoded media: RGB images, texts, float32[T] sound at 16 kHz, (frames, sound).

        Items are drawn one by one and shrunk at once, so an iterator that decodes keeps memory low.
        """
        ...


@dataclass(frozen=True)
class Found:
    """An encoder that is there, before its weights are loaded: enough to look in the cache."""

    modality: str
    fingerprint: str
    build: Callable[[], Encoder]


def on_grid(
    shapes: Sequence[Hashable], forward: Callable[[list[int]], np.ndarray], grid_rows: int, dim: int
) -> np.ndarray:
    """Call ``forward`` on batches of exactly ``grid_rows`` items of one shape, the tail padded with its last item.

    A row then depends on its own item alone: never on how many others there are, nor on how long these are. On a CPU
    the features are bit for bit the same whatever the order, the shards and the workers.

    Args:
        shapes: n of them; only items of equal shape share a batch.
        forward: positions of ``grid_rows`` items -> float32[grid_rows, dim].
        grid_rows: size of every batch.
        dim: D.

    Returns:
        float32[n, D], rows in the order of ``shapes``.

    >>> on_grid("aab", lambda rows: np.array([[float(r)] for r in rows]), grid_rows=2, dim=1).ravel()
    array([0., 1., 2.], dtype=float32)
    """
    out = np.empty((len(shapes), dim), dtype=np.float32)
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for position, shape in enumerate(shapes):
        groups[shape].append(position)
    for group in groups.values():
        for start in range(0, len(group), grid_rows):
            batch = group[start : start + grid_rows]
            padded = batch + [batch[-1]] * (grid_rows - len(batch))
            out[batch] = forward(padded)[: len(batch)]
    return out

"""Torch networks as encoders: pixels, clips, spectra and tokens in, rows of features out. Others find the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from rlmba_pipelines.config import EncodersConfig
from rlmba_pipelines.encoders.base import Encoder, on_grid
from rlmba_pipelines.encoders.containers import SAMPLE_RATE
from rlmba_pipelines.encoders.runtime import choose_device, inference
from rlmba_pipelines.encoders.spectrum import log_stft

if TYPE_CHECKING:
    import torch
    from PIL import Image

GRID_ROWS = 16  # on a CPU larger batches are no faster and need more memory


@dataclass(frozen=True)
class PixelPrep:
    """How an image becomes pixels: short side to ``pixels``, center cut to a square, then ``(x - mean) / std``."""

    pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def cut(self, image: Image.Image) -> np.ndarray:
        """uint8[pixels, pixels, 3]."""
        from PIL import Image

        width, height = image.size
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        square = image.resize((self.pixels,) * 2, Image.Resampling.BICUBIC, (left, top, left + side, top + side))
        return np.asarray(square, dtype=np.uint8)

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8[..., H, W, 3] to float32[..., 3, H, W] on the same device."""
        import torch

        mean, std = (torch.tensor(values, device=pixels.device) for values in (self.mean, self.std))
        return ((pixels.float() / 255 - mean) / std).movedim(-1, -3)

    def __str__(self) -> str:
        return f"px{self.pixels}"


class PixelNet:
    """A network that turns float32[B, 3, H, W] into [B, D]."""

    modality = "image"

    def __init__(
        self, model: torch.nn.Module, prep: PixelPrep, fingerprint: str, config: EncodersConfig,
        pool: Callable[[Any], torch.Tensor],
    ) -> None:
        import torch

        self.fingerprint = fingerprint
        self._config, self._prep, self._pool = config, prep, pool
        self._device = choose_device(config)
        self._model = model.eval().to(self._device).to(memory_format=torch.channels_last)
        self._grid_rows = grid_rows(config)
        self.dim = self._forward(np.zeros((1, prep.pixels, prep.pixels, 3), dtype=np.uint8)).shape[1]

    def encode(self, items: Iterable[Image.Image]) -> np.ndarray:
        """float32[n, D] of RGB images."""
        squares = [self._prep.cut(image) for image in items]
        return on_grid(
            [0] * len(squares), lambda rows: self._forward(np.stack([squares[r] for r in rows])),
            self._grid_rows, self.dim,
        )

    def _forward(self, pixels: np.ndarray) -> np.ndarray:
        import torch

        with inference(self._config):
            batch = self._prep.normalize(torch.from_numpy(pixels).to(self._device))
            return self._pool(self._model(batch)).float().cpu().numpy()


class ClipNet:
    """A network over clips. ``channels_first``: [B, 3, T, H, W] (torchvision), else [B, T, 3, H, W] (transformers)."""

    modality = "video"

    def __init__(
        self, model: torch.nn.Module, prep: PixelPrep, n_frames: int, fingerprint: str, config: EncodersConfig,
        pool: Callable[[Any], torch.Tensor], channels_first: bool,
    ) -> None:
        self.fingerprint = fingerprint
        self.n_frames = n_frames
        self._config, self._prep, self._pool, self._channels_first = config, prep, pool, channels_first
        self._device = choose_device(config)
        self._model = model.eval().to(self._device)
        self._grid_rows = min(4, grid_rows(config))
        self.dim = self._forward(np.zeros((1, n_frames, prep.pixels, prep.pixels, 3), dtype=np.uint8)).shape[1]

    def encode(self, items: Iterable[tuple[Sequence[Image.Image], object]]) -> np.ndarray:
        """float32[n, D] of (frames, sound); the sound is not looked at."""
        clips = [
            np.stack([self._prep.cut(frame) for frame in spread(frames, self.n_frames)]) for frames, _ in items
        ]
        return on_grid(
            [0] * len(clips), lambda rows: self._forward(np.stack([clips[r] for r in rows])), self._grid_rows, self.dim
        )

    def _forward(self, pixels: np.ndarray) -> np.ndarray:
        import torch

        with inference(self._config):
            batch = self._prep.normalize(torch.from_numpy(pixels).to(self._device))
            output = self._model(batch.swapaxes(1, 2) if self._channels_first else batch)
            return self._pool(output).float().cpu().numpy()


class SpectrumNet:
    """An image network over the log-STFT of the first seconds of a sound, padded with silence.

    The spectrum stands in all three colors, which is the network of one channel whose first filters are the sums over
    colors. Source: Shen et al. 2023 (arXiv 2306.08306); their means and spreads of two data sets are rounded to one.
    """

    modality = "audio"
    mean, std = -3.0, 3.0  # published: -3.0352 and 3.0475, -3.0093 and 2.7911

    def __init__(self, model: torch.nn.Module, fingerprint: str, config: EncodersConfig) -> None:
        import torch

        self.fingerprint = fingerprint
        self._config = config
        self._n_samples = round(config.audio_seconds * SAMPLE_RATE)
        self._device = choose_device(config)
        self._model = model.eval().to(self._device).to(memory_format=torch.channels_last)
        self._grid_rows = grid_rows(config)
        self.dim = self._forward(self._spectrum(np.zeros(1, dtype=np.float32))[None]).shape[1]

    def encode(self, items: Iterable[np.ndarray]) -> np.ndarray:
        """float32[n, D] of float32[T] sound at 16 kHz."""
        waves, blocks = iter(items), [np.empty((0, self.dim), dtype=np.float32)]
        while batch := [self._spectrum(wave) for wave in islice(waves, self._grid_rows)]:
            blocks.append(on_grid([0] * len(batch), partial(self._rows, np.stack(batch)), self._grid_rows, self.dim))
        return np.concatenate(blocks)

    def _rows(self, spectra: np.ndarray, rows: list[int]) -> np.ndarray:
        return self._forward(spectra[rows])

    def _spectrum(self, wave: np.ndarray) -> np.ndarray:
        wave = wave[: self._n_samples].clip(-1, 1)
        return (log_stft(np.pad(wave, (0, self._n_samples - len(wave)))) - self.mean) / self.std

    def _forward(self, spectra: np.ndarray) -> np.ndarray:
        import torch

        with inference(self._config):
            batch = torch.from_numpy(spectra).to(self._device)[:, None].expand(-1, 3, -1, -1)
            return self._model(batch).float().cpu().numpy()


class TokenNet:
    """A transformer over tokens. ``pool`` gets the model's output and the mask int64[B, L] and gives [B, D]."""

    modality = "text"

    def __init__(
        self, model: torch.nn.Module, tokenize: Callable[[str], list[int]], pad_id: int, fingerprint: str,
        config: EncodersConfig, pool: Callable[[Any, torch.Tensor], torch.Tensor], longest: int,
        fixed_length: int = 0,
    ) -> None:
        self.fingerprint = fingerprint
        self._config, self._tokenize, self._pool = config, tokenize, pool
        self._pad_id, self._longest, self._fixed_length = pad_id, longest, fixed_length
        self._device = choose_device(config)
        self._model = model.eval().to(self._device)
        self._grid_rows = grid_rows(config)
        self.dim = self._forward([tokenize("a")], self._length(1)).shape[1]

    def encode(self, items: Iterable[str]) -> np.ndarray:
        """float32[n, D] of texts; longer ones than the model takes are cut at its limit."""
        tokens = [self._tokenize(text) for text in items]
        lengths = [self._length(len(ids)) for ids in tokens]
        return on_grid(
            lengths, lambda rows: self._forward([tokens[r] for r in rows], lengths[rows[0]]), self._grid_rows, self.dim
        )

    def _length(self, n: int) -> int:
        return self._fixed_length or min(padded_length(n), self._longest)

    def _forward(self, tokens: list[list[int]], length: int) -> np.ndarray:
        import torch

        length = max(length, *map(len, tokens))
        ids = torch.tensor([t + [self._pad_id] * (length - len(t)) for t in tokens], device=self._device)
        mask = torch.tensor([[1] * len(t) + [0] * (length - len(t)) for t in tokens], device=self._device)
        with inference(self._config):
            return self._pool(self._model(input_ids=ids, attention_mask=mask), mask).float().cpu().numpy()


class FrameEncoder:
    """Video through an image encoder: mean and standard deviation over the frames, side by side."""

    modality = "video"

    def __init__(self, image_encoder: Encoder, n_frames: int, fingerprint: str) -> None:
        self._image_encoder = image_encoder
        self.n_frames = n_frames
        self.dim = 2 * image_encoder.dim
        self.fingerprint = fingerprint

    def encode(self, items: Iterable[tuple[Sequence[Image.Image], object]]) -> np.ndarray:
        """float32[n, 2 D] of (frames, sound); the sound is not looked at."""
        frames = (frame for clip, _ in items for frame in spread(clip, self.n_frames))
        rows = self._image_encoder.encode(frames).reshape(-1, self.n_frames, self._image_encoder.dim)
        return np.concatenate([rows.mean(axis=1), rows.std(axis=1)], axis=1)


def spread(frames: Sequence[Any], n_frames: int) -> list[Any]:
    """``n_frames`` of the frames, evenly spaced, repeated where there are too few.

    >>> spread("abcdef", 3), spread("ab", 4)
    (['b', 'd', 'f'], ['a', 'a', 'b', 'b'])
    """
    return [frames[int((part + 0.5) * len(frames) / n_frames)] for part in range(n_frames)]


def padded_length(n: int) -> int:
    """The next multiple of 8 up to 32, of 32 above: few enough lengths to fill batches.

    >>> [padded_length(n) for n in (1, 8, 9, 33, 65)]
    [8, 8, 16, 64, 96]
    """
    step = 8 if n <= 32 else 32
    return -(-n // step) * step


def grid_rows(config: EncodersConfig) -> int:
    """Rows of every batch."""
    return config.predict_batch_size if choose_device(config) == "cuda" else min(GRID_ROWS, config.predict_batch_size)


def masked_mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """[B, L, D] and [B, L] to [B, D]: the mean over what the mask keeps."""
    kept = mask.to(tokens.dtype)[..., None]
    return (tokens * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)

"""Audio models of transformers: raw waveforms (wav2vec2, HuBERT, WavLM) and spectra (Whisper, AST, CLAP)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rlmba_pipelines.config import EncodersConfig
from rlmba_pipelines.encoders.base import on_grid
from rlmba_pipelines.encoders.containers import SAMPLE_RATE
from rlmba_pipelines.encoders.nets import grid_rows, masked_mean
from rlmba_pipelines.encoders.runtime import choose_device, inference
from rlmba_pipelines.learning.types import UserError


class WaveNet:
    """A tower of transformers over what its own feature extractor makes of the sound.

    Sound is padded with silence to the next half second before a raw-waveform model sees it, and outputs are averaged
    over the part that was not padded. Whisper, AST and CLAP see the length that they were trained on.
    """

    modality = "audio"

    def __init__(
        self, tower: Any, folder: Path, model_type: str, fingerprint: str, config: EncodersConfig
    ) -> None:
        from transformers import AutoFeatureExtractor

        try:
            self._extract = AutoFeatureExtractor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise UserError(f"{folder} holds no feature extractor; save the model's own beside it.") from error
        self.fingerprint = fingerprint
        self._config = config
        self._rate = int(getattr(self._extract, "sampling_rate", SAMPLE_RATE))
        self._max_samples = round(config.audio_seconds * SAMPLE_RATE)
        self._device = choose_device(config)
        self._tower = tower.eval().to(self._device)
        self._input = tower.main_input_name
        self._is_raw = hasattr(tower, "feature_extractor")  # the convolutions over raw samples
        self._is_whisper = model_type == "whisper"
        self._grid_rows = min(4, grid_rows(config))
        self.dim = self._forward([self._prepare(np.zeros(SAMPLE_RATE // 2, dtype=np.float32))]).shape[1]

    def encode(self, items: Iterable[np.ndarray]) -> np.ndarray:
        """float32[n, D] of float32[T] sound at 16 kHz."""
        prepared = [self._prepare(wave) for wave in items]
        shapes = [features.shape for features, _ in prepared]
        return on_grid(shapes, lambda rows: self._forward([prepared[r] for r in rows]), self._grid_rows, self.dim)

    def _prepare(self, wave: np.ndarray) -> tuple[np.ndarray, float]:
        """What the tower reads, and how many seconds of it are sound."""
        from scipy.signal import resample_poly

        wave = wave[: self._max_samples]
        seconds = len(wave) / SAMPLE_RATE
        if self._rate != SAMPLE_RATE:
            wave = resample_poly(wave, self._rate, SAMPLE_RATE).astype(np.float32)
        if self._is_raw:
            half = self._rate // 2
            wave = np.pad(wave, (0, -(-max(len(wave), 1) // half) * half - len(wave)))
        features = self._extract(wave, sampling_rate=self._rate, return_tensors="np")[self._input][0]
        return np.asarray(features, dtype=np.float32), seconds

    def _forward(self, prepared: list[tuple[np.ndarray, float]]) -> np.ndarray:
        import torch

        batch = torch.from_numpy(np.stack([features for features, _ in prepared])).to(self._device)
        with inference(self._config):
            output = self._tower(batch)
            hidden = output.last_hidden_state
            if not (self._is_raw or self._is_whisper):
                return output.pooler_output.float().cpu().numpy()
            whole = batch.shape[1] / self._rate if self._is_raw else self._extract.chunk_length
            positions = torch.arange(hidden.shape[1], device=self._device)
            sounding = torch.tensor([max(1.0, s / whole * hidden.shape[1]) for _, s in prepared], device=self._device)
            return masked_mean(hidden, positions[None] < sounding[:, None]).float().cpu().numpy()

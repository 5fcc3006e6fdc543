"""Spectra in plain NumPy: log-mel, the same numbers as Whisper's own feature extractor, and plain log-STFT.

Reference: Radford et al. 2022 (arXiv 2212.04356), section 2.2; mel scale of Slaney 1998. Log-STFT as in Shen et al.
2023 (arXiv 2306.08306).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rlmba_pipelines.encoders.containers import SAMPLE_RATE

N_FFT = 400
HOP = 160  # 10 ms


def _hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Slaney's scale: linear below 1 kHz (15 mel), logarithmic above."""
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((np.maximum(mel, 15) - 15) * np.log(6.4) / 27))


@lru_cache(maxsize=4)
def mel_filters(n_mels: int) -> np.ndarray:
    """float64[n_mels, N_FFT // 2 + 1], triangles of equal area from 0 to 8 kHz."""
    bins = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    limits = _mel_to_hz(np.linspace(0, _hz_to_mel(np.array(SAMPLE_RATE / 2)), n_mels + 2))
    rising = (bins - limits[:-2, None]) / np.diff(limits)[:-1, None]
    falling = (limits[2:, None] - bins) / np.diff(limits)[1:, None]
    area = 2 / (limits[2:] - limits[:-2])
    return np.maximum(0, np.minimum(rising, falling)) * area[:, None]


def log_mel(wave: np.ndarray, n_mels: int) -> np.ndarray:
    """Log-mel spectrum, clipped 80 dB below its loudest value.

    Args:
        wave: float32[T] at 16 kHz.
        n_mels: bands.

    Returns:
        float32[n_mels, T // HOP]; a sine at full scale lies near 1, silence at -1.5.
    """
    padded = np.pad(wave.astype(np.float64), N_FFT // 2, mode="reflect" if len(wave) > N_FFT // 2 else "constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][: len(wave) // HOP]
    window = np.hanning(N_FFT + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    log_power = np.log10(np.maximum(mel_filters(n_mels) @ power.T, 1e-10))
    loudest = log_power.max() if log_power.size else 0.0
    return ((np.maximum(log_power, loudest - 8) + 4) / 4).astype(np.float32)


def log_stft(wave: np.ndarray, n_fft: int = 512, hop: int = 159) -> np.ndarray:
    """Natural logarithm of the magnitudes of a centered STFT, about -3 on average for sounds of the world.

    Args:
        wave: float32[T] at 16 kHz.
        n_fft: samples a Hann window, 32 ms.
        hop: samples from one window to the next.

    Returns:
        float32[n_fft // 2 + 1, T // hop + 1], at least ``log(1e-7)``.

    >>> log_stft(np.zeros(16_000, dtype=np.float32)).shape
    (257, 101)
    """
    padded = np.pad(wave.astype(np.float64), n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    window = np.hanning(n_fft + 1)[:-1]
    return np.log(np.abs(np.fft.rfft(frames * window)).T + 1e-7).astype(np.float32)

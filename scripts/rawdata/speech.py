"""Speech by espeak-ng: synthetic, in several languages and voices, mostly under noise."""

from __future__ import annotations

import ctypes
import io
import sys
from typing import Any

import av
import espeakng_loader
import numpy as np

from rawdata.utterances import VOICE_OF_LANGUAGE, Utterance

SAMPLE_RATE, MAX_SECONDS, BIT_RATE = 16_000, 2.5, 10_000


class Voice:
    """espeak-ng, through ctypes. Its own chance is seeded from the clock unless told otherwise.

    It carries its oscillators from one utterance to the next, so the same bytes need the same utterances in the same
    order in a process of their own.
    """

    RATE, PITCH, UTF8 = 1, 3, 1

    def __init__(self) -> None:
        self._espeak = ctypes.CDLL(espeakng_loader.get_library_path())
        self.sample_rate = self._espeak.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)
        self._heard: list[np.ndarray] = []
        samples_type = ctypes.POINTER(ctypes.c_short)
        callback_type = ctypes.CFUNCTYPE(ctypes.c_int, samples_type, ctypes.c_int, ctypes.c_void_p)
        self._callback = callback_type(self._hear)  # kept alive here: C holds only a pointer to it
        self._espeak.espeak_SetSynthCallback(self._callback)

    def _hear(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count:
            self._heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, words: str, voice: str, rate: int, pitch: int, seed: int) -> np.ndarray:
        """float64[T] in [-1, 1] at ``sample_rate``; ``rate`` in words a minute, ``pitch`` in 0 to 99."""
        self._heard.clear()
        self._espeak.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        if self._espeak.espeak_SetVoiceByName(voice.encode()):
            sys.exit(f"espeak-ng has no voice {voice}: install the pinned espeakng-loader.")
        self._espeak.espeak_SetParameter(self.RATE, rate, 0)
        self._espeak.espeak_SetParameter(self.PITCH, pitch, 0)
        text = words.encode() + b"\0"
        self._espeak.espeak_Synth(text, len(text), 0, 0, 0, self.UTF8, None, None)
        self._espeak.espeak_Synchronize()
        return np.concatenate(self._heard) / 32768.0


def speak(voice: Voice, words: str, how: Utterance) -> bytes:
    """The words spoken: trimmed, with the noise drawn for them, 2.5 s at most, as Opus."""
    speech = voice.say(words, f"{VOICE_OF_LANGUAGE[how.language]}+{how.speaker}", how.rate, how.pitch, how.seed)
    loud = np.flatnonzero(np.abs(speech) > 0.01)
    speech = speech[loud[0] : loud[-1] + 1]
    speech = resample(speech, voice.sample_rate)[: int(MAX_SECONDS * SAMPLE_RATE)]
    if how.snr_db is not None:
        noise = np.random.default_rng(how.noise_seed).standard_normal(len(speech))
        noise *= np.sqrt(np.mean(speech**2) / 10 ** (how.snr_db / 10))
        speech = speech + noise
    return encode_opus(0.7 * speech / np.abs(speech).max())


def resample(signal: np.ndarray, rate: int) -> np.ndarray:
    """From ``rate`` to SAMPLE_RATE by cutting the spectrum: no filter to choose, the same on every run."""
    n_out = round(len(signal) * SAMPLE_RATE / rate)
    return np.fft.irfft(np.fft.rfft(signal)[: n_out // 2 + 1], n_out) * (n_out / len(signal))


def encode_opus(signal: np.ndarray) -> bytes:
    """Mono Ogg Opus whose bytes hold no clock and no chance."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = BIT_RATE
        stream.options = {"flags": "+bitexact", "application": "voip", "frame_duration": "60"}
        frame = av.AudioFrame.from_ndarray(np.rint(signal * 32767).astype(np.int16)[None], "s16", "mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = 0  # libsndfile calls a short stream without it malformed
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()

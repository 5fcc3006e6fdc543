"""How a row is spoken: all that chance decides, drawn from the sample id before anything is said."""

from __future__ import annotations

import random
from typing import NamedTuple

VOICE_OF_LANGUAGE = {"en": "en-us", "de": "de", "es": "es", "fr": "fr", "it": "it", "pl": "pl"}
SHARE_ENGLISH = 0.5  # the other languages share the rest evenly
SPEAKERS = ["m1", "m2", "m3", "m4", "m7", "f1", "f2", "f3", "f4", "f5"]
SHARE_CLEAN_SPEECH = 0.08


class Utterance(NamedTuple):
    """Who says a name, and how: ``rate`` in words a minute, ``pitch`` in 0 to 99.

    ``seed`` is espeak-ng's own. ``noise_seed`` and ``snr_db`` are None where no noise is mixed in.
    """

    language: str
    speaker: str
    rate: int
    pitch: int
    seed: int
    noise_seed: int | None = None
    snr_db: float | None = None


def draw_utterance(sample_id: str, snr_db: tuple[float, float]) -> Utterance:
    """The utterance of a row; most are noisy, at a ratio drawn evenly from ``snr_db``."""
    draw = random.Random(f"{sample_id}|audio")
    others = sorted(set(VOICE_OF_LANGUAGE) - {"en"})
    language = "en" if draw.random() < SHARE_ENGLISH else draw.choice(others)
    speaker, rate, pitch = draw.choice(SPEAKERS), draw.randint(110, 150), draw.randint(30, 70)
    clean = Utterance(language, speaker, rate, pitch, seed=draw.getrandbits(31))
    if draw.random() < SHARE_CLEAN_SPEECH:
        return clean
    return clean._replace(noise_seed=draw.getrandbits(64), snr_db=draw.uniform(*snr_db))

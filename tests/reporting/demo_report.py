"""Plausible report data for tests and for the eye: ``python tests/reporting/demo_report.py OUT.html``."""

from __future__ import annotations

import io
import math
import sys
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from rlmba_pipelines.reporting.data import BoughtSample, Facts, Media, ReportData
from rlmba_pipelines.reporting.report import render_report
from rlmba_pipelines.reporting.words import explain

KINDS = {
    "food-fruit": ["red fruit apple", "lemon citrus sour", "grapes bunch vine"],
    "animal-mammal": ["fox face animal", "bear paw forest", "cow moo farm"],
    "sky & weather": ["sun bright rays", "rain cloud umbrella", "crescent moon night"],
    "transport-ground": ["bus stop traffic", "bicycle ride pedal", "locomotive steam"],
    "face-smiling": ["grinning face happy", "wink joke flirt", "halo angel innocent"],
    "musical-instrument": ["drum beat sticks", "violin strings bow", "trumpet brass jazz"],
}
FACTS = Facts(
    experiment="main",
    title="Which samples were worth labeling",
    strategy="herding",
    strategy_sentence="Covers the pool with the samples that the model finds hardest, in every modality.",
    reference="random",
    seed=0,
    dataset="emoji",
    pool_size=4012,
    validation_size=802,
    test_size=1500,
    n_classes=70,
    modalities=("image", "text", "audio"),
    encoders={"image": "EfficientNet-Lite0", "text": "MiniLM-L6", "audio": "Whisper tiny.en"},
    annotator="simulated",
    measured_on="test split (1,500 samples)",
    stop_reason="the 5 rounds asked for are done",
    seconds=143.0,
    versions={"rlmba_pipelines": "0.1.0", "torch": "2.14.1", "kedro": "1.7.0", "numpy": "2.4.1"},
    created="2026-02-14 09:30 UTC",
    command="kedro rounds run --rounds 5 --strategy herding --seed 0",
    forecast="the next 200 labels are expected to bring +1.3 points (+0.9 to +1.8)",
    rules=("the target 65.0 % is expected with 2,600 training labels (80 %: 2,000 to never), 7 more batches",),
    next_labels=200,
    target_accuracy=0.65,
)
HERDING = (0.412, 0.471, 0.509, 0.538, 0.558, 0.5734)
RANDOM = (0.412, 0.449, 0.478, 0.503, 0.522, 0.538)


def curves_of(
    strategies: dict[str, tuple[float, ...]], modalities: tuple[str, ...] = ("image", "text", "audio"), start: int = 210
) -> pd.DataFrame:
    """Curves with these accuracies, 200 labels a round; the rest follows by simple formulas."""
    rows = []
    for strategy, accuracies in strategies.items():
        for stage, accuracy in enumerate(accuracies):
            row: dict[str, Any] = {
                "strategy": strategy,
                "stage": stage,
                "labels": start + 200 * stage,
                "labels_total": start + 200 * stage + 802,
                "accuracy": accuracy,
                "accuracy_low": accuracy - 0.0253,
                "accuracy_high": accuracy + 0.025,
                "macro_f1": accuracy - 0.021,
                "validation_accuracy": accuracy + 0.004 * (-1) ** stage,
                "n_validation": 802,
                "nll": 3.4 - 3 * accuracy,
                "ece": (0.14 if strategy == "herding" else 0.16) - 0.015 * stage + 0.01 * (stage == 2),
                "imbalance": 0.2 - 0.02 * stage,
                "seconds_train": 8.1 + stage,
                "seconds_select": 1.3,
            }
            for m, modality in enumerate(modalities):
                row[f"accuracy_{modality}"] = accuracy * (0.6, 0.85, 0.3, 0.45)[m]
                row[f"shapley_{modality}"] = accuracy * (0.34, 0.55, 0.11, 0.2)[m] + 0.01 * stage * (1 - m)
                row[f"weight_{modality}"] = (
                    (0.3, 0.24, 0.46, 0.2)[m] + 0.008 * stage * (m - 1) if strategy != "random" else math.nan
                )
            rows.append(row)
    return pd.DataFrame(rows)


def picture(kind: int, shade: int, side: int = 64) -> Media:
    """A small drawing as PNG."""
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    color = [(214, 69, 65), (170, 110, 60), (240, 180, 40), (60, 120, 200), (250, 210, 70), (120, 80, 160)][kind % 6]
    box = (side // 8, side // 8, side - side // 8, side - side // 8)
    draw = ImageDraw.Draw(image)
    [draw.ellipse, draw.rectangle, draw.ellipse][shade % 3](
        box, fill=color, outline=(60, 50, 50), width=max(1, side // 32)
    )
    draw.line((side // 4, side * 2 // 3, side * 3 // 4, side * 2 // 3), fill=(60, 50, 50), width=max(2, side // 16))
    file = io.BytesIO()
    image.save(file, "PNG")
    return Media(file.getvalue(), "image/png")


def tone(hertz: float, seconds: float = 0.4, rate: int = 8000) -> Media:
    """A sine as WAV."""
    wave_N = 9000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setparams((1, 2, rate, 0, "NONE", ""))
        wav.writeframes(wave_N.astype("<i2").tobytes())
    return Media(file.getvalue(), "audio/wav")


def gallery_of(
    rounds: int, per_round: int, modalities: tuple[str, ...] = ("image", "text", "audio")
) -> tuple[BoughtSample, ...]:
    """Samples of every round; some lack a modality, some were guessed right."""
    rng = np.random.default_rng(3)
    labels, sounds = list(KINDS), [tone(220 * 2 ** (k / 12)) for k in range(6)]
    samples = []
    for round_idx in range(rounds + 1):
        for rank in range(per_round):
            kind, variant = int(rng.integers(len(labels))), int(rng.integers(3))
            present = [m for m in modalities if rng.random() > 0.1] or list(modalities[:1])
            names = ("margin", "entropy", "conflict", "vacuity", "distance", *(f"margin_{m}" for m in present))
            values = {name: float(v) for name, v in zip(names, rng.random(len(names)), strict=True)}
            terms = values if round_idx else {"coverage_gain": float(rng.random())}
            guessed = round_idx > 0
            samples.append(
                BoughtSample(
                    round_idx=round_idx,
                    rank=rank,
                    sample_id=f"{labels[kind].split('-')[0]}-{round_idx}{rank:02d}-noto",
                    label=labels[kind],
                    guess=labels[kind if rng.random() < 0.35 else (kind + 1) % len(labels)] if guessed else None,
                    guess_probability=float(rng.uniform(0.12, 0.7)) if guessed else None,
                    text=KINDS[labels[kind]][variant] if "text" in present else None,
                    image=picture(kind, variant) if "image" in present else None,
                    audio=sounds[kind] if "audio" in present else None,
                    poster=picture(kind, variant, 96) if "video" in present else None,
                    terms=terms,
                    why=explain(terms, terms, present),
                )
            )
    return tuple(samples)


def quarantine() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample_id": ["sky-0214", "food-0007"],
            "modality": ["image", "audio"],
            "file": ["photos/0214.jpg", "sounds/0007.ogg"],
            "reason": ["cut short: expected 48,211 bytes, found 17,002", "holds no sound"],
        }
    )


def report_data(rounds: int = 5, per_round: int = 12, **facts: Any) -> ReportData:
    """Report data of so many rounds; keywords replace facts."""
    changed = replace(FACTS, **facts)
    strategies = {changed.strategy: HERDING[: rounds + 1]}
    if changed.reference is not None:
        strategies[changed.reference] = RANDOM[: rounds + 1]
    return ReportData(
        facts=changed,
        curves=curves_of(strategies, changed.modalities),
        gallery=gallery_of(rounds, per_round, changed.modalities),
        quarantine=quarantine(),
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render_report(report_data()), encoding="utf-8")

"""What a report is made of: plain values that the caller hands over, checked when built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

CURVE_COLUMNS = (
    "strategy", "stage", "labels", "labels_total", "accuracy", "accuracy_low", "accuracy_high",
    "macro_f1", "nll", "ece", "imbalance", "seconds_train", "seconds_select",
)  # fmt: skip


@dataclass(frozen=True)
class Media:
    """One file as it is to be shown, e.g. ``Media(png_bytes, "image/png")``."""

    bytes: bytes
    mime: str


@dataclass(frozen=True)
class BoughtSample:
    """One sample of a batch, as the gallery shows it.

    Attributes:
        round_idx: round that bought it; 0 is the start batch.
        rank: place in the batch, 0 was chosen first.
        label: the answer that was bought.
        guess, guess_probability: class and probability in [0, 1] that the model gave it before the purchase;
            ``None`` where there was no model yet.
        text, image, audio, poster: what the sample holds; ``None`` where it has no such modality.
            ``poster`` is one frame of its video.
        terms: what the strategy looked at; higher = more worth labeling.
        why: the same in one sentence, see ``words.explain``.
        given: the steps that came with the answer.
        chains: chains of thought that the model wrote before the purchase: steps in one text, answer, how many said so.
        looks: more pictures, with what each shows.
    """

    round_idx: int
    rank: int
    sample_id: str
    label: str
    guess: str | None = None
    guess_probability: float | None = None
    text: str | None = None
    image: Media | None = None
    audio: Media | None = None
    poster: Media | None = None
    terms: Mapping[str, float] = field(default_factory=dict)
    why: str = ""
    given: tuple[str, ...] = ()
    chains: tuple[tuple[str, str, int], ...] = ()
    looks: tuple[tuple[str, Media], ...] = ()


@dataclass(frozen=True)
class Facts:
    """What the report says about the experiment as a whole.

    Attributes:
        strategy: name of the strategy that bought the labels; ``strategy_sentence`` says what it does.
        reference: strategy that was simulated beside it on the same seed; ``None`` where labels are bought
            from people, for then nobody knows the labels that the reference would have bought.
        pool_size, validation_size, test_size: samples in each split.
        encoders: modality -> name of the frozen encoder.
        annotator: ``"simulated"`` or ``"people"``.
        measured_on: e.g. ``"test split (1,500 samples)"``.
        stop_reason: why the experiment ended, one clause; empty while it may go on.
        seconds: wall time of all rounds together.
        versions: package -> version.
        created: date and time as it is to be shown.
        command: what to type to get the same numbers again.
        forecast: what the next batch is expected to bring, see ``outlook.forecast_words``; empty: not told.
        rules: when each stop rule would end the buying, see ``outlook.rule_words``.
        next_labels: size of the next batch; 0 where nothing is left to buy.
        target_accuracy: of the stop rules; ``None`` without one.
        annotators: of people who answered: name, answers, abstentions, share that became the label (or ``None``).
        alpha: Krippendorff's alpha of their answers; ``None`` where no two answered the same sample.
        paid: what all labels cost, in the manifest's unit.
    """

    experiment: str
    title: str
    strategy: str
    strategy_sentence: str
    reference: str | None
    seed: int
    dataset: str
    pool_size: int
    validation_size: int
    test_size: int
    n_classes: int
    modalities: tuple[str, ...]
    encoders: Mapping[str, str]
    annotator: str
    measured_on: str
    stop_reason: str
    seconds: float
    versions: Mapping[str, str]
    created: str
    command: str
    forecast: str = ""
    rules: tuple[str, ...] = ()
    next_labels: int = 0
    target_accuracy: float | None = None
    annotators: tuple[tuple[str, int, int, float | None], ...] = ()
    alpha: float | None = None
    paid: float | None = None


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows.

    Attributes:
        curves: one row per (strategy, stage), sorted when built. Stage 0 is measured after the start batch,
            stage k after round k. Columns: ``CURVE_COLUMNS``, and where known ``accuracy_<modality>``,
            ``shapley_<modality>`` and ``weight_<modality>``, and ``validation_accuracy`` with ``n_validation``, the
            samples behind it. ``labels`` counts training labels, ``labels_total`` also those for validation;
            ``labels_given`` of them were there before the run, and ``unlabeled`` samples were paid for and gave no
            label (both 0 where there is no such column). Accuracies are in [0, 1], the interval is 95 %.
        gallery: samples that were bought, shown by round and rank.
        quarantine: samples that were set aside and why, any columns.
    """

    facts: Facts
    curves: pd.DataFrame
    gallery: tuple[BoughtSample, ...] = ()
    quarantine: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __post_init__(self) -> None:
        missing = [name for name in CURVE_COLUMNS if name not in self.curves.columns]
        if missing and len(self.curves):
            raise ValueError(f"ReportData.curves: column {missing[0]!r} is missing")
        if missing:
            object.__setattr__(self, "curves", self.curves.reindex(columns=list(CURVE_COLUMNS)))
        if self.curves.duplicated(["strategy", "stage"]).any():
            raise ValueError("ReportData.curves: a (strategy, stage) pair appears twice")
        if len(self.curves) and not (self.curves["strategy"] == self.facts.strategy).any():
            raise ValueError(f"ReportData.curves: no row of the strategy {self.facts.strategy!r}")
        object.__setattr__(self, "curves", self.curves.sort_values(["strategy", "stage"], ignore_index=True))
        object.__setattr__(self, "gallery", tuple(sorted(self.gallery, key=lambda s: (s.round_idx, s.rank))))

    @property
    def rounds(self) -> tuple[int, ...]:
        """Rounds that the gallery shows."""
        return tuple(sorted({sample.round_idx for sample in self.gallery}))


def curve_of(curves: pd.DataFrame, strategy: str | None) -> pd.DataFrame:
    """The measured stages of one strategy, in order; no rows where it was not run.

    >>> table = pd.DataFrame({"strategy": ["a", "b", "a"], "stage": [1, 0, 0], "accuracy": [0.6, 0.5, float("nan")]})
    >>> curve_of(table, "a")["stage"].tolist()
    [1]
    """
    rows = curves[(curves["strategy"] == strategy) & curves["accuracy"].notna()]
    return rows.sort_values("stage", ignore_index=True)


def known_modalities(curve: pd.DataFrame, column: str, modalities: tuple[str, ...]) -> tuple[str, ...]:
    """Modalities whose ``<column>_<modality>`` was measured at least once.

    >>> curve = pd.DataFrame({"weight_text": [0.5], "weight_image": [float("nan")]})
    >>> known_modalities(curve, "weight", ("image", "text"))
    ('text',)
    """
    names = [(m, f"{column}_{m}") for m in modalities]
    return tuple(m for m, name in names if name in curve.columns and curve[name].notna().any())

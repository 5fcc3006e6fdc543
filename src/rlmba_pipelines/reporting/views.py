"""What each section of the page shows, as plain values: the templates only place them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from rlmba_pipelines.ledger import NOT_LABELS
from rlmba_pipelines.reporting.data import BoughtSample, Facts, ReportData, curve_of, known_modalities
from rlmba_pipelines.reporting.headline import accuracy_at, compare, percent, points
from rlmba_pipelines.reporting.media import Embedded, embed_audio, embed_image
from rlmba_pipelines.reporting.words import PEOPLE_SAY, listed, modality_name, term_meaning, term_name

MAX_TEXT, MAX_NAME, MAX_TERMS, MAX_QUARANTINE = 280, 120, 24, 100


@dataclass(frozen=True)
class Tile:
    """One key figure."""

    name: str
    value: str
    note: str


def tiles(curves: pd.DataFrame, facts: Facts) -> list[Tile]:
    """The key figures, most important first."""
    curve = curve_of(curves, facts.strategy)
    if curve.empty:
        return []
    first, last = curve.iloc[0], curve.iloc[-1]
    interval = f"95 % interval {100 * last['accuracy_low']:.1f}–{100 * last['accuracy_high']:.1f}"
    start = f"; {percent(first['accuracy'])} after the start batch" if len(curve) > 1 else ""
    shown = [Tile("Accuracy", percent(last["accuracy"]), interval + start), _labels_tile(last, facts)]
    comparison = compare(curves, facts)
    if comparison is None:
        shown += [
            Tile("Macro-F1", _number(last["macro_f1"], percent), "every class counts the same"),
            Tile("Calibration error", _number(last["ece"], percent), "how far its confidence is off"),
        ]
    else:
        saved, needed = comparison.share_saved, f"{comparison.labels_needed:,.0f} in place of"
        shown += [
            Tile(
                f"Against {facts.reference}",
                f"{points(comparison.difference)} points",
                f"at {comparison.labels:,} labels; {points(comparison.mean_difference)} on average over the curve",
            ),
            Tile(
                "Labels saved" if saved >= 0 else "Labels lost",
                f"{abs(100 * saved):.0f} %",
                f"{needed} {comparison.reference_needed:,.0f} for {percent(comparison.target)}",
            ),
        ]
    n_rounds = int(last["stage"])
    return [*shown, Tile("Time", duration(facts.seconds), f"{n_rounds} round{'' if n_rounds == 1 else 's'}")]


def _labels_tile(last: pd.Series, facts: Facts) -> Tile:
    given, unlabeled = last.get("labels_given", 0), last.get("unlabeled", 0)
    bought, total = last["labels"] - given, last["labels_total"] - given
    notes = [
        f"{percent(bought / facts.pool_size)} of the pool" if facts.pool_size else "",
        f"{total:,.0f} with those for validation" if total > bought else "",
        f"{given:,.0f} more were given" if given else "",
        f"{unlabeled:,.0f} paid for without a label" if unlabeled else "",
    ]
    return Tile("Labels bought", f"{bought:,.0f}", "; ".join(note for note in notes if note))


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(8.3), duration(143), duration(7260)
    ('8 s', '2 min 23 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def round_table(curves: pd.DataFrame, facts: Facts) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of rounds; a value that was not measured is a dash."""
    curve, theirs = curve_of(curves, facts.strategy), curve_of(curves, facts.reference)
    with_total, compared = bool((curve["labels_total"] != curve["labels"]).any()), not theirs.empty
    head = ["Round", "Labels", *(["with validation"] if with_total else []), "Accuracy", "95 % interval"]
    head += [*([f"Against {facts.reference}"] if compared else []), "Macro-F1", "NLL", "Calibration error", "Imbalance"]
    head += ["Training", "Selection"]
    rows = []
    for stage in curve.to_dict("records"):
        row = ["Start" if stage["stage"] == 0 else str(int(stage["stage"])), f"{stage['labels']:,.0f}"]
        row += [f"{stage['labels_total']:,.0f}"] if with_total else []
        row += [percent(stage["accuracy"]), f"{100 * stage['accuracy_low']:.1f}–{100 * stage['accuracy_high']:.1f}"]
        if compared:
            there = accuracy_at(theirs, stage["labels"])
            row.append("–" if there is None else points(stage["accuracy"] - there))
        row += [_number(stage["macro_f1"], percent), _number(stage["nll"], "{:.2f}".format)]
        row += [_number(stage["ece"], percent), _number(stage["imbalance"], "{:.2f}".format)]
        row += [_number(stage[f"seconds_{part}"], "{:.1f} s".format) for part in ("train", "select")]
        rows.append(row)
    return head, rows


def _number(value: float | None, form: Callable[[float], str], missing: str = "–") -> str:
    return form(value) if value is not None and math.isfinite(value) else missing


def modality_words(curves: pd.DataFrame, facts: Facts, column: str) -> str:
    """What the latest ``accuracy``, ``shapley`` or ``weight`` of the modalities says, in a sentence."""
    curve = curve_of(curves, facts.strategy)
    names = known_modalities(curve, column, facts.modalities)
    latest = {m: float(curve[f"{column}_{m}"].dropna().iloc[-1]) for m in names}
    order = sorted(names, key=lambda m: -latest[m])
    if column == "accuracy":
        each = listed([f"{modality_name(m)} reaches {percent(latest[m])}" for m in order])
        return f"Alone, {each}; together they reach {percent(curve['accuracy'].iloc[-1])}."
    if column == "weight":
        return f"At the end {listed([f'{modality_name(m)} weighs {100 * latest[m]:.0f} %' for m in order])}."
    total = sum(max(value, 0.0) for value in latest.values())
    if total <= 0:
        return "No modality lifts the accuracy above guessing."
    each = listed([f"{100 * max(latest[m], 0.0) / total:.0f} % to {modality_name(m)}" for m in order])
    return f"Of what the modalities bring over guessing, the model owes {each}."


@dataclass(frozen=True)
class Card:
    """One bought sample."""

    sample_id: str
    label: str
    text: str
    guess: str
    probability: str
    verdict: str  # "right", "wrong", or "none" where there was no model yet or no label
    pictures: Sequence[tuple[str, Embedded, str]]  # kind, what to show, and the same for those who cannot see it
    sound: Embedded | None
    lacks: str
    why: str
    terms: Sequence[tuple[str, str, str]]  # name, value, meaning
    find: str
    looks: Sequence[tuple[str, Embedded, str]] = ()  # words below, what to show, and for those who cannot see it
    given: str = ""
    chains: Sequence[tuple[str, str, str]] = ()  # steps, answer, votes


@dataclass(frozen=True)
class Batch:
    """The samples of one round that are shown."""

    round_idx: int
    title: str
    summary: str
    cards: Sequence[Card]


def batches(data: ReportData) -> list[Batch]:
    """The gallery by rounds."""
    bought = _bought_by_round(curve_of(data.curves, data.facts.strategy))
    shown = []
    for round_idx in data.rounds:
        samples = [sample for sample in data.gallery if sample.round_idx == round_idx]
        cards = [_card(sample, data.facts.modalities) for sample in samples]
        n_shown = sum(map(_has_label, samples))
        n_bought = max(bought.get(round_idx, 0), n_shown)
        of = "" if n_bought == n_shown else f"{n_shown} of "
        words = [f"{of}{n_bought:,} labels bought"]
        if len(cards) > n_shown:
            words.append(f"none from {len(cards) - n_shown} more")
        guessed = [card for card in cards if card.verdict != "none"]
        if guessed:
            right = sum(card.verdict == "right" for card in guessed)
            words.append(f"the model had guessed {right} of these {len(guessed)} right")
        elif round_idx == 0:
            words.append("before there was a model")
        title = f"Round {round_idx}" if round_idx else "Start"
        shown.append(Batch(round_idx, title, ", ".join(words) + ".", cards))
    return shown


def _bought_by_round(curve: pd.DataFrame) -> Mapping[int, int]:
    """Training labels that each round bought; round k is measured at stage k."""
    bought = curve["labels"] - curve.get("labels_given", 0)
    added = bought.diff().fillna(bought)
    return {int(stage): int(n) for stage, n in zip(curve["stage"], added, strict=True)}


def _has_label(sample: BoughtSample) -> bool:
    return bool(sample.label) and sample.label not in NOT_LABELS


def _card(sample: BoughtSample, modalities: Sequence[str]) -> Card:
    label, sample_id = _short(sample.label, MAX_NAME), _short(sample.sample_id, MAX_NAME)
    text = _short(sample.text, MAX_TEXT)
    guess, verdict = "", "none"
    if isinstance(sample.guess, str) and sample.guess:
        guess = _short(sample.guess, MAX_NAME)
        if _has_label(sample):
            verdict = "right" if sample.guess == sample.label else "wrong"
    holds = {"image": sample.image, "text": text, "audio": sample.audio, "video": sample.poster}
    lacking = [PEOPLE_SAY.get(m, m) for m in modalities if m in holds and not holds[m]]
    terms = [
        (_short(term_name(name), MAX_NAME), f"{value:.3g}", term_meaning(name))
        for name, value in list(sample.terms.items())[:MAX_TERMS]
    ]
    return Card(
        sample_id=sample_id,
        label=label,
        text=text,
        guess=guess,
        probability=_number(sample.guess_probability, lambda p: f"{100 * p:.0f} %", missing=""),
        verdict=verdict,
        pictures=[
            (kind, embed_image(medium), f"{words} of sample {sample_id}")
            for kind, medium, words in (
                ("still", sample.image, "Picture"),
                ("film", sample.poster, "Frame of the video"),
            )
            if medium
        ],
        sound=embed_audio(sample.audio) if sample.audio else None,
        lacks=f"no {' or '.join(lacking)}" if lacking else "",
        why=_short(sample.why, MAX_TEXT),
        terms=terms,
        find=" ".join((label, guess, text, sample_id)).lower(),
        looks=[(words, embed_image(medium), f"{words}, sample {sample_id}") for words, medium in sample.looks],
        given=_short(" · ".join(sample.given), MAX_TEXT),
        chains=[
            (_short(steps, MAX_TEXT), _short(answer, MAX_NAME), f"{votes} ×") for steps, answer, votes in sample.chains
        ],
    )


def _short(words: object, limit: int) -> str:
    """Text that fits and can be written: cut with an ellipsis, broken code units replaced; not text: empty."""
    if not isinstance(words, str):
        return ""
    clean = words[: limit + 1].encode("utf-8", "replace").decode().replace("\0", " ").strip()
    return clean if len(clean) <= limit else clean[: limit - 1].rstrip() + "…"


def annotator_rows(facts: Facts) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of people who answered."""
    rows = [
        [_short(name, MAX_TEXT), f"{answers:,}", f"{abstained:,}", "" if share is None else f"{100 * share:.0f} %"]
        for name, answers, abstained, share in facts.annotators
    ]
    return ["annotator", "answers", "abstained", "agreed with the label"], rows


def quarantine_table(quarantine: pd.DataFrame) -> tuple[list[str], list[list[str]], int]:
    """Head and first rows of the samples set aside, and how many more there are."""
    rows = [[_short(str(v), MAX_TEXT) for v in row] for row in quarantine.head(MAX_QUARANTINE).itertuples(index=False)]
    head = [str(name).replace("_", " ") for name in quarantine.columns]
    return head, rows, len(quarantine) - len(rows)

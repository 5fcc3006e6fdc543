"""What a model of visual questions can answer: by kind, by test set, and whether its chains hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from rlmba_pipelines.reporting.canvas import WIDE, Size, axes_words, canvas, direct_labels, line, room, styled
from rlmba_pipelines.reporting.data import Facts, curve_of
from rlmba_pipelines.reporting.headline import percent

STEPS = (("one_step", "one step", "strategy", "o"), ("relational", "two or more", "text", "s"))
WHOLE = (("accuracy", "all questions"), ("one_step", "questions of one step"), ("relational", "of two steps or more"))
CONSTANT_OF = {"accuracy": "constant"}
SETS = {"unseen": "pairs of color and shape that the pool never shows", "noise": "noised images",
        "shortcut": "a shortcut of the pool that does not hold"}  # fmt: skip
PARTS_OF_SETS = {"_relational": ", two steps or more", "_shifted": ", where the answer hangs on it"}
CHAINS = {
    "answer_score": "answers as they are written, by the rule of their data set",
    "chain_valid": "chains of which every step is true",
    "hallucination": "chains that speak of a thing that is not there",
    "attention_in_region": "of the attention on the image, what lies on the answer's region",
    "pointing": "steps whose most attended place lies in their region",
}


def questions_table(curves: pd.DataFrame, facts: Facts) -> tuple[list[str], list[list[str]]]:
    """Head and rows, one a measure: after the first and the last purchase, and what the best constant answer has.

    A row names in brackets how many questions it is about.
    """
    curve = curve_of(curves, facts.strategy)
    if not _is_measured(curve, "constant"):
        return [], []
    first, last = curve.iloc[0], curve.iloc[-1]
    head = ["Share of", *dict.fromkeys(f"{stage['labels']:,.0f} labels" for stage in (first, last))]
    head.append("best constant answer")
    rows = []
    for name, words in _measures(curve):
        constant = CONSTANT_OF.get(name, f"{name}_constant")
        told = [_share(stage, name) for stage in ([first, last] if len(head) == 4 else [last])]
        rows.append([f"{words}{_of_how_many(last, name)}", *told, _share(last, constant)])
    return head, rows


def _measures(curve: pd.DataFrame) -> Sequence[tuple[str, str]]:
    """Those that were measured, with their words, in the order of the table."""
    names = [str(name) for name in curve.columns]
    kinds = [name for name in names if name.startswith("kind_") and not name.endswith("_constant")]
    sets = [name for name in names if name.startswith("set_") and not name.endswith("_constant")]
    words: Mapping[str, str] = {
        **dict(WHOLE),
        **{name: f"kind: {name.removeprefix('kind_').replace('_', ' ')}" for name in kinds},
        **{name: _set_words(name) for name in sets},
        **CHAINS,
    }
    return [(name, told) for name, told in words.items() if _is_measured(curve, name)]


def _set_words(name: str) -> str:
    """
    >>> _set_words("set_noise"), _set_words("set_night_relational")
    ('test set: noised images', 'test set: night, two steps or more')
    """
    whole = name.removeprefix("set_")
    part = next((whole.removesuffix(suffix) for suffix in PARTS_OF_SETS if whole.endswith(suffix)), whole)
    return f"test set: {SETS.get(part, part)}{PARTS_OF_SETS.get(whole[len(part) :], '')}"


def _is_measured(curve: pd.DataFrame, name: str) -> bool:
    return name in curve and bool(curve[name].notna().any())


def _of_how_many(stage: pd.Series, name: str) -> str:
    """How many questions a share is of, where that was kept."""
    n = stage.get("n_measured" if name == "accuracy" else f"n_{name}")
    return f" ({n:,.0f})" if n is not None and math.isfinite(n) else ""


def _share(stage: pd.Series, name: str) -> str:
    value = stage.get(name)
    return percent(value) if value is not None and math.isfinite(value) else "–"


def has_steps(curves: pd.DataFrame, facts: Facts) -> bool:
    """Whether both kinds of questions were measured."""
    curve = curve_of(curves, facts.strategy)
    if not all(_is_measured(curve, name) for name, *_ in STEPS):
        return False
    return bool(curve[[name for name, *_ in STEPS]].notna().all(axis=1).any())


@styled
def steps_figure(curves: pd.DataFrame, facts: Facts, size: Size = WIDE) -> Figure:
    """Accuracy on questions of one step and of more, each with its best constant answer as a dotted line."""
    curve = curve_of(curves, facts.strategy)
    figure, axes = canvas(size, right=room([words for _, words, *_ in STEPS], size))
    ends = []
    for name, words, color, marker in STEPS:
        line(axes, curve["labels"], 100 * curve[f"{name}_constant"], color, "", (1.5, 1.2))
        line(axes, curve["labels"], 100 * curve[name], color, marker, ())
        ends.append((100 * float(curve[name].dropna().iloc[-1]), words, color))
    axes_words(axes, curve, "Accuracy, %", size, from_zero=True)
    direct_labels(axes, ends)
    return figure


def steps_words(curves: pd.DataFrame, facts: Facts) -> str:
    """The figure in a sentence."""
    last = curve_of(curves, facts.strategy).dropna(subset=[name for name, *_ in STEPS]).iloc[-1]
    told = [f"{percent(last[name])} of those with {words}" for name, words, *_ in STEPS]
    constants = [percent(last[f"{name}_constant"]) for name, *_ in STEPS]
    return (
        f"Of the questions {told[0]} and {told[1]} are answered right. Dotted: who always gave the same answer, the "
        f"most frequent one, would have {constants[0]} and {constants[1]}."
    )

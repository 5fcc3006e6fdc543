"""Pictures of an experiment: one function a question, each gives a matplotlib ``Figure``.

The same figures serve kedro-viz (saved as PNG) and the report (SVG, see ``svg.py``). No pyplot, hence no global state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlmba_pipelines.reporting.canvas import (
    HALF,
    WIDE,
    Size,
    axes_words,
    canvas,
    direct_labels,
    line,
    room,
    styled,
    y_title,
)
from rlmba_pipelines.reporting.data import Facts, curve_of, known_modalities
from rlmba_pipelines.reporting.headline import compare
from rlmba_pipelines.reporting.outlook import forecast_of
from rlmba_pipelines.reporting.palette import LIGHT, of_modality
from rlmba_pipelines.reporting.words import PEOPLE_SAY

FORECAST_BATCHES = 3  # drawn beyond the last measurement
MARKERS = {"image": "o", "text": "s", "audio": "^", "video": "D", "other": "v"}


@styled
def learning_curve(curves: pd.DataFrame, facts: Facts, size: Size = WIDE) -> Figure:
    """Accuracy over labels, the strategy against its reference, with 95 % bands and the labels saved."""
    figure, axes = canvas(size, right=room(_names(facts), size))
    ends = []
    for name, color, dashes, marker in (
        (facts.reference, "reference", (4, 2), "s"),
        (facts.strategy, "strategy", (), "o"),
    ):
        curve = curve_of(curves, name)
        if curve.empty:
            continue
        low, high = 100 * curve["accuracy_low"], 100 * curve["accuracy_high"]
        axes.fill_between(curve["labels"], low, high, color=LIGHT[color], alpha=0.13, linewidth=0)
        if len(curve) == 1:  # a band of one point has no width
            axes.vlines(curve["labels"], low, high, color=LIGHT[color], alpha=0.5)
        line(axes, curve["labels"], 100 * curve["accuracy"], color, marker, dashes)
        ends.append((100 * float(curve["accuracy"].iloc[-1]), str(name), color))
    axes_words(axes, curve_of(curves, facts.strategy), "Accuracy, %", size)
    direct_labels(axes, ends)
    _mark_saving(axes, curves, facts, size)
    return figure


@styled
def forecast(curves: pd.DataFrame, facts: Facts, size: Size = WIDE) -> Figure:
    """Validation accuracy so far, and where the next batches are expected to measure, with the 80 % band."""
    figure, axes = canvas(size, right=room(["measured", "forecast"], size))
    curve = curve_of(curves, facts.strategy)
    found = forecast_of(curve)
    ends = []
    if found is not None:
        known = curve[curve["validation_accuracy"].notna()]
        line(axes, known["labels"], 100 * known["validation_accuracy"], "strategy", "o", ())
        batches = found.labels + facts.next_labels * np.arange(FORECAST_BATCHES + 1)
        mean, low, high = 100 * np.array([found.measured(int(n)) for n in batches]).T
        axes.fill_between(batches, low, high, color=LIGHT["strategy"], alpha=0.13, linewidth=0)
        line(axes, pd.Series(batches), pd.Series(mean), "strategy", "", (1.5, 1.2))
        ends.append((float(mean[-1]), "forecast", "strategy"))
        if facts.target_accuracy is not None:
            axes.axhline(100 * facts.target_accuracy, color=LIGHT["ink"], linewidth=1)
            ends.append((100 * facts.target_accuracy, "target", "ink"))
        curve = pd.DataFrame({"labels": [*known["labels"], *batches[1:]]})
    axes_words(axes, curve, "Validation accuracy, %", size)
    direct_labels(axes, ends)
    return figure


def _names(facts: Facts) -> list[str]:
    return [name for name in (facts.strategy, facts.reference) if name]


def _mark_saving(axes: Axes, curves: pd.DataFrame, facts: Facts, size: Size) -> None:
    """A bracket at the accuracy that both reach, as long as the labels saved."""
    found = compare(curves, facts)
    if found is None or found.share_saved < 0.03:
        return
    start, end, level = found.labels_needed, found.reference_needed, 100 * found.target
    axes.annotate(
        "",
        (start, level),
        (end, level),
        arrowprops={"arrowstyle": "<|-|>", "color": LIGHT["ink"], "shrinkA": 0, "shrinkB": 0},
    )
    words = f"{end - start:,.0f} fewer labels\nfor {level:.1f} % accuracy"
    axes.annotate(
        words,
        ((start + end) / 2, level),
        (0.98, 0.07),
        textcoords="axes fraction",
        ha="right",
        va="bottom",
        linespacing=1.4,
        arrowprops={"arrowstyle": "-", "color": LIGHT["muted"], "linewidth": 1, "shrinkB": 5, "relpos": (0.5, 1)},
    )


@styled
def modality_accuracy(curves: pd.DataFrame, facts: Facts, size: Size = HALF) -> Figure:
    """Accuracy of each modality's own head beside that of all together."""
    curve = curve_of(curves, facts.strategy)
    names = known_modalities(curve, "accuracy", facts.modalities)
    return _lines_of_modalities(curve, names, "accuracy", "Accuracy, %", size, together=True)


@styled
def modality_weights(curves: pd.DataFrame, facts: Facts, size: Size = HALF) -> Figure:
    """Weight of each modality in fusion and choice, in percent, over the labels."""
    curve = curve_of(curves, facts.strategy)
    names = known_modalities(curve, "weight", facts.modalities)
    return _lines_of_modalities(curve, names, "weight", "Weight, %", size, together=False)


def _lines_of_modalities(
    curve: pd.DataFrame, names: Sequence[str], column: str, title: str, size: Size, *, together: bool
) -> Figure:
    spoken = [PEOPLE_SAY.get(m, m) for m in names]
    figure, axes = canvas(size, right=room([*spoken, "together"] if together else spoken, size))
    ends = []
    for modality, word in zip(names, spoken, strict=True):
        values, color = 100 * curve[f"{column}_{modality}"], of_modality(modality)
        line(axes, curve["labels"], values, color, MARKERS[color], ())
        ends.append((float(values.dropna().iloc[-1]), word, color))
    if together and not curve.empty:
        line(axes, curve["labels"], 100 * curve["accuracy"], "ink", "", (1.5, 1.2))
        ends.append((100 * float(curve["accuracy"].iloc[-1]), "together", "ink"))
    axes_words(axes, curve, title, size, from_zero=True)
    direct_labels(axes, ends)
    return figure


@styled
def modality_shares(curves: pd.DataFrame, facts: Facts, size: Size = HALF) -> Figure:
    """Each modality's share of what the modalities contribute together (Shapley values, the negative ones as 0)."""
    curve = curve_of(curves, facts.strategy)
    names = known_modalities(curve, "shapley", facts.modalities)
    spoken = [PEOPLE_SAY.get(m, m) for m in names]
    figure, axes = canvas(size, right=room(spoken, size))
    curve = curve[(curve[[f"shapley_{m}" for m in names]].clip(lower=0).sum(axis=1) > 0)] if names else curve[:0]
    value_SM = curve[[f"shapley_{m}" for m in names]].clip(lower=0).fillna(0).to_numpy(float)
    share_SM = 100 * value_SM / value_SM.sum(axis=1, keepdims=True)
    places, bottom_S, ends = np.arange(len(share_SM)), np.zeros(len(share_SM)), []
    for column, (modality, word) in enumerate(zip(names, spoken, strict=True)):
        color, height_S = of_modality(modality), share_SM[:, column]
        axes.bar(places, height_S, 0.78, bottom_S, color=LIGHT[color], edgecolor=LIGHT["surface"], linewidth=1.5)
        for place, height, bottom in zip(places, height_S, bottom_S, strict=True):
            if height >= 9 and len(places) <= (6 if size[0] < 400 else 9):
                axes.text(
                    float(place), bottom + height / 2, f"{height:.0f}", ha="center", va="center", color=LIGHT["on-fill"]
                )
        if len(height_S):
            ends.append((float(bottom_S[-1] + height_S[-1] / 2), word, color))
        bottom_S = bottom_S + height_S
    y_title(axes, "Share, %")
    every = max(1, -(-len(places) // (4 if size[0] < 400 else 7)))
    axes.set_xticks(places[::-1][::every], [f"{n:,.0f}" for n in curve["labels"][::-1][::every]])
    axes.set_xlabel("training labels", labelpad=8)
    axes.set_ylim(0, 100)
    axes.grid(visible=False)
    axes.set_yticks([0, 50, 100])
    direct_labels(axes, ends)
    return figure


@styled
def calibration(curves: pd.DataFrame, facts: Facts, size: Size = HALF) -> Figure:
    """Expected calibration error over labels, the strategy against its reference."""
    figure, axes = canvas(size, right=room(_names(facts), size))
    ends = []
    for name, color, dashes, marker in (
        (facts.reference, "reference", (4, 2), "s"),
        (facts.strategy, "strategy", (), "o"),
    ):
        curve = curve_of(curves, name).dropna(subset="ece")
        if not curve.empty:
            line(axes, curve["labels"], 100 * curve["ece"], color, marker, dashes)
            ends.append((100 * float(curve["ece"].iloc[-1]), str(name), color))
    axes_words(axes, curve_of(curves, facts.strategy), "Calibration error, points", size, from_zero=True)
    direct_labels(axes, ends)
    return figure

"""What the curves say in one sentence, for better or worse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rlmba_pipelines.learning.metrics.learning_curve import area_under_curve, grown, labels_to_reach
from rlmba_pipelines.reporting.data import Facts, curve_of

SAME = 0.0005  # accuracies closer than a twentieth of a point print alike, and are called the same


@dataclass(frozen=True)
class Comparison:
    """The strategy against its reference on the same seed, both curves as far as both go.

    Attributes:
        labels: training labels at which both are compared, the most that both have bought.
        accuracy, reference_accuracy: at that many labels, in [0, 1].
        target: the best accuracy that both reach.
        labels_needed, reference_needed: labels at which each first reaches ``target``, interpolated.
        mean_difference: area between the curves over their common labels, per label; in [-1, 1].
        overlap: the 95 % intervals of both at ``labels`` touch.
    """

    labels: int
    accuracy: float
    reference_accuracy: float
    target: float
    labels_needed: float
    reference_needed: float
    mean_difference: float
    overlap: bool

    @property
    def difference(self) -> float:
        return self.accuracy - self.reference_accuracy

    @property
    def share_saved(self) -> float:
        """Share of the reference's labels that were not needed; negative where more were needed."""
        return 1 - self.labels_needed / self.reference_needed


def accuracy_at(curve: pd.DataFrame, labels: float) -> float | None:
    """Accuracy of a curve at a number of labels, interpolated; ``None`` where it was not measured.

    >>> accuracy_at(pd.DataFrame({"labels": [100, 200], "accuracy": [0.5, 0.7]}), 150)
    0.6
    """
    labels_S, accuracy_S = curve["labels"].to_numpy(float), curve["accuracy"].to_numpy(float)
    if not len(labels_S) or not labels_S[0] <= labels <= labels_S[-1]:
        return None
    return float(np.interp(labels, labels_S, accuracy_S))


def compare(curves: pd.DataFrame, facts: Facts) -> Comparison | None:
    """Both curves side by side; ``None`` without a reference or before two stages of each are measured."""
    ours, theirs = _growing(curves, facts.strategy), _growing(curves, facts.reference)
    if facts.reference is None or ours.empty or theirs.empty:
        return None
    labels = int(min(ours["labels"].max(), theirs["labels"].max()))
    accuracy, reference_accuracy = accuracy_at(ours, labels), accuracy_at(theirs, labels)
    if accuracy is None or reference_accuracy is None:
        return None
    if min((curve["labels"] <= labels).sum() for curve in (ours, theirs)) < 2:
        return None
    target = float(min(ours["accuracy"].max(), theirs["accuracy"].max()))
    needed, reference_needed = (
        labels_to_reach(c["labels"].to_numpy(float), c["accuracy"].to_numpy(float), target) for c in (ours, theirs)
    )
    if needed is None or reference_needed is None:
        return None
    (low, high), (reference_low, reference_high) = _interval_at(ours, labels), _interval_at(theirs, labels)
    return Comparison(
        labels=labels,
        accuracy=accuracy,
        reference_accuracy=reference_accuracy,
        target=target,
        labels_needed=needed,
        reference_needed=reference_needed,
        mean_difference=_area(ours, labels) - _area(theirs, labels),
        overlap=low <= reference_high and reference_low <= high,
    )


def _interval_at(curve: pd.DataFrame, labels: int) -> tuple[float, float]:
    """The 95 % interval of a curve at a number of labels, interpolated as its accuracy is."""
    low, high = (float(np.interp(labels, curve["labels"], curve[f"accuracy_{end}"])) for end in ("low", "high"))
    return low, high


def _growing(curves: pd.DataFrame, strategy: str | None) -> pd.DataFrame:
    """A curve without the stages that bought nothing, or had labels that were taken back."""
    curve = curve_of(curves, strategy)
    return curve[grown(curve["labels"].to_numpy())]


def _area(curve: pd.DataFrame, labels: int) -> float:
    common = curve[curve["labels"] <= labels]
    return float(area_under_curve(common["labels"].to_numpy(float), common["accuracy"].to_numpy(float)))


def percent(share: float) -> str:
    """A share as people read it.

    >>> percent(0.5734), percent(0.05)
    ('57.3 %', '5.0 %')
    """
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of two shares, in points and with its sign.

    >>> points(0.0312), points(-0.004), points(0.0001)
    ('+3.1', '−0.4', '±0.0')
    """
    if abs(difference) < SAME:
        return "±0.0"
    return f"{'+' if difference > 0 else '−'}{abs(100 * difference):.1f}"


def headline(curves: pd.DataFrame, facts: Facts) -> str:
    """The result in one or two sentences with their numbers."""
    curve = curve_of(curves, facts.strategy)
    if curve.empty:
        return "Nothing has been measured yet: no labels were bought, or no answers have come in."
    last = curve.iloc[-1]
    reached = (
        f"With {last['labels']:,.0f} labels the model reaches {percent(last['accuracy'])} "
        f"(95 % {100 * last['accuracy_low']:.1f}–{100 * last['accuracy_high']:.1f})"
    )
    comparison = compare(curves, facts)
    if comparison is not None:
        return f"{reached}{_verdict(comparison, facts, int(last['labels']))}"
    if len(curve) == 1:
        return f"{reached}. This is the start batch; no round has been run yet."
    first = curve.iloc[0]
    return f"{reached}, after {percent(first['accuracy'])} with the first {first['labels']:,.0f}."


def _verdict(c: Comparison, facts: Facts, labels_spent: int) -> str:
    """The second half of the headline, from the semicolon on."""
    reference, strategy = facts.reference, facts.strategy
    if labels_spent > c.labels:
        return (
            f"; at {c.labels:,} labels, as far as {reference} went, it had {percent(c.accuracy)} "
            f"and {reference} {percent(c.reference_accuracy)}."
        )
    if abs(c.difference) < SAME:
        return f"; {reference} reaches the same with as many, so {strategy} made no difference in the end."
    same = f"; {reference} reaches {percent(c.reference_accuracy)} with as many"
    if c.difference < 0:
        return f"{same}, so {strategy} did not pay off in this run."
    if c.reference_needed > labels_spent:
        return f"; {reference} needed {c.reference_needed:,.0f} for the same: {_saved(c)}."
    if c.share_saved < 0.005:
        return f"{same}."
    if abs(c.target - c.reference_accuracy) < SAME:
        return f"{same}. {strategy.capitalize()} was there after {c.labels_needed:,.0f}: {_saved(c)}."
    return (
        f"{same}. The best of {reference}, {percent(c.target)}, took {c.reference_needed:,.0f} labels, "
        f"and {c.labels_needed:,.0f} with {strategy}: {_saved(c)}."
    )


def _saved(c: Comparison) -> str:
    return f"{100 * c.share_saved:.0f} % fewer labels"


def caveat(curves: pd.DataFrame, facts: Facts) -> str:
    """How far the headline can be trusted."""
    if curve_of(curves, facts.strategy).empty:
        return ""
    measured = f"Measured on the {facts.measured_on}. "
    if facts.reference is None:
        known = facts.annotator == "simulated"
        why = "none was run." if known else "the labels that it would have bought are not known."
        return measured + f"One run with seed {facts.seed}. There is no reference to compare with: {why}"
    comparison = compare(curves, facts)
    if comparison is None:
        return f"{measured}One run with seed {facts.seed}."
    overlap = (
        f"the 95 % intervals of the two curves overlap at {comparison.labels:,} labels, so chance is not ruled out"
        if comparison.overlap
        else f"the 95 % intervals at {comparison.labels:,} labels do not overlap, but another seed can give another gap"
    )
    return f"{measured}One run with seed {facts.seed}, the same start for both; {overlap}."

"""When to stop: what the next batch is expected to bring, and which rule would end the buying, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from rlmba_pipelines.config import RoundsConfig
from rlmba_pipelines.learning.forecast import LEAST_POINTS, SHARE, CurveForecast, Expected, fit_curve
from rlmba_pipelines.reporting.headline import percent, points


@dataclass(frozen=True)
class Outlook:
    """Where a run stands when it could buy on.

    Attributes:
        labels, accuracies: training labels and validation accuracy of every measurement so far, oldest first.
        n_validation: samples behind each accuracy.
        labels_spent: labels paid for, those of validation included.
        next_labels: labels that the next batch will buy; 0 where nothing is left to buy.
        paid, price: money paid, and mean price of a label so far, in the unit of the samples' cost.
    """

    labels: Sequence[int]
    accuracies: Sequence[float]
    n_validation: Sequence[int]
    labels_spent: int
    next_labels: int
    paid: float = 0.0
    price: float = 0.0

    @cached_property
    def curve(self) -> CurveForecast | None:
        return fit_curve(self.labels, self.accuracies, self.n_validation)


def forecast_of(curve: pd.DataFrame) -> CurveForecast | None:
    """The forecast of one strategy's curve, by its validation accuracy; None where that is too little known."""
    if "validation_accuracy" not in curve:
        return None
    known = curve[curve["validation_accuracy"].notna()]
    return fit_curve(list(known["labels"]), list(known["validation_accuracy"]), list(known["n_validation"]))


def forecast_words(outlook: Outlook) -> str:
    """What the next batch is expected to bring, or why nobody can tell yet.

    >>> forecast_words(Outlook([100, 200, 400, 800], [0.40, 0.50, 0.55, 0.58], [1000] * 4, 1800, 400))[:67]
    'the next 400 labels are expected to bring +1.5 points (+0.8 to +2.4'
    """
    curve, batch = outlook.curve, outlook.next_labels
    if not batch:
        return "nothing is left to buy"
    if curve is None:
        return f"takes {LEAST_POINTS} measured rounds with different numbers of labels"
    gain, then = curve.gain(batch), curve.measured(curve.labels + batch)
    return (
        f"the next {batch:,} labels are expected to bring {points(gain.mean)} points "
        f"({points(gain.low)} to {points(gain.high)}), so that validation measures {percent(then.mean)} "
        f"({100 * then.low:.1f} to {100 * then.high:.1f}; {100 * SHARE:.0f} % intervals)"
    )


def rule_words(outlook: Outlook, rounds: RoundsConfig) -> list[str]:
    """One sentence for every stop rule that is set: when it would end the buying; the one that comes first is first.

    >>> four = Outlook([100, 200, 400, 800], [0.40, 0.50, 0.55, 0.58], [1000] * 4, 1800, 400)
    >>> rule_words(four, RoundsConfig(budget=3000, target_accuracy=0.9))[0]
    'the budget of 3,000 labels is spent with 3 more batches'
    """
    found: list[tuple[float, str]] = []
    if rounds.budget is not None and outlook.next_labels:
        batches = -(-max(0, rounds.budget - outlook.labels_spent) // outlook.next_labels)
        found.append((batches, f"the budget of {rounds.budget:,} labels is spent with {_more(batches)}"))
    if rounds.max_cost is not None and outlook.next_labels and outlook.price:
        batches = math.ceil(max(0.0, rounds.max_cost - outlook.paid) / (outlook.price * outlook.next_labels))
        found.append((batches, f"the {rounds.max_cost:g} that labels may cost are paid with about {_more(batches)}"))
    if rounds.target_accuracy is not None:
        found.append(_target_words(outlook, rounds.target_accuracy))
    if rounds.plateau is not None:
        found.append(_plateau_words(outlook, rounds.plateau.rounds, rounds.plateau.min_gain))
    return [words for _, words in sorted(found, key=lambda rule: rule[0])]


def _target_words(outlook: Outlook, target: float) -> tuple[float, str]:
    curve, name = outlook.curve, f"the target {percent(target)}"
    if curve is None:
        return math.inf, f"{name}: no forecast yet"
    needed = curve.labels_to_reach(target)
    if math.isinf(needed.mean):
        limit = float(curve.weight_G @ curve.limit_G)
        return math.inf, f"{name} is not expected to be reached, the curve levels off near {percent(limit)}"
    batches = max(1, math.ceil((needed.mean - curve.labels) / max(outlook.next_labels, 1)))
    return batches, (
        f"{name} is expected with {_rounded(needed.mean)} training labels ({_span(needed)}), {_more(batches)}"
    )


def _span(needed: Expected) -> str:
    low, high = (_rounded(end) for end in needed[1:])
    return f"{100 * SHARE:.0f} %: {low} to {high}"


def _rounded(labels: float) -> str:
    """Labels with two digits that mean something.

    >>> _rounded(1438.2), _rounded(math.inf)
    ('1,400', 'never')
    """
    if math.isinf(labels) or labels > 1e9:
        return "never"
    return f"{round(labels, 1 - math.floor(math.log10(max(labels, 10)))):,.0f}"


def _plateau_words(outlook: Outlook, n_rounds: int, min_gain: float) -> tuple[float, str]:
    """The rule looks at the best of the last rounds; so the next one has to beat the best before them, or they do."""
    name, accuracies = f"the plateau rule ({n_rounds} rounds, {points(min_gain)} points)", outlook.accuracies
    missing = n_rounds - len(accuracies)
    if missing > 0 or not accuracies:
        return max(missing, 0) + 1, f"{name} looks again in {max(missing, 0) + 1} rounds at the earliest"
    recent = list(accuracies[len(accuracies) - n_rounds + 1 :])
    needed = max(accuracies[: len(accuracies) - n_rounds + 1]) + min_gain
    if recent and max(recent) >= needed:
        return 2, f"{name} does not end the next round"
    if needed > 1:
        return 1, f"{name} ends the run after the next batch, whatever validation measures then"
    curve = outlook.curve
    chance = "" if curve is None else f" (chance {curve.chance_below(needed, curve.labels + outlook.next_labels):.0%})"
    return 1, f"{name} ends the run if validation measures less than {percent(needed)} after the next batch{chance}"


def _more(batches: int) -> str:
    return f"{batches:,} more batch{'' if batches == 1 else 'es'}"

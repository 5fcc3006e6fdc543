"""What the benchmark was to show, and what it shows: each goal of the protocol reached or missed. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from rlmba_pipelines.benchmark.protocol import MAIN, Protocol
from rlmba_pipelines.benchmark.runs import UNDER_USE
from rlmba_pipelines.benchmark.tables import ALPHA, TARGETS, at_equal_accuracy, comparison, mean_over_sets, one_family

FEW = 2  # seeds of a pair, at least


class Verdict(NamedTuple):
    """A goal in words, what was found, and whether it was reached."""

    goal: str
    found: str
    reached: bool


def verdicts(
    protocol: Protocol, runs: pd.DataFrame, values: pd.DataFrame, needed: pd.DataFrame
) -> list[Verdict]:
    """Every goal that the runs say something about.

    Args:
        values: of ``tables.areas``.
        needed: of ``tables.labels_needed``.
    """
    main = values[values["condition"] == MAIN]
    found = list(_null(protocol, values))
    if protocol.candidate in set(main["strategy"]) and main["seed"].nunique() >= FEW:
        of_main = [*_areas(protocol, main), *_labels(protocol, needed), *_balance(protocol, runs)]
        found = [*of_main, *_learned(protocol, main), *found]
    return found


def best_baseline(protocol: Protocol, main: pd.DataFrame) -> str | None:
    """The published baseline of the largest mean area over sets; variants of the candidate are none."""
    means = main.groupby(["strategy", "set"])["area"].mean().unstack().dropna()
    own = [name for name in (protocol.candidate, *protocol.variants) if name in means.index]
    rivals = means.drop(index=own).mean(axis=1).sort_values(ascending=False)
    return str(rivals.index[0]) if len(rivals) else None


def _areas(protocol: Protocol, main: pd.DataFrame) -> Iterator[Verdict]:
    candidate, goals = protocol.candidate, protocol.goals
    table = comparison(main[~main["strategy"].isin(list(protocol.variants))], candidate)
    sets = list(dict.fromkeys(table["set"]))
    largest = table.loc[table.groupby("set")["area"].idxmax()].set_index("set")["strategy"]
    ahead = table[(table["difference"] > 0) & (table["p_holm"] < ALPHA)]
    tied = table[table["p_holm"] >= ALPHA]
    yield Verdict(
        "best or tied on every set (no baseline above it, Holm)",
        f"largest area on {sum(largest == candidate)} of {len(sets)} sets; "
        + (", ".join(f"{a} above it on {b}" for a, b in _pairs(ahead, "strategy", "set")) or "nobody above it")
        + "; not told apart from it: "
        + (", ".join(f"{a} on {b}" for a, b in _pairs(tied, "strategy", "set")) or "nobody"),
        ahead.empty,
    )
    best = best_baseline(protocol, main)
    if best:
        mean, low, high, p = mean_over_sets(main, candidate, best)
        yield Verdict(
            f"mean over sets at least {goals.over_best_baseline:+.1f} above the best single baseline, p < 0.01",
            f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] above {best}, p = {p:.1g}",
            mean >= goals.over_best_baseline and p < 0.01,
        )
    gaps = table[(table["strategy"] == protocol.reference) & table["set"].isin(list(goals.over_reference))]
    if len(gaps):
        gap = {str(name): -float(value) for name, value in _pairs(gaps, "set", "difference")}
        yield Verdict(
            f"above {protocol.reference} by "
            + ", ".join(f"{goals.over_reference[name]:.1f} on {name}" for name in gap),
            ", ".join(f"{value:+.2f} on {name}" for name, value in gap.items()),
            all(value >= goals.over_reference[name] for name, value in gap.items()),
        )


def _labels(protocol: Protocol, needed: pd.DataFrame) -> Iterator[Verdict]:
    goals = protocol.goals
    rows = needed[(needed["strategy"] == protocol.candidate) & (needed["target"] == TARGETS[0])]
    if len(rows):
        told = ", ".join(
            f"not reached by both on {name}" if pd.isna(share) else f"{100 * float(share):.0f} % on {name}"
            for share, name in _pairs(rows, "share", "set")
        )
        yield Verdict(
            f"{100 * TARGETS[0]:.0f} % of the accuracy with all labels for at most {100 * goals.labels_share:.0f} % of "
            f"the labels of {protocol.reference}, on {goals.labels_sets} sets",
            told,
            int((rows["share"] <= goals.labels_share).sum()) >= goals.labels_sets,
        )


def _balance(protocol: Protocol, runs: pd.DataFrame) -> Iterator[Verdict]:
    """The single modalities must not pay for the accuracy of all."""
    candidate, reference = protocol.candidate, protocol.reference
    wanted = {"worst modality's accuracy": (MAIN, "worst_modality", 1), "under-use": (UNDER_USE, UNDER_USE, -1)}
    for told, (condition, metric, sign) in wanted.items():
        if metric not in runs:
            continue
        measured = runs[(runs["condition"] == condition) & runs["strategy"].isin([candidate, reference])]
        gaps = at_equal_accuracy(measured.dropna(subset=[metric]).assign(condition=MAIN), metric, reference)
        if len(gaps):
            worse = gaps["high" if sign > 0 else "low"] * sign < 0
            yield Verdict(
                f"{told} no worse than under {reference}, at equal accuracy",
                ", ".join(
                    f"{row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}] on {row['set']}"
                    for _, row in gaps.iterrows()
                ),
                not worse.any(),
            )


def _learned(protocol: Protocol, main: pd.DataFrame) -> Iterator[Verdict]:
    sets = main.groupby("strategy")["set"].agg(set)
    for name in protocol.goals.better_variants:
        if name not in sets or sets[name] != sets[protocol.candidate]:
            continue  # not run, or not everywhere
        mean, low, high, p = mean_over_sets(main, name, protocol.candidate)
        yield Verdict(
            f"{name} above {protocol.candidate}, mean over sets",
            f"{mean:+.2f} [{low:+.2f}, {high:+.2f}], p = {p:.1g}",
            low > 0,
        )


def _null(protocol: Protocol, values: pd.DataFrame) -> Iterator[Verdict]:
    for condition, control in protocol.controls.items():
        table = one_family(values[values["condition"] == condition], protocol.reference)
        if not control.data.shuffled or table.empty:
            continue
        bound = protocol.goals.equivalence
        widest = max(-table["low"].min(), table["high"].max())
        yield Verdict(
            f"{condition.replace('_', ' ')}: nothing differs from {protocol.reference} (one Holm family), equal within "
            f"±{bound}",
            f"{len(table)} comparisons on {table['set'].nunique()} sets, smallest adjusted p "
            f"{table['p_holm'].min():.2g}; the farthest end of a 95 % interval is {widest:.2f} from 0",
            bool(table["p_holm"].min() >= ALPHA and widest <= bound),
        )


def _pairs(table: pd.DataFrame, left: str, right: str) -> Iterator[tuple[Any, Any]]:
    return zip(table[left], table[right], strict=True)

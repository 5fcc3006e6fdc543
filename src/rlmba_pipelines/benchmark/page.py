"""docs/benchmarks.md: what the comparison says, with the exact command and what it ran on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import pandas as pd

from rlmba_pipelines.benchmark.goals import Verdict, best_baseline, verdicts
from rlmba_pipelines.benchmark.protocol import ALL_LABELS, MAIN, Protocol
from rlmba_pipelines.benchmark.runs import UNDER_USE
from rlmba_pipelines.benchmark.tables import TARGETS, areas, at_equal_accuracy, comparison, mean_over_sets

LEGEND = (
    "**rl_mba** is the default of this project: herding with a fixed prior θ, nothing learned on the way. "
    "*rl_mba_published* is the rule of the paper that it is named after, as far as it is known; *uherding_our_kernels* "
    "is Uncertainty Herding with our kernels, *learned_policy* rl_mba with `policy.name: pretrained`, by the fold that "
    "never saw the family of the set. The condition *system* has modality weights in the learner, as conf/base does, "
    "*self_training* its student of the pool (docs/decisions/0013). "
    "*Labels to 90 %*: to 90 % of the accuracy with all labels; in brackets as a share of random's."
)


def machine() -> dict[str, Any]:
    """What figures were made on."""
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        **{name: version(name) for name in ("rlmba_pipelines", "torch", "numpy", "kedro")},
    }


def page(
    protocol: Protocol,
    runs: pd.DataFrame,
    values: pd.DataFrame,
    against_reference: pd.DataFrame,
    needed: pd.DataFrame,
    facts: Mapping[str, Any],
) -> str:
    """The page as Markdown."""
    first, last = protocol.seeds.reported
    done = sorted(set(values["seed"]))
    lines = [
        "# Benchmarks",
        "",
        f"Made by `{facts['command']}`; what else of `--plan full` is on file in all its seeds is shown too. The same "
        "figures for machines are in [benchmarks.json](benchmarks.json), every measured round in "
        "`docs/benchmarks_runs`. The protocol, "
        "[conf/benchmark/protocol.yml](../conf/benchmark/protocol.yml), says what was tuned on what, and what of it "
        "was changed when. All seeds share the test split; they differ in the start batch, the candidates and the "
        "network's first weights, so intervals are those of runs, not of other test samples.",
        "",
        f"{facts['cores']} cores, one thread a run; torch {facts['torch']}. Reported seeds {first}–{last}; here "
        f"{len(done)} of them. One learner, which knows the labels alone, one start batch a seed, for all strategies; "
        f"{_looked_at(protocol)}. "
        "*Area* is that under the learning curve on the test split, in points of accuracy: the mean accuracy of a "
        "run. Differences are paired "
        "over seeds with the 95 % interval and p of the paired t-test; *Holm* is adjusted for all strategies of a set.",
        "",
        LEGEND,
        "",
        protocol.tuned,
        "",
        *_verdict(protocol, values),
        *_goals(verdicts(protocol, runs, values, needed)),
        "![Learning curves of every strategy on each set; the numbers are in the tables below](benchmarks_curves.svg)",
        "",
        "![Difference in area to random with 95 % intervals](benchmarks_forest.svg)",
        "",
    ]
    whole = runs[runs["strategy"] == ALL_LABELS].groupby("set")["accuracy"].mean()
    for set_name in dict.fromkeys(against_reference["set"]):
        size = protocol.sets[set_name]
        budget = f"start {size.start_size}, {size.rounds} rounds of {size.query_size}"
        told = f"; accuracy with all labels {100 * whole[set_name]:.1f} %" if set_name in whole else ""
        table = _set_table(protocol, set_name, against_reference, needed)
        lines += [f"## {set_name}", "", f"{budget}{told}.", "", *table]
    lines += [
        "## Who beats whom",
        "",
        "![Penalty matrix](benchmarks_penalties.svg)",
        "",
        "![Mean ranks with the critical difference](benchmarks_ranks.svg)",
        "",
        f"Friedman's p {_p(facts['friedman'])}; ranks over sets and seeds, critical difference {facts['critical']:.2f} "
        "(Nemenyi, 5 %). Blocks are runs, a set and a seed each: this speaks of these sets, not of others.",
        "",
        "## Accuracy and balance",
        "",
        "![Area against the imbalance of the modalities](benchmarks_pareto.svg)",
        "",
        *_balance(protocol, runs),
    ]
    controls = against_reference[against_reference["condition"] != MAIN]
    if len(controls):
        lines += ["## Controls", "", *_controls(controls)]
    return "\n".join([*lines, *_not_run(protocol, values)])


def _not_run(protocol: Protocol, values: pd.DataFrame) -> list[str]:
    """What the full plan holds and this page does not."""
    sets = list(dict.fromkeys(values["set"]))
    found = set(values[["condition", "strategy", "set"]].itertuples(index=False, name=None))
    of_main = {(name, one) for condition, name, one in found if condition == MAIN}
    alone = [f"unimodal:…:{name}" for name in protocol.unimodal]
    of_main |= {(f"unimodal:…:{name.rpartition(':')[2]}", one) for name, one in of_main if name.startswith("unimodal:")}
    under = {(condition, one) for condition, _, one in found}
    lines = []
    for kind, names, there in (
        ("Strategies", (*protocol.strategies["full"], *alone), of_main),
        ("Controls", tuple(protocol.controls), under),
    ):
        left = [(name, [one for one in sets if (name, one) not in there]) for name in names]
        told = [f"`{name}`" + ("" if len(on) == len(sets) else f" on {', '.join(on)}") for name, on in left if on]
        if told:
            lines.append(f"{kind}: " + ", ".join(told) + ".")
    return ["## Not run yet", "", " ".join(lines), ""] if lines else []


def _verdict(protocol: Protocol, values: pd.DataFrame) -> list[str]:
    """The candidate against the best single baseline, in sentences; its own variants are none."""
    main = values[values["condition"] == MAIN]
    best = best_baseline(protocol, main)
    if protocol.candidate not in set(main["strategy"]) or main["seed"].nunique() < 2 or best is None:
        return []
    means = main.groupby(["strategy", "set"])["area"].mean().unstack().dropna()
    lines = []
    for rival in dict.fromkeys((best, protocol.reference)):
        mean, low, high, p = mean_over_sets(values, protocol.candidate, rival)
        lines.append(
            f"**{protocol.candidate} minus {rival}**, mean over {means.shape[1]} sets: {mean:+.2f} points "
            f"[{low:+.2f}, {high:+.2f}], p = {_p(p)}."
        )
    published = means.drop(index=[name for name in protocol.variants if name in means.index]).idxmax()
    first = ", ".join(f"{name}: {published[name]}" for name in means.columns)
    told = [f"Largest mean area on each set, variants of {protocol.candidate} left out: {first}."]
    for variant in (name for name in protocol.variants if name in means.index):
        mean, low, high, p = mean_over_sets(values, protocol.candidate, variant)
        told.append(f"{protocol.candidate} minus {variant}: {mean:+.2f} [{low:+.2f}, {high:+.2f}], p = {_p(p)}.")
    return [" ".join([*lines, *told]), ""]


def _goals(found: list[Verdict]) -> list[str]:
    if not found:
        return []
    lines = ["## What it was to show", ""]
    lines += ["Aimed at before anything was measured; written into the protocol after the first results.", ""]
    lines += ["| goal | found | |", "|---|---|---|"]
    for one in found:
        lines.append(f"| {one.goal} | {one.found} | {'reached' if one.reached else '**missed**'} |")
    return [*lines, ""]


def _set_table(protocol: Protocol, set_name: str, table: pd.DataFrame, needed: pd.DataFrame) -> list[str]:
    rows = table[(table["set"] == set_name) & (table["condition"] == MAIN)].sort_values("area", ascending=False)
    of_set = needed[needed["set"] == set_name]
    targets = "".join(f" labels to {100 * t:.0f} % |" for t in TARGETS)
    lines = [f"| strategy | seeds | area | minus {protocol.reference} [95 %] | p | Holm | Wilcoxon |{targets}"]
    lines.append("|---|---|---|---|---|---|---|" + "---|" * len(TARGETS))
    for _, row in rows.iterrows():
        gap = ["", "", "", ""]
        if pd.notna(row.get("difference")):
            gap = [_gap(row), _p(row["p"]), _p(row["p_holm"]), _p(row["p_wilcoxon"])]
        reach = [_needed(of_set, row["strategy"], target) for target in TARGETS]
        name = f"**{row['strategy']}**" if row["strategy"] == protocol.candidate else row["strategy"]
        lines.append(f"| {' | '.join([name, str(row['seeds']), f'{row.area:.2f}', *gap, *reach])} |")
    return [*lines, ""]


def _needed(of_set: pd.DataFrame, strategy: str, target: float) -> str:
    found = of_set[(of_set["strategy"] == strategy) & (of_set["target"] == target) & of_set["labels"].notna()]
    if found.empty:
        return "not reached"
    labels, share = found[["labels", "share"]].to_numpy()[0]
    return f"{labels:.0f}" + ("" if pd.isna(share) else f" ({100 * share:.0f} %)")


def _looked_at(protocol: Protocol) -> str:
    if protocol.candidates is None:
        return "each round looks at the whole pool"
    return f"each round looks at {protocol.candidates:,} samples of the pool, drawn anew"


def _balance(protocol: Protocol, runs: pd.DataFrame) -> list[str]:
    """How the single modalities fare: the accuracy of the worst of their heads, and the imbalance of contributions."""
    main = runs[runs["condition"] == MAIN]
    worst, imbalance = (comparison(areas(main, name), protocol.reference) for name in ("worst_modality", "imbalance"))
    lines = [
        "Means over a run, as the area is: accuracy of the worst modality's own head, and the imbalance of Shapley "
        f"values (0: all modalities contribute alike), both times 100. *At equal accuracy*: the former minus that of "
        f"{protocol.reference} where both fused models are equally accurate, which {protocol.reference} is with more "
        "labels.",
        "",
        f"| set | strategy | worst modality | minus {protocol.reference} [95 %] | at equal accuracy [95 %] "
        f"| imbalance | minus {protocol.reference} [95 %] |",
        "|---|---|---|---|---|---|---|",
    ]
    equal = at_equal_accuracy(main, "worst_modality", protocol.reference).set_index(["set", "strategy"])
    for (_, left), (_, right) in zip(worst.iterrows(), imbalance.iterrows(), strict=True):
        key = (left["set"], left["strategy"])
        fair = _gap(equal.loc[key]) if key in equal.index else ""
        cells = [*key, f"{left.area:.2f}", _gap(left), fair, f"{right.area:.1f}", _gap(right)]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *_under_use(protocol, runs)]


def _under_use(protocol: Protocol, runs: pd.DataFrame) -> list[str]:
    """What the fusion leaves unused of its modalities, where that was measured."""
    measured = runs[runs[UNDER_USE].notna()] if UNDER_USE in runs else runs[:0]
    if measured.empty:
        return []
    lines = [
        "Under-use: accuracy of a modality fitted alone minus that of its head inside the fusion, the largest over "
        "modalities, on validation, times 100; mean over a run.",
        "",
        f"| set | strategy | under-use | minus {protocol.reference} [95 %] |",
        "|---|---|---|---|",
    ]
    for _, row in comparison(areas(measured, UNDER_USE), protocol.reference).iterrows():
        lines.append(f"| {row['set']} | {row['strategy']} | {row.area:.2f} | {_gap(row)} |")
    return [*lines, ""]


def _gap(row: pd.Series) -> str:
    if pd.isna(row.get("difference")):
        return ""
    return f"{row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"


def _controls(table: pd.DataFrame) -> list[str]:
    lines = ["| condition | set | strategy | area | minus random [95 %] | p (Holm) |", "|---|---|---|---|---|---|"]
    for _, row in table.sort_values(["condition", "set", "area"], ascending=[True, True, False]).iterrows():
        gap = ["", ""]
        if pd.notna(row.get("difference")):
            gap = [_gap(row), _p(row["p_holm"])]
        cells = [row["condition"].replace("_", " "), row["set"], row["strategy"], f"{row['area']:.2f}", *gap]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"

"""The page of ``make ablations``: tables, what they say in sentences, and the figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from curves import REPORTED_SEEDS, ROOT, SETTING, write
from rlmba_pipelines.benchmark.page import machine
from rlmba_pipelines.reporting.palette import LIGHT

PAGE = ROOT / "docs" / "ablations.md"
FAIRNESS = ("imbalance", "worst_modality", "worst_decile")
ALPHA = 0.05
SCALE = (-6.0, 2.0)  # of the figure, in points
LEGEND = {"higher": "better (p by Holm ≤ 0.05)", "alike": "no difference told", "lower": "worse (p by Holm ≤ 0.05)"}
NOTES = (
    "## Notes",
    "",
    "- *Shuffled rewards*: the policy is told the rewards of the same run without this, in another order. A policy",
    "  that learns within a run must beat its shuffled twin.",
    "- The published reward is relative to strategies that are run on the same pool beside it; it needs labels that a",
    "  run has not bought and is left out here. Policies see the gain over the forecast of the learning curve.",
    "- Policies start untrained (*online*). A policy trained on other data sets is not part of this page.",
    "- Arms of *Training* change the learner as well as what it asks for; the others have the default learner without "
    "its student (`fusion.self_training: 0`).",
    "",
)

Row = Mapping[str, Any]  # of ``ablations.rows_of``


def verdict(row: Row, gap: str = "minus default") -> str:
    """``higher`` or ``lower`` than the default where p by Holm says so, else ``alike``."""
    if row[gap]["p holm"] > ALPHA:
        return "alike"
    return "higher" if row[gap]["mean"] > 0 else "lower"


def page(rows: Sequence[Row], torch: str) -> str:
    """The figures as Markdown."""
    compared = [row for row in rows if "minus default" in row]
    lines = [
        "# Ablations",
        "",
        "What each part of the default is worth: every arm changes one thing. Made by `make ablations`; the same "
        "figures for machines are in [ablations.json](ablations.json). Committed emoji data, "
        f"{SETTING}, torch {torch}, one thread a process.",
        "",
        "*Area* is that under the learning curve on the test split, in points of accuracy. Differences are arm minus "
        "default, paired over seeds, with the 95 % interval and p of the paired t-test; *p (Holm)* is adjusted for all "
        f"{len(compared)} arms, and only what it calls significant (at most {ALPHA}) is called a difference below. "
        "*Imbalance* is how unevenly modalities contribute to the last model (Shapley values, 0 is even, 1 is one "
        "modality alone); *worst modality* is the accuracy of the weakest modality's own head, *worst tenth* that of "
        "the worst tenth of classes.",
        "",
        "![Difference of every arm to the default in area under the learning curve, with 95 % intervals; the numbers "
        "are in the tables below](ablations.svg)",
        "",
        *_summary(rows),
    ]
    header = "| arm | what is changed | area | minus default [95 %] | p | p (Holm) | final accuracy | imbalance "
    header += "| worst modality | worst tenth |"
    for part in dict.fromkeys(row["part"] for row in rows):
        of_part = [row for row in rows if row["part"] == part]
        measured = [_line(row) for row in of_part if "minus default" in row]
        if part:
            lines += [f"## {part}", ""]
            lines += [header, "|---|---|" + "---|" * 8, _line(rows[0]), *measured, ""] if measured else []
            lines += [*_same_picks(of_part), *_learning(of_part)]
    return "\n".join([*lines, *NOTES])


def _summary(rows: Sequence[Row]) -> list[str]:
    compared = sorted((row for row in rows if "minus default" in row), key=lambda row: -row["minus default"]["mean"])
    alike = [row for row in compared if verdict(row) == "alike"]
    told = {
        "Better than the default": [row for row in compared if verdict(row) == "higher"],
        "Worse than the default": [row for row in compared if verdict(row) == "lower"],
        "Leads only, p at most 0.05 before the adjustment": [r for r in alike if r["minus default"]["p"] <= ALPHA],
        "Not told apart from the default": [row for row in alike if row["minus default"]["p"] > ALPHA],
    }
    lines = []
    for title, arms in told.items():
        names = ", ".join(f"{row['arm']} ({row['minus default']['mean']:+.2f})" for row in arms)
        lines += [f"**{title}**: {names or 'nothing'}.", ""]
    tilted = [f"{row['arm']} ({row['imbalance minus default']['mean']:+.3f})" for row in compared if _tilts(row)]
    return [*lines, f"**Other imbalance of the last model** (p by Holm): {', '.join(tilted) or 'none'}.", ""]


def _tilts(row: Row) -> bool:
    return verdict(row, "imbalance minus default") != "alike"


def _line(row: Row) -> str:
    gap = row.get("minus default")
    difference = ["", "", ""]
    if gap is not None:
        interval = f"{gap['mean']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]"
        difference = [interval, _p(gap["p"]), _p(gap["p holm"])]
    cells = [row["arm"], row["change"], f"{row['area']:.2f}", *difference, f"{row['final accuracy']:.2f}"]
    return f"| {' | '.join([*cells, *(f'{row[metric]:.3f}' for metric in FAIRNESS)])} |"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def _same_picks(rows: Sequence[Row]) -> list[str]:
    """Arms that buy what the default buys, on the one seed that proves an inert one or on some of all.

    Raises:
        ValueError: an arm that was said to change nothing has bought other samples.
    """
    inert = [row for row in rows if row["inert"]]
    other = [row["arm"] for row in inert if not row["same picks"]]
    if other:
        raise ValueError(f"said to change nothing, but other samples were bought: {', '.join(other)}")
    lines = []
    if inert:
        same = ", ".join(f"{row['arm']} ({row['change']})" for row in inert)
        lines += [
            f"Herding looks at margins, not at evidence, so these buy each sample that the default buys: {same}.",
            "",
        ]
    some = [f"{row['arm']} on {row['same picks']} of {len(REPORTED_SEEDS)} seeds" for row in rows if _agrees(row)]
    return [*lines, f"The same samples as the default: {', '.join(some)}.", ""] if some else lines


def _agrees(row: Row) -> bool:
    return bool(row["same picks"]) and not row["inert"]


def _learning(rows: Sequence[Row]) -> list[str]:
    """What true rewards are worth to a policy, against the same ones in another order."""
    lines = []
    for row in rows:
        if gap := row.get("learning"):
            interval = f"{gap['mean']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}], p = {_p(gap['p'])}"
            lines += [f"True minus shuffled rewards, {row['arm'].split(',')[0]}: {interval}.", ""]
    return lines


def forest(rows: Sequence[Row]) -> plt.Figure:
    """Differences to the default with their intervals, a line an arm; what is off the scale is an arrow."""
    look = {"higher": ("^", LIGHT["good"]), "alike": ("o", LIGHT["reference"]), "lower": ("s", LIGHT["bad"])}
    places: list[tuple[float, Row]] = []
    titles: list[tuple[float, str]] = []
    y = 0.0
    for part in dict.fromkeys(row["part"] for row in rows if "minus default" in row):
        titles.append((y, part))
        for row in (row for row in rows if row["part"] == part and "minus default" in row):
            y -= 1
            places.append((y, row))
        y -= 1.4
    figure, axes = plt.subplots(figsize=(9, 0.2 * -y + 1.2), layout="constrained")
    axes.axvline(0, color=LIGHT["ink"], linewidth=1)
    for y, row in places:
        gap = row["minus default"]
        marker, color = look[verdict(row)]
        if gap["mean"] < SCALE[0]:
            axes.annotate(
                f"{gap['mean']:+.1f}", (SCALE[0], y), (SCALE[0] + 0.35, y), va="center", fontsize=8, color=color,
                arrowprops={"arrowstyle": "->", "color": color},
            )  # fmt: skip
            continue
        axes.plot([max(gap["low"], SCALE[0]), min(gap["high"], SCALE[1])], [y, y], color=color, linewidth=1.6)
        axes.plot(gap["mean"], y, marker=marker, color=color, markersize=6, markerfacecolor=color)
    for name, (marker, color) in look.items():
        axes.plot([], [], marker=marker, color=color, linewidth=1.6, label=LEGEND[name])
    axes.set_yticks([y for y, _ in places], [row["arm"] for _, row in places], fontsize=8)
    for y, part in titles:
        axes.annotate(
            part, (0, y), (-6, 0), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
            va="center", fontsize=8, fontweight="bold", color=LIGHT["ink"],
        )  # fmt: skip
    axes.set_xlim(*SCALE)
    axes.set_ylim(places[-1][0] - 0.8, 0.8)
    axes.set_xlabel("area under the learning curve minus the default's, points of accuracy")
    axes.grid(axis="x", color=LIGHT["grid"])
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.4, -0.06), ncols=3)
    return figure


def write_page(rows: Sequence[Row]) -> None:
    """docs/ablations.md, .json and .svg."""
    about = machine()
    write(PAGE.with_suffix(".json"), json.dumps({"machine": about, "arms": rows}, indent=1))
    write(PAGE, page(rows, about["torch"]))
    with plt.rc_context({"svg.hashsalt": "ablations"}):
        forest(rows).savefig(PAGE.with_suffix(".svg"), format="svg", metadata={"Date": None, "Creator": None})

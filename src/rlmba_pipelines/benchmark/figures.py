"""Pictures of the benchmark, one function a question; light colors, in words and shapes as well as in color."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from scipy.special import stdtrit

from rlmba_pipelines.benchmark.protocol import ALL_LABELS, MAIN
from rlmba_pipelines.benchmark.tables import areas
from rlmba_pipelines.reporting.canvas import spread, styled
from rlmba_pipelines.reporting.palette import LIGHT

PANEL = (4.6, 3.7)  # inches
COLUMNS = 2
NAME_PLACES = [(side, above) for above in (3, -9, 11, -17) for side in (5, -5)]  # beside a point, in points of type
OTHERS = "#9aa3ad"  # a strategy that is shown for comparison only


def _panels(n: int, size: tuple[float, float] = PANEL) -> tuple[Figure, list[Axes]]:
    """``n`` panels, row by row; a page shows no more than two beside each other in a size that can be read."""
    columns = min(n, COLUMNS)
    rows = -(-n // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained", facecolor=LIGHT["surface"])
    panels = list(np.atleast_1d(figure.subplots(rows, columns)).flat)
    for left_over in panels[n:]:
        left_over.remove()
    return figure, panels[:n]


@styled
def learning_curves(runs: pd.DataFrame, shown: Sequence[str], candidate: str, reference: str) -> Figure:
    """Mean accuracy over labels on each set, the candidate with the 95 % interval of its mean."""
    main = runs[(runs["condition"] == MAIN) & (runs["strategy"] != ALL_LABELS)]
    figure, panels = _panels(main["set"].nunique())
    for axes, (set_name, of_set) in zip(panels, main.groupby("set", sort=False), strict=True):
        ends = []
        for name in [*(s for s in shown if s != candidate), candidate]:
            at = 100 * of_set[of_set["strategy"] == name].groupby("labels")["accuracy"].agg(["mean", "sem", "count"])
            if at.empty:
                continue
            color = LIGHT["strategy"] if name == candidate else LIGHT["ink"] if name == reference else OTHERS
            width = 2.6 if name in (candidate, reference) else 1.2
            axes.plot(at.index, at["mean"], color=color, linewidth=width, linestyle="--" if name == reference else "-")
            if name == candidate:
                reach = stdtrit(at["count"] - 1, 0.975) * at["sem"]
                axes.fill_between(at.index, at["mean"] - reach, at["mean"] + reach, color=color, alpha=0.15)
            ends.append((float(at["mean"].iloc[-1]), name, color))
        ends.sort()
        low, high = axes.get_ylim()
        places = spread([end for end, _, _ in ends], 0.047 * (high - low))
        above = max(0.0, max(places, default=high) - high)
        places = [place - above for place in places]
        for place, (_, name, color) in zip(places, ends, strict=True):
            axes.annotate(
                name, (1, place), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8,
                color=color if color != OTHERS else LIGHT["muted"], va="center", annotation_clip=False,
                fontweight="bold" if name == candidate else "normal",
            )  # fmt: skip
        axes.set_title(f"{set_name}: accuracy on test, %", loc="left", fontsize=10)
        axes.set_xlabel("labels bought", fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.tick_params(labelsize=9)
    return figure


@styled
def forest(table: pd.DataFrame, candidate: str) -> Figure:
    """Area of every strategy minus the reference's on each set, with 95 % intervals; the candidate on top."""
    main = table[(table["condition"] == MAIN) & table["difference"].notna()]
    sets = list(dict.fromkeys(main["set"]))
    order = main.groupby("strategy")["difference"].mean().sort_values().index.tolist()
    figure, panels = _panels(len(sets), (4.2, 0.27 * len(order) + 1.2))
    for place, (axes, set_name) in enumerate(zip(panels, sets, strict=True)):
        rows = main[main["set"] == set_name].set_index("strategy").reindex(order)
        for y, (name, row) in enumerate(rows.iterrows()):
            color = LIGHT["strategy"] if name == candidate else LIGHT["reference"]
            axes.plot([row["low"], row["high"]], [y, y], color=color, linewidth=2)
            axes.plot(row["difference"], y, marker="D" if name == candidate else "o", color=color, markersize=6)
        axes.axvline(0, color=LIGHT["ink"], linewidth=1)
        named = place % COLUMNS == 0
        axes.set_yticks(range(len(order)), list(map(str, order)) if named else [""] * len(order), fontsize=9)
        axes.set_ylim(-0.7, len(order) - 0.3)  # a row is the same strategy in every panel, whoever ran on the set
        axes.set_title(set_name, loc="left", fontsize=10)
        axes.set_xlabel("area minus random's, points", fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(axis="x", labelsize=9)
        axes.grid(axis="x")
    return figure


@styled
def penalties(matrix: pd.DataFrame) -> Figure:
    """Row beats column, as a share of the budgets; who is beaten least often (the mean of a column) comes first."""
    best = matrix.mean().sort_values(kind="stable").index
    matrix = matrix.loc[best, best]
    points_SS, side = matrix.to_numpy(dtype=float), 0.42 * len(matrix) + 2.2
    figure, (axes,) = _panels(1, (side, side))
    axes.imshow(matrix, cmap="Blues", vmin=0, vmax=max(1e-9, float(points_SS.max()) * 1.6))
    for i in range(len(matrix)):
        for j in range(len(matrix)):
            if i != j:
                axes.text(j, i, f"{points_SS[i, j]:.1f}", ha="center", va="center", fontsize=8)
    beaten = matrix.mean()
    names = [f"{name}  ({beaten[name]:.2f})" for name in map(str, matrix.columns)]
    axes.set_xticks(range(len(matrix)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(matrix)), list(matrix.index), fontsize=8)
    axes.set_title("row beats column\n(in brackets: how often a strategy is beaten)", loc="left", fontsize=9)
    axes.grid(visible=False)
    return figure


@styled
def critical_difference(mean_rank: pd.Series, difference: float, candidate: str) -> Figure:
    """Mean ranks over sets and seeds; strategies under one bar are not told apart (Nemenyi, 5 %)."""
    names, values = [str(name) for name in mean_rank.index], mean_rank.to_numpy()
    figure, (axes,) = _panels(1, (8.5, 0.24 * len(names) + 1.4))
    for y, (name, value) in enumerate(zip(names, values, strict=True)):
        color = LIGHT["strategy"] if name == candidate else LIGHT["ink"]
        axes.plot(value, -y, "o", color=color)
        if np.isfinite(difference):
            axes.plot([value, value + difference], [-y, -y], color=color, linewidth=1, alpha=0.35)
    named = [f"{name}  {value:.2f}" for name, value in zip(names, values, strict=True)]
    axes.set_yticks(-np.arange(len(names)), named, fontsize=9)  # beside the lines, not under them
    axes.set_xlabel(f"mean rank, 1 is best; told apart beyond {difference:.2f} (the thin line)")
    axes.set_xlim(values.min() - 0.3, values.max() + max(1.0, difference))
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")  # beside it the critical difference would be lost
    return figure


@styled
def pareto(runs: pd.DataFrame, candidate: str, reference: str) -> Figure:
    """Accuracy against how evenly modalities contribute to the model (areas over labels); up and left is better."""
    main = runs[runs["condition"] == MAIN]
    figure, panels = _panels(main["set"].nunique())
    named: list[list[Annotation]] = []
    accuracy = areas(main).groupby(["set", "strategy"])["area"].mean()
    imbalance = areas(main, "imbalance").groupby(["set", "strategy"])["area"].mean() / 100
    for axes, set_name in zip(panels, dict.fromkeys(main["set"]), strict=True):
        named.append([])
        by_area = accuracy[set_name].sort_values(ascending=False).index
        for name in sorted(by_area, key=lambda name: name != candidate):  # first come, first served with a place
            color = LIGHT["strategy"] if name == candidate else LIGHT["ink"] if name == reference else OTHERS
            x, y = imbalance[set_name, name], accuracy[set_name, name]
            axes.plot(x, y, "D" if name == candidate else "o", color=color)
            named[-1].append(
                axes.annotate(name, (x, y), (5, 3), textcoords="offset points", fontsize=7, color=LIGHT["muted"])
            )
        axes.set_title(f"{set_name}: area, points", loc="left", fontsize=10)
        axes.set_xlabel("imbalance of the modalities (0 is even)", fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(labelsize=9)
        axes.grid(axis="both")
        axes.margins(x=0.15)
    figure.draw_without_rendering()  # settles where the panels are
    for names in named:
        _keep_apart(names)
    return figure


def _keep_apart(names: Sequence[Annotation]) -> None:
    """Each name to a place beside its point that no point and no name has, within the panel, if there is one."""
    axes = names[0].axes
    assert axes is not None
    room, points = axes.get_window_extent(), axes.transData.transform([name.xy for name in names])
    taken = [Bbox.from_extents(*(point - 3), *(point + 3)) for point in points]
    for name in names:
        for side, above in NAME_PLACES:
            name.set_position((side, above))
            name.set_horizontalalignment("left" if side > 0 else "right")
            box = name.get_window_extent()
            if room.x0 <= box.x0 and box.x1 <= room.x1 and not any(box.overlaps(other) for other in taken):
                break
        else:
            name.set_position(NAME_PLACES[0])
            name.set_horizontalalignment("left")
        taken.append(name.get_window_extent())

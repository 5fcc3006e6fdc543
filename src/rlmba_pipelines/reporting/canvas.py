"""What all figures share: style, axes with room for direct labels, lines, words at the axes.

Sizes are in pixels: 1 pixel is 1/72 inch, so that in an SVG a font size is what the reader gets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rlmba_pipelines.reporting.palette import LIGHT

Size = tuple[int, int]
WIDE, HALF, NARROW = (920, 390), (460, 300), (330, 290)
FONT = 13
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": FONT,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": LIGHT["line"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["line"],
    "ytick.color": LIGHT["line"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.labelcolor": LIGHT["muted"],
    "ytick.major.size": 0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 1.0,
    "lines.linewidth": 2.5,
    "lines.markersize": 7,
    "lines.solid_capstyle": "round",
}

matplotlib.rcParams["svg.hashsalt"] = "rlmba"  # wherever a figure is saved, the same one is the same file

Draw = Callable[..., Figure]


def styled(draw: Draw) -> Draw:
    @wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return drawn


def canvas(size: Size, right: int) -> tuple[Figure, Axes]:
    """Axes with margins in pixels, room for direct labels on the right."""
    width, height = size
    figure = Figure(figsize=(width / 72, height / 72), dpi=100, facecolor=LIGHT["surface"])
    left, bottom, top = 34, 46, 34
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )
    return figure, axes


def room(names: Sequence[str], size: Size) -> int:
    """Pixels that the longest direct label needs; never more than a third of the picture."""
    return min(24 + 8 * max((len(name) for name in names), default=0), size[0] // 3)


def line(axes: Axes, x: pd.Series, y: pd.Series, color: str, marker: str, dashes: tuple[float, ...]) -> None:
    axes.plot(
        x,
        y,
        color=LIGHT[color],
        marker=marker or None,
        dashes=dashes or (None, None),
        markeredgecolor=LIGHT["surface"],
        markeredgewidth=1.2,
        clip_on=False,
        zorder=3,
    )


def y_title(axes: Axes, words: str) -> None:
    """What the y axis measures, written above it, flush with the tick labels."""
    axes.annotate(
        words,
        (0, 1),
        (-30, 14),
        xycoords="axes fraction",
        textcoords="offset points",
        color=LIGHT["muted"],
        va="bottom",
    )


def axes_words(axes: Axes, curve: pd.DataFrame, title: str, size: Size, *, from_zero: bool = False) -> None:
    """Titles of both axes, ticks at the numbers of labels that there really were, a frame that ends on grid lines."""
    narrow = size[0] < 400
    y_title(axes, title)
    axes.set_xlabel("training labels", labelpad=8)
    bought = sorted(set(curve["labels"]))
    if len(bought) <= (4 if narrow else 7):
        axes.set_xticks(bought)
    elif len(bought) <= (8 if narrow else 14):
        axes.set_xticks(bought[::-1][::2][::-1])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4 if narrow else 7, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if curve.empty:
        return
    axes.margins(x=0.02, y=0)
    low, high = axes.get_ylim()
    steps = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0 if from_zero else low, high)
    axes.set_yticks(steps)
    axes.set_ylim(steps[0], steps[-1])


def direct_labels(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names beside the ends of their lines, moved apart where they would touch."""
    low, high = axes.get_ylim()
    height = axes.bbox.height * 72 / axes.figure.dpi
    gap = 1.25 * FONT / height * (high - low)
    order = sorted(range(len(ends)), key=lambda row: ends[row][0])
    places = spread([ends[row][0] for row in order], gap)
    for row, place in zip(order, places, strict=True):
        _, name, color = ends[row]
        axes.annotate(
            name, (1, place), (12, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            color=LIGHT[color], va="center", fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places moved as little as needed to lie at least ``gap`` apart, their mean kept within a cluster.

    >>> spread([0.0, 1.0, 5.0], gap=2.0)
    [-0.5, 1.5, 5.0]
    """
    clusters: list[tuple[float, int]] = []  # center, members
    for place in places:
        clusters.append((place, 1))
        while len(clusters) > 1 and clusters[-1][0] - clusters[-2][0] < gap * (clusters[-1][1] + clusters[-2][1]) / 2:
            (first, m), (second, n) = clusters[-2:]
            clusters[-2:] = [((first * m + second * n) / (m + n), m + n)]
    return [center + gap * (k - (size - 1) / 2) for center, size in clusters for k in range(size)]

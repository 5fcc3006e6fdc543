"""Names in a picture can be read."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation

from rlmba_pipelines.benchmark import figures

CROWD = ["rl_mba", "random", "uncertainty_herding", "max_herding", "margin", "alfa_mix", "bmmal", "badge"]


@pytest.mark.parametrize("seed", range(5))
def test_names_of_strategies_that_lie_close_lie_on_no_name_and_on_no_point(seed):
    rng = np.random.default_rng(seed)
    rows = [
        {"set": name_of_set, "condition": "main", "strategy": name, "seed": 1, "round": k, "labels": 100 * (k + 1),
         "accuracy": accuracy, "imbalance": imbalance}
        for name_of_set in ("a", "b", "c")
        for name, accuracy, imbalance in zip(CROWD, rng.random(8), rng.random(8), strict=True)
        for k in (0, 1)
    ]  # fmt: skip
    panels = figures.pareto(pd.DataFrame(rows), "rl_mba", "random").axes
    assert len(panels) == 3
    for axes in panels:
        names = [child for child in axes.get_children() if isinstance(child, Annotation)]
        assert sorted(name.get_text() for name in names) == sorted(CROWD)
        boxes = [name.get_window_extent() for name in names]
        assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
        points = axes.transData.transform([name.xy for name in names])
        assert not [1 for box in boxes for x, y in points if box.contains(x, y)]
        room = axes.get_window_extent()
        assert all(room.x0 <= box.x0 and box.x1 <= room.x1 for box in boxes)


def test_penalties_begin_with_who_is_beaten_least():
    names, beaten = list("abc"), {"a": 0.6, "b": 0.0, "c": 0.3}
    matrix = pd.DataFrame([list(beaten.values())] * 3, index=names, columns=names)
    [axes] = figures.penalties(matrix).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c", "a"]
    assert [label.get_text().split()[0] for label in axes.get_xticklabels()] == ["b", "c", "a"]
    assert axes.images[0].get_array().tolist() == [[0.0, 0.3, 0.6]] * 3


def test_names_stand_beside_the_lines_of_the_critical_difference_not_under_them():
    [axes] = figures.critical_difference(pd.Series(range(1, 9), index=CROWD, dtype=float), 2.5, "rl_mba").axes
    axes.figure.canvas.draw()
    names = [label for label in axes.get_yticklabels() if label.get_text()]
    assert [label.get_text().split()[0] for label in names] == CROWD
    assert all(label.get_window_extent().x1 <= axes.get_window_extent().x0 for label in names)


def test_a_row_is_the_same_strategy_in_every_panel_also_where_not_all_ran():
    ran = {"a": CROWD, "b": CROWD[1:-1]}
    rows = [
        {"set": name_of_set, "condition": "main", "strategy": name, "difference": d, "low": d - 1, "high": d + 1}
        for name_of_set, names in ran.items()
        for d, name in enumerate(names)
    ]
    left, right = figures.forest(pd.DataFrame(rows), "rl_mba").axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert sorted(names) == sorted(CROWD)
    assert left.get_ylim() == right.get_ylim()
    for axes, shown in ((left, ran["a"]), (right, ran["b"])):
        points = [line for line in axes.lines if line.get_marker() in ("o", "D") and np.isfinite(line.get_xdata()[0])]
        assert {names[int(point.get_ydata()[0])]: point.get_xdata()[0] for point in points} == {
            name: d for d, name in enumerate(shown)
        }

"""GALAXY: find, for every class in turn, the place in the order of its margins where labels change.

Concept  one linear graph a class: all samples in the order of their margin for it; bisection of the shortest path
         between a labeled sample of the class and one of another class.
Source   Zhang, Katz-Samuels & Nowak 2022 (arXiv 2202.01402), and its official code.
Stated   margin δ_c = p_c − max p, ties by confidence; query the middle of the shortest path between differently
         labeled samples; where all such pairs are neighbours (a cut is found), connect more distant neighbours, which
         leads to the samples next to the cut; where there is no such pair, a sample at random.
Chosen   classes take turns, as in the official code, in an order drawn once a batch; two classes share one graph.
         The paper reads each label before the next query. Labels of a batch come all at once here: a sample that was
         asked for counts as what the model predicts until its label is known, so that the bisection goes on.
         Instead of growing edges one order at a time, the nearest sample on either side of a cut is taken.
"""

from __future__ import annotations

import numpy as np

from rlmba_pipelines.learning.acquisition.registry import register
from rlmba_pipelines.learning.types import UNLABELED, PoolView, Selection

BISECTION, BESIDE_A_CUT, AT_RANDOM = 2.0, 1.0, 0.0


def class_order(probabilities_NC: np.ndarray, class_idx: int) -> np.ndarray:
    """Rows from least to most like the class: by margin p_c − max p, where that is 0 by confidence, then by row.

    >>> class_order(np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]]), class_idx=0).tolist()
    [2, 0, 1]
    """
    likeliest_N = probabilities_NC.max(axis=1)
    own_N = probabilities_NC[:, class_idx]
    return np.argsort(np.where(own_N == likeliest_N, likeliest_N, own_N - likeliest_N), kind="stable")


def next_place(places: np.ndarray, is_class: np.ndarray, n_places: int) -> tuple[int, int, float]:
    """Where to ask next on a line of ``n_places`` samples.

    Args:
        places: int64[S], ascending, those whose class is known or assumed.
        is_class: bool[S], whether it is the class of this line.

    Returns:
        The place, the length of the path it lies on, and how it was found; place -1 where a sample at random is due.

    >>> next_place(np.array([0, 4, 9]), np.array([False, True, True]), n_places=10)  # 1 2 3 lie between
    (2, 4, 2.0)
    >>> next_place(np.array([3, 4, 5]), np.array([False, False, True]), n_places=10)  # cut between 4 and 5
    (6, 2, 1.0)
    """
    between = np.diff(places) - 1
    changes = is_class[1:] != is_class[:-1]
    paths = np.flatnonzero(changes & (between > 0))
    if len(paths):
        shortest = paths[between[paths].argmin()]
        return int(places[shortest] + (between[shortest] + 1) // 2), int(between[shortest]) + 1, BISECTION
    cuts = np.flatnonzero(changes)
    if not len(cuts) or len(places) == n_places:
        return -1, 0, AT_RANDOM
    index = np.arange(len(places))
    starts = np.concatenate([[True], between > 0])
    run_start = np.maximum.accumulate(np.where(starts, index, 0))
    ends = np.concatenate([between > 0, [True]])
    run_end = np.minimum.accumulate(np.where(ends, index, len(places) - 1)[::-1])[::-1]
    left, right = places[run_start[cuts]] - 1, places[run_end[cuts + 1]] + 1
    to_left = np.where(left >= 0, places[cuts + 1] - left, n_places + 1)
    to_right = np.where(right < n_places, right - places[cuts], n_places + 1)
    steps = np.concatenate([to_left, to_right])
    nearest = int(steps.argmin())
    return int(np.concatenate([left, right])[nearest]), int(steps[nearest]), BESIDE_A_CUT


@register(
    "galaxy",
    requires=("predictions", "y"),
    cost="O(C N log N + Q (L + Q) log(L + Q))",
    reference="Zhang et al. 2022, arXiv 2202.01402",
    idea="Ask, for every class in turn, where in the order of its margins the labels change.",
    formula="middle of the shortest path between differently labeled samples in the order of p_c − max p",
    when="Extremely imbalanced classes, where margin asks about the large classes only.",
    deterministic=False,
)
def galaxy(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """Bisection on one line a class, classes in turn; utility is 1 / length of the path (0 for a sample at random).

    Reasons: ``class`` (whose line), ``class_margin`` (p_c − max p), ``path`` (edges), ``found_by`` (2 bisection,
    1 beside a cut, 0 at random).
    """
    assert view.predictions is not None
    assert view.y is not None
    probabilities_NC = view.predictions.probabilities_NC
    n_samples, n_classes = probabilities_NC.shape
    assumed_N = np.where(view.y != UNLABELED, view.y, probabilities_NC.argmax(axis=1))
    seen_N = view.labeled_N.copy()
    turns = rng.permutation(n_classes) if n_classes > 2 else np.array([1])
    n_lines = min(len(turns), query_size)  # filled as their turn comes
    order_LN, place_LN = (np.empty((n_lines, n_samples), dtype=np.int32) for _ in range(2))
    rows, picked = list[int](), list[tuple[float, ...]]()
    for turn in range(query_size):
        line = turn % len(turns)
        class_idx = int(turns[line])
        order = order_LN[line]
        if line == turn:
            order[:] = class_order(probabilities_NC, class_idx)
            place_LN[line, order] = np.arange(n_samples)
        places = np.sort(place_LN[line, seen_N]).astype(np.int64)
        place, path, found_by = next_place(places, assumed_N[order[places]] == class_idx, n_samples)
        row = int(order[place]) if place >= 0 else int(rng.choice(np.flatnonzero(~seen_N)))
        rows.append(row)
        seen_N[row] = True
        class_margin = float(probabilities_NC[row, class_idx] - probabilities_NC[row].max())
        picked.append((class_idx, class_margin, path, found_by))
    columns = np.array(picked, dtype=np.float64).T
    reasons = dict(zip(("class", "class_margin", "path", "found_by"), columns, strict=True))
    utility_Q = np.where(columns[2] > 0, 1 / np.maximum(columns[2], 1), 0.0)
    return Selection(view.sample_ids[rows], utility_Q, reasons)

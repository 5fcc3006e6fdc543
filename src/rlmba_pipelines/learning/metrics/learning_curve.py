"""What a label bought, over a whole run. Curves are (labels, accuracy) with labels strictly increasing."""

from __future__ import annotations

import numpy as np

Curve = tuple[np.ndarray, np.ndarray]


def grown(labels: np.ndarray) -> np.ndarray:
    """bool[K]: the points of a run that make its curve, those with fewer labels than every later one.

    Of rounds that bought nothing the last counts; where people took labels back, what was measured with more of them
    than are left says nothing about the labels that are.

    >>> grown(np.array([10, 19, 14, 18, 18, 22])).tolist()
    [True, False, True, False, True, True]
    """
    fewest_later = np.minimum.accumulate(labels[::-1])[::-1][1:]
    return np.append(labels[:-1] < fewest_later, True)[: len(labels)]


def area_under_curve(labels: np.ndarray, accuracy: np.ndarray) -> float:
    """Trapezoid area over the span of labels: the mean accuracy of the run, [0, 1]; higher is better.

    A curve of one point has that point's accuracy.

    >>> area_under_curve(np.array([100, 200, 400]), np.array([0.2, 0.4, 0.6]))  # (.3 * 100 + .5 * 200) / 300
    0.43333333333333335
    """
    labels, accuracy = _checked(labels, accuracy)
    if len(labels) == 1:
        return float(accuracy[0])
    return float(np.trapezoid(accuracy, labels) / (labels[-1] - labels[0]))


def labels_to_reach(labels: np.ndarray, accuracy: np.ndarray, target: float) -> float | None:
    """Labels at which the curve first reaches ``target``, by linear interpolation; None if it never does.

    "First reaches" makes it a statement about the monotone envelope (running maximum): a later dip does not count. A
    curve that starts at or above the target reaches it with its first labels.

    >>> labels_to_reach(np.array([100, 200, 300]), np.array([0.2, 0.4, 0.3]), 0.3)
    150.0
    >>> labels_to_reach(np.array([100, 200]), np.array([0.2, 0.4]), 0.5) is None
    True
    """
    labels, accuracy = _checked(labels, accuracy)
    reached = np.flatnonzero(accuracy >= target)
    if not len(reached):
        return None
    i = reached[0]
    if i == 0:
        return float(labels[0])
    share = (target - accuracy[i - 1]) / (accuracy[i] - accuracy[i - 1])
    return float(labels[i - 1] + share * (labels[i] - labels[i - 1]))


def labels_saved(curve: Curve, reference: Curve) -> float | None:
    """Labels that ``curve`` needs fewer than ``reference`` for the best accuracy that both reach; negative: more.

    The accuracy compared at is the smaller of the two maxima, so nothing is extrapolated. None when one curve is above
    that accuracy from its first point on, where "how many labels" has no answer.

    >>> curve = np.array([100, 200, 300]), np.array([0.2, 0.6, 0.8])
    >>> labels_saved(curve, (np.array([100, 200, 300]), np.array([0.2, 0.4, 0.6])))
    100.0
    """
    target = min(float(np.max(curve[1])), float(np.max(reference[1])))
    if max(curve[1][0], reference[1][0]) > target:
        return None
    needed, needed_by_reference = labels_to_reach(*curve, target), labels_to_reach(*reference, target)
    return None if needed is None or needed_by_reference is None else needed_by_reference - needed


def _checked(labels: np.ndarray, accuracy: np.ndarray) -> Curve:
    labels, accuracy = np.asarray(labels, dtype=np.float64), np.asarray(accuracy, dtype=np.float64)
    if labels.shape != accuracy.shape or not len(labels):
        raise ValueError("a learning curve needs as many labels as accuracies, and at least one of each")
    if (np.diff(labels) <= 0).any():
        raise ValueError("a learning curve needs labels that strictly increase")
    return labels, accuracy

"""How often a prediction is right. Higher is better, except ``negative_log_likelihood``."""

from __future__ import annotations

import numpy as np

LEAST_PROBABILITY = 1e-12  # a class ruled out costs 27.6 nats, not infinity


def accuracy(probabilities_NC: np.ndarray, y: np.ndarray) -> float:
    """Share of samples whose likeliest class is the true one, [0, 1]; the first of tied classes counts.

    >>> accuracy(np.array([[0.7, 0.3], [0.6, 0.4]]), np.array([0, 1]))
    0.5
    """
    _check(y)
    return float((probabilities_NC.argmax(axis=1) == y).mean())


def accuracy_by_class(probabilities_NC: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Recall of every class that has a true sample, float64[<= C] in the order of classes.

    >>> accuracy_by_class(np.array([[0.7, 0.3, 0], [0.6, 0.4, 0], [0.1, 0.9, 0]]), np.array([0, 1, 1]))
    array([1. , 0.5])
    """
    _check(y)
    count_C = np.bincount(y)
    right_C = np.bincount(y, weights=probabilities_NC.argmax(axis=1) == y)
    return right_C[count_C > 0] / count_C[count_C > 0]


def macro_accuracy(probabilities_NC: np.ndarray, y: np.ndarray) -> float:
    """Mean recall over the classes that have a true sample, [0, 1].

    >>> macro_accuracy(np.array([[0.7, 0.3], [0.6, 0.4], [0.1, 0.9]]), np.array([0, 1, 1]))
    0.75
    """
    return float(accuracy_by_class(probabilities_NC, y).mean())


def macro_f1(probabilities_NC: np.ndarray, y: np.ndarray) -> float:
    """Mean F1 over the classes that are true or predicted somewhere, [0, 1] (as scikit-learn's default).

    >>> macro_f1(np.array([[0.7, 0.3], [0.6, 0.4], [0.1, 0.9]]), np.array([0, 1, 1]))  # both F1 are 2/3
    0.6666666666666666
    """
    _check(y)
    guess_N, n_classes = probabilities_NC.argmax(axis=1), probabilities_NC.shape[1]
    true_C, guessed_C = np.bincount(y, minlength=n_classes), np.bincount(guess_N, minlength=n_classes)
    right_C = np.bincount(y[guess_N == y], minlength=n_classes)
    seen_C = true_C + guessed_C > 0
    return float((2 * right_C[seen_C] / (true_C + guessed_C)[seen_C]).mean())


def negative_log_likelihood(probabilities_NC: np.ndarray, y: np.ndarray) -> float:
    """Mean ``-ln p(true class)`` in nats; probabilities are clipped to at least 1e-12.

    >>> round(negative_log_likelihood(np.array([[0.5, 0.5]]), np.array([0])), 4)
    0.6931
    """
    _check(y)
    true_N = probabilities_NC[np.arange(len(y)), y]
    return float(-np.log(np.maximum(true_N, LEAST_PROBABILITY)).mean())


def _check(y: np.ndarray) -> None:
    if not len(y):
        raise ValueError("a metric needs at least one labeled sample")

"""Temperature calibration: the least NLL, by the definition, and what happens at its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax

from rlmba_pipelines.learning.calibration import (
    COLDEST,
    HOTTEST,
    apply_temperature,
    fit_temperature,
    log_probabilities,
    nll_at,
)
from rlmba_pipelines.learning.metrics.calibration import expected_calibration_error


def sampled(n: int, n_classes: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are drawn from their softmax."""
    rng = np.random.default_rng(seed)
    logits_NC = spread * rng.normal(size=(n, n_classes))
    y = (rng.random((n, 1)) > softmax(logits_NC, axis=1).cumsum(axis=1)).sum(axis=1).clip(max=n_classes - 1)
    return logits_NC, y


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(5, 60), st.floats(0.1, 8), st.integers(0, 10_000))
def test_no_temperature_of_a_fine_grid_has_a_lower_nll(n_classes, n, spread, seed):
    logits_NC, y = sampled(n, n_classes, spread, seed)
    found = nll_at(logits_NC, y, fit_temperature(logits_NC, y))
    grid = np.geomspace(COLDEST, HOTTEST, 400)
    assert found <= min(nll_at(logits_NC, y, t) for t in grid) + 1e-10


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 2.5])
def test_labels_drawn_at_a_temperature_give_it_back(true_temperature):
    logits_NC, y = sampled(20_000, 5, 2.0, seed=0)
    assert_allclose(fit_temperature(logits_NC * true_temperature, y), true_temperature, rtol=0.03)


def test_calibration_lowers_the_error_of_confidence_and_keeps_every_decision():
    logits_NC, y = sampled(4000, 6, 1.5, seed=1)
    sure_NC = 3 * logits_NC
    calibrated = apply_temperature(sure_NC, fit_temperature(sure_NC, y))
    assert expected_calibration_error(calibrated, y) < 0.3 * expected_calibration_error(softmax(sure_NC, axis=1), y)
    assert_array_equal(calibrated.argmax(axis=1), sure_NC.argmax(axis=1))


def test_probabilities_and_shifted_logits_have_the_same_temperature():
    logits_NC, y = sampled(300, 4, 2.0, seed=2)
    expected = fit_temperature(logits_NC, y)
    assert_allclose(fit_temperature(log_probabilities(softmax(logits_NC, axis=1)), y), expected, rtol=1e-9)
    assert_allclose(fit_temperature(logits_NC + np.arange(300)[:, None], y), expected, rtol=1e-9)


def test_draws_of_an_ensemble_are_calibrated_one_by_one():
    logits_NKC = np.random.default_rng(0).normal(size=(7, 3, 4))
    calibrated = apply_temperature(logits_NKC, 1.7)
    for k in range(3):
        assert_array_equal(calibrated[:, k], apply_temperature(logits_NKC[:, k], 1.7))
    assert_allclose(apply_temperature(logits_NKC, 1.0), softmax(logits_NKC, axis=-1), atol=1e-15)


def test_always_right_is_as_sharp_and_always_wrong_as_blunt_as_allowed():
    logits_NC = np.array([[2.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits_NC, np.array([0, 1])) == COLDEST
    assert fit_temperature(logits_NC, np.array([1, 0])) == HOTTEST


def test_where_every_temperature_is_as_good_it_is_one():
    assert fit_temperature(np.zeros((5, 3)), np.arange(5) % 3) == 1.0  # rows that tell nothing apart
    assert fit_temperature(np.array([[3.0], [4.0]]), np.array([0, 0])) == 1.0  # one class
    assert fit_temperature(np.full((4, 3), -27.6), np.zeros(4, dtype=int)) == 1.0


def test_identical_rows_get_the_odds_of_their_labels():
    logits_NC = np.tile([np.log(4.0), 0.0], (10, 1))
    y = np.array([0] * 7 + [1] * 3)
    assert_allclose(apply_temperature(logits_NC, fit_temperature(logits_NC, y))[0], [0.7, 0.3], atol=1e-9)


def test_a_class_ruled_out_has_a_finite_price():
    p_NC = np.array([[1.0, 0.0], [0.9, 0.1], [0.2, 0.8]])
    assert np.isfinite(fit_temperature(log_probabilities(p_NC), np.array([1, 0, 1])))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"finite; row \[1\]"):
        fit_temperature(np.array([[0.0, 1.0], [np.nan, 0.0]]), np.array([0, 1]))
    with pytest.raises(ValueError, match="at least one"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int))
    with pytest.raises(ValueError, match="one label a sample"):
        fit_temperature(np.zeros((2, 3)), np.array([0]))
    with pytest.raises(ValueError, match="positive"):
        apply_temperature(np.zeros((2, 3)), 0.0)

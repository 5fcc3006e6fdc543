"""What is forecast of a learning curve: right on laws that are known, as sure as it says on curves that were run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rlmba_pipelines.learning.forecast import POWERS, RISES, SCALE, SCALE_SIZE, SHARE, fit_curve

PAST = json.loads((Path(__file__).parents[1] / "golden" / "learning_curves.json").read_text())


def tolerance(n: int) -> float:
    """Three standard deviations of a share of ``n`` independent cases, each held with probability ``SHARE``."""
    return float(3 * np.sqrt(SHARE * (1 - SHARE) / n))


@pytest.mark.parametrize("measured_on", ["validation", "test"])
def test_four_of_five_next_rounds_of_real_past_runs_fall_into_their_interval(measured_on):
    n_measured, held, widths = PAST["about"][f"n_{measured_on}"], [], []
    for curve in PAST["curves"]:
        labels, accuracies = curve["labels"], curve[measured_on]
        for k in range(3, len(labels)):
            fitted = fit_curve(labels[:k], accuracies[:k], n_measured)
            expected = fitted.measured(labels[k])
            held.append(expected.low <= accuracies[k] <= expected.high)
            widths.append(expected.high - expected.low)
    assert len(PAST["curves"]) >= 20
    assert abs(np.mean(held) - SHARE) < tolerance(len(held))
    assert np.mean(widths) < 2 * 2.56 * np.sqrt(0.25 / n_measured)  # no wider than two independent measurements differ


def drawn_from_the_prior(rng, n_rounds, n_measured):
    """Labels, measured accuracies and the true curve, by the very law that the forecast believes in."""
    labels = rng.integers(50, 300) * np.arange(1, n_rounds + 2)
    now, rise, power = rng.uniform(0.2, 0.9), rng.choice(RISES), rng.choice(POWERS)
    limit = now + (1 - now) * rise
    curve = np.maximum(limit - (limit - now) * (labels / labels[-2]) ** -power, 0)
    scale = SCALE * SCALE_SIZE / rng.chisquare(SCALE_SIZE)
    noise = rng.normal(size=len(labels)) * np.sqrt(scale * curve * (1 - curve) / n_measured)
    return labels, curve + noise, curve


def test_where_its_beliefs_are_true_its_intervals_hold_what_they_say():
    rng, measured, gained = np.random.default_rng(0), [], []
    while len(measured) < 150:
        labels, accuracies, curve = drawn_from_the_prior(rng, int(rng.integers(3, 9)), 1000)
        if curve.min() <= 0 or accuracies.min() < 0 or accuracies.max() > 1:
            continue  # no curve of accuracies
        fitted = fit_curve(labels[:-1], accuracies[:-1], 1000)
        next_one, gain = fitted.measured(labels[-1]), fitted.gain(labels[-1] - labels[-2])
        measured.append(next_one.low <= accuracies[-1] <= next_one.high)
        gained.append(gain.low <= curve[-1] - curve[-2] <= gain.high)
    assert abs(np.mean(measured) - SHARE) < tolerance(150)
    assert abs(np.mean(gained) - SHARE) < tolerance(150)


def test_power_laws_with_fresh_binomial_noise_are_met_as_often_as_promised():
    rng, held = np.random.default_rng(1), []
    for _ in range(150):
        labels = 100 * np.arange(1, int(rng.integers(4, 10)) + 1)
        truth = rng.uniform(0.4, 0.95) - rng.uniform(0.1, 0.35) * (labels / 100) ** -rng.uniform(0.3, 1.5)
        accuracies = rng.binomial(500, truth) / 500
        expected = fit_curve(labels[:-1], accuracies[:-1], 500).measured(labels[-1])
        held.append(expected.low <= accuracies[-1] <= expected.high)
    assert abs(np.mean(held) - SHARE) < tolerance(150)


def test_a_power_law_without_noise_is_found_and_carried_on():
    labels = 100 * 2 ** np.arange(7)
    truth = 0.7 - 0.4 * (labels / 100) ** -0.5
    fitted = fit_curve(labels[:6], truth[:6], 10_000)
    assert_allclose(fitted.measured(6400).mean, truth[6], atol=5e-3)
    assert_allclose(fitted.gain(3200).mean, truth[6] - truth[5], atol=5e-3)
    needed = fitted.labels_to_reach(0.65)  # where 0.4 (n / 100)^-0.5 is 0.05
    assert 4000 < needed.low <= needed.mean < 6400 < needed.high
    assert fitted.labels_to_reach(0.75).mean == np.inf
    assert fitted.labels_to_reach(0.6).high == 3200  # it is there


def test_a_flat_curve_promises_next_to_nothing_and_a_steep_one_much():
    flat = fit_curve([100, 200, 300, 400, 500], [0.6] * 5, 5000).gain(100)
    steep = fit_curve([100, 200, 300, 400, 500], 0.9 - 0.7 * np.arange(1, 6) ** -0.3, 5000).gain(100)
    assert 0 <= flat.low <= flat.mean < 0.003
    assert steep.low > 0.015
    assert steep.mean == pytest.approx(0.7 * (5**-0.3 - 6**-0.3), abs=0.004)


def test_a_gain_is_never_negative_even_after_a_fall():
    fitted = fit_curve([100, 200, 300], [0.6, 0.5, 0.4], 200)
    assert fitted.gain(100).low >= 0
    assert fitted.measured(400).mean > 0.45  # the fall is taken for noise


def test_fewer_samples_to_measure_on_leave_it_less_sure():
    widths = []
    for n_measured in (100, 1000, 10_000):
        low, high = fit_curve([100, 200, 300, 400], [0.4, 0.5, 0.55, 0.57], n_measured).measured(500)[1:]
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 3 * widths[2]


def test_the_chance_to_fall_short_agrees_with_the_interval():
    fitted = fit_curve([100, 200, 300, 400], [0.4, 0.5, 0.55, 0.57], 1000)
    expected = fitted.measured(500)
    assert_allclose([fitted.chance_below(level, 500) for level in expected[1:]], [0.1, 0.9], atol=3e-3)


def test_two_points_are_no_curve_and_rounds_that_bought_nothing_count_once():
    assert fit_curve([], [], 100) is None
    assert fit_curve([100, 200], [0.4, 0.5], 100) is None
    assert fit_curve([100, 200, 200, 200], [0.4, 0.5, 0.5, 0.5], 100) is None
    once, twice = (fit_curve(n, y, 100) for n, y in (([1, 2, 3], [0.4, 0.5, 0.6]), ([1, 2, 3, 3], [0.4, 0.5, 0, 0.6])))
    assert once.gain(1) == twice.gain(1)


@pytest.mark.parametrize("accuracies", [[0, 0, 0], [1, 1, 1], [0, 0.5, 1], [1, 0, 1]])
def test_the_ends_of_the_scale_are_forecast_too(accuracies):
    fitted = fit_curve([1, 2, 3], accuracies, 1)
    assert all(0 <= value <= 1 for value in (*fitted.gain(10), *fitted.measured(13)))


def test_points_with_labels_that_were_taken_back_are_left_out():
    after = fit_curve([0, 14, 18, 22], [0.1, 0.4, 0.5, 0.55], 50)
    taken_back = fit_curve([19, 0, 19, 14, 18, 18, 22], [0.6, 0.1, 0.6, 0.4, 0.9, 0.5, 0.55], 50)
    assert taken_back.gain(8) == after.gain(8) == fit_curve([14, 18, 22], [0.4, 0.5, 0.55], 50).gain(8)
    assert fit_curve([3, 2, 1], [0.1, 0.2, 0.3], 10) is None  # one point


@pytest.mark.parametrize(
    ("labels", "accuracies", "n_measured"),
    [
        ([1, 2], [0.5], 10),
        ([1, 2, 3], [0.1, 0.2, np.nan], 10),
        ([1, 2, 3], [0.1, 0.2, 1.1], 10),
        ([1, 2, 3], [0.1, 0.2, 0.3], [10, 0, 10]),
    ],
)
def test_what_is_no_learning_curve_is_refused(labels, accuracies, n_measured):
    with pytest.raises(ValueError, match="fit_curve"):
        fit_curve(labels, accuracies, n_measured)

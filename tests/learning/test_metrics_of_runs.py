"""Learning curves and the statistics of differences, by hand and against scipy.stats."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rlmba_pipelines.learning.metrics.learning_curve import area_under_curve, labels_saved, labels_to_reach
from rlmba_pipelines.learning.metrics.statistics import bootstrap_interval, holm, paired_difference, wilson


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_area_of_a_flat_curve_is_its_accuracy_whatever_the_labels():
    assert area_under_curve(np.array([10, 50, 400]), np.full(3, 0.7)) == pytest.approx(0.7)
    assert area_under_curve(np.array([10]), np.array([0.7])) == 0.7


def test_the_area_does_not_change_when_a_point_on_the_line_is_added():
    labels, accuracy = np.array([100, 300]), np.array([0.2, 0.6])
    assert area_under_curve(np.array([100, 150, 300]), np.array([0.2, 0.3, 0.6])) == pytest.approx(
        area_under_curve(labels, accuracy)
    )


def test_a_target_is_reached_between_two_points_and_a_later_dip_does_not_count():
    labels, accuracy = np.array([100, 200, 300, 400]), np.array([0.2, 0.6, 0.4, 0.8])
    assert labels_to_reach(labels, accuracy, 0.5) == pytest.approx(175)
    assert labels_to_reach(labels, accuracy, 0.7) == pytest.approx(375)
    assert labels_to_reach(labels, accuracy, 0.1) == 100
    assert labels_to_reach(labels, accuracy, 0.9) is None


def test_more_accuracy_never_takes_fewer_labels(rng):
    labels, accuracy = np.arange(10) * 50 + 100, rng.random(10)
    needed = [labels_to_reach(labels, accuracy, t) for t in np.linspace(0, accuracy.max(), 20)]
    assert (np.diff(np.array(needed, dtype=float)) >= 0).all()


def test_labels_saved_is_antisymmetric_and_zero_against_itself():
    labels = np.array([100, 200, 300])
    fast, slow = (labels, np.array([0.2, 0.6, 0.8])), (labels, np.array([0.2, 0.3, 0.6]))
    assert labels_saved(fast, slow) == pytest.approx(100)
    assert labels_saved(slow, fast) == pytest.approx(-100)
    assert labels_saved(fast, fast) == 0


def test_curves_that_never_meet_save_no_number_of_labels():
    labels = np.array([100, 200])
    assert labels_saved((labels, np.array([0.7, 0.8])), (labels, np.array([0.2, 0.5]))) is None


@pytest.mark.parametrize("labels", [[100, 100], [200, 100], []])
def test_a_curve_whose_labels_do_not_increase_is_refused(labels):
    with pytest.raises(ValueError, match="learning curve needs"):
        area_under_curve(np.array(labels), np.full(len(labels), 0.5))


def test_the_paired_difference_is_the_paired_t_test(rng):
    a, b = rng.normal(1, 1, 12), rng.normal(0.5, 1, 12)
    ours, theirs = paired_difference(a, b), stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert ours.mean == pytest.approx((a - b).mean())


def test_a_difference_without_spread_is_certain_and_one_pair_is_refused():
    same = np.array([0.5, 0.7])
    assert paired_difference(same, same) == (0, 0, 0, 1)
    with pytest.raises(ValueError, match="two pairs"):
        paired_difference(np.array([1.0]), np.array([0.0]))


def test_holm_calls_significant_what_stepping_down_calls_significant(rng):
    p = rng.random(12) ** 3
    adjusted = holm(p)
    for alpha in np.linspace(0.01, 0.99, 99):
        significant = np.zeros(len(p), dtype=bool)
        for k, at in enumerate(np.argsort(p)):  # the procedure itself: from the smallest on, until one fails
            if p[at] > alpha / (len(p) - k):
                break
            significant[at] = True
        assert ((adjusted <= alpha) == significant).all()
    assert holm(np.array([0.6, 0.5])).tolist() == [1.0, 1.0]


def test_the_bootstrap_interval_covers_the_mean_as_often_as_it_says(rng):
    covered = 0
    for _ in range(300):
        low, high = bootstrap_interval(rng.normal(size=40), rng, resamples=400)
        covered += low <= 0 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_the_wilson_interval_is_that_of_scipy_and_stays_in_range():
    for successes, n in ((0, 10), (3, 10), (10, 10), (52, 70)):
        ours, theirs = wilson(successes, n), stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    with pytest.raises(ValueError, match="successes"):
        wilson(3, 2)

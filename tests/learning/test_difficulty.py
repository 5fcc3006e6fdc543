"""Difficulty: learned from labels that a model did not see, and the margin where there is too little to learn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import expit

from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.acquisition.views import make_view
from rlmba_pipelines.learning.difficulty import (
    MIN_ERRORS,
    MIN_LABELS,
    Difficulty,
    auroc,
    fit_difficulty,
    folds_of,
    ridge_logistic,
)
from rlmba_pipelines.learning.metrics.calibration import event_calibration_error
from rlmba_pipelines.learning.types import Action, Terms, UserError


def planted(n: int, seed: int = 0) -> tuple[Terms, np.ndarray, np.ndarray]:
    """Errors that follow the entropy, of which the margin knows half; their true probability comes last."""
    rng = np.random.default_rng(seed)
    entropy, noise = rng.normal(size=n), rng.normal(size=n)
    probability = expit(2 * entropy - 0.5)
    margin = expit(entropy + noise)
    terms = Terms(np.arange(n), {"margin": margin, "entropy": entropy, "noise": noise, "constant": np.ones(n)})
    return terms, rng.random(n) < probability, probability


def test_difficulty_finds_the_planted_probability_where_the_margin_does_not():
    terms, wrong_N, _ = planted(1500)
    found = fit_difficulty(terms, wrong_N, np.arange(1500) % 5)
    fresh, fresh_wrong, probability = planted(4000, seed=1)
    d_N = found.of(fresh)
    assert np.abs(d_N - probability).mean() < 0.03
    assert auroc(d_N, fresh_wrong) > auroc(fresh["margin"], fresh_wrong) + 0.05
    assert event_calibration_error(d_N, fresh_wrong) < 0.05
    assert event_calibration_error(fresh["margin"], fresh_wrong) > 0.07


def test_the_quality_that_is_told_is_that_of_samples_it_was_not_fitted_on():
    terms, wrong_N, _ = planted(1500)
    quality = fit_difficulty(terms, wrong_N, np.arange(1500) % 5).quality
    fresh, fresh_wrong, _ = planted(4000, seed=1)
    found = fit_difficulty(terms, wrong_N, np.arange(1500) % 5).of(fresh)
    assert quality["fitted"] == 1
    assert quality["auroc"] == pytest.approx(auroc(found, fresh_wrong), abs=0.03)
    assert quality["auroc_margin"] == pytest.approx(auroc(fresh["margin"], fresh_wrong), abs=0.03)
    assert quality["ece"] < 0.06


def test_where_terms_tell_nothing_the_quality_is_chance_however_many_terms_there_are():
    rng = np.random.default_rng(2)
    terms = Terms(np.arange(120), {name: rng.random(120) for name in ("margin", *"abcdefghijklmnop")})
    quality = fit_difficulty(terms, rng.random(120) < 0.4, np.arange(120) % 5, ridge=0.01).quality
    assert abs(quality["auroc"] - 0.5) < 4 * np.sqrt(120 / (12 * 48 * 72))  # s.e. of the rank sum under chance


@pytest.mark.parametrize(
    ("n", "n_wrong"), [(MIN_LABELS - 1, 40), (MIN_LABELS, MIN_ERRORS - 1), (MIN_LABELS, MIN_LABELS), (0, 0), (200, 0)]
)
def test_with_too_few_labels_or_one_outcome_the_margin_stands_in(n, n_wrong):
    terms, _, _ = planted(n)
    wrong_N = np.arange(n) < n_wrong
    found = fit_difficulty(terms, wrong_N, np.arange(n) % 5)
    pool, _, _ = planted(50, seed=3)
    assert_array_equal(found.of(pool), pool["margin"])
    assert found.quality == {"labels": n, "errors": n_wrong, "fitted": 0}


def test_at_the_least_number_of_labels_and_errors_it_is_learned():
    terms, _, _ = planted(MIN_LABELS)
    found = fit_difficulty(terms, np.arange(MIN_LABELS) < MIN_ERRORS, np.arange(MIN_LABELS) % 5)
    assert found.quality["fitted"] == 1


def test_rows_that_are_all_alike_leave_the_margin():
    terms = Terms(np.arange(200), {"margin": np.full(200, 0.3), "entropy": np.full(200, 0.5)})
    found = fit_difficulty(terms, np.arange(200) % 2 == 0, np.arange(200) % 5)
    assert_array_equal(found.of(terms), np.full(200, 0.3))


def test_errors_that_a_term_tells_apart_perfectly_give_finite_probabilities():
    terms = Terms(np.arange(200), {"margin": np.arange(200) / 200})
    d_N = fit_difficulty(terms, np.arange(200) >= 100, np.arange(200) % 5).of(terms)
    assert np.isfinite(d_N).all()
    assert d_N[:100].max() < 0.5 < d_N[100:].min()


def test_a_term_far_outside_what_was_seen_cannot_run_away():
    terms, wrong_N, _ = planted(400)
    found = fit_difficulty(terms, wrong_N, np.arange(400) % 5)
    far = Terms(np.arange(2), {name: np.array([1e3, 1e9]) for name in terms.columns})
    assert found.of(far)[0] == found.of(far)[1]


def test_a_probability_does_not_depend_on_the_order_of_samples_or_terms():
    terms, wrong_N, _ = planted(400)
    order = np.random.default_rng(4).permutation(400)
    shuffled = Terms(terms.sample_ids[order], {name: terms[name][order] for name in reversed(terms.columns)})
    one = fit_difficulty(terms, wrong_N, np.arange(400) % 5).of(terms)
    other = fit_difficulty(shuffled, wrong_N[order], (np.arange(400) % 5)[order]).of(terms)
    assert_allclose(one, other, atol=1e-9)


def test_the_regression_is_the_minimum_of_its_penalized_likelihood():
    rng = np.random.default_rng(5)
    x_NT, happened_N = rng.normal(size=(80, 3)), rng.random(80) < 0.3

    def cost(beta: np.ndarray) -> float:
        odds = x_NT @ beta[:3] + beta[3]
        return (np.logaddexp(0, odds) - happened_N * odds).sum() + 2.5 / 2 * (beta[:3] ** 2).sum()

    assert_allclose(ridge_logistic(x_NT, happened_N, 2.5), minimize(cost, np.zeros(4), tol=1e-12).x, atol=1e-4)


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(6)
    score_N, happened_N = rng.integers(0, 5, 60).astype(float), rng.random(60) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in score_N[happened_N] for b in score_N[~happened_N]]
    assert auroc(score_N, happened_N) == pytest.approx(np.mean(pairs))
    with pytest.raises(ValueError, match="both outcomes"):
        auroc(score_N, np.ones(60, dtype=bool))


def test_folds_hold_every_class_as_evenly_as_can_be():
    y = np.random.default_rng(7).integers(0, 6, 203)
    fold_N = folds_of(y, 5, np.random.default_rng(8))
    assert np.ptp(np.bincount(fold_N)) <= 1
    for c in range(6):
        assert np.ptp(np.bincount(fold_N[y == c], minlength=5)) <= 1


def test_lengths_that_differ_are_refused_and_a_missing_term_is_named():
    terms, wrong_N, _ = planted(200)
    with pytest.raises(ValueError, match="fold_N"):
        fit_difficulty(terms, wrong_N, np.arange(199) % 5)
    found = fit_difficulty(terms, wrong_N, np.arange(200) % 5)
    with pytest.raises(KeyError, match="entropy"):
        found.of(Terms(np.arange(2), {"margin": np.zeros(2)}))


def test_herding_takes_the_share_of_difficulty_that_theta_asks_for():
    plain = make_view(60, n_labeled=10)
    d_N = np.random.default_rng(9).random(60)
    view = make_view_with(plain, d_N)
    rng = np.random.default_rng(0)
    by_margin = select_batch("herding", make_view_with(plain, d_N, 0.0), 8, rng)
    assert_array_equal(by_margin.sample_ids, select_batch("herding", plain, 8, rng).sample_ids)
    whole = select_batch("herding", view, 8, rng)
    row = {s: i for i, s in enumerate(plain.sample_ids)}
    assert_allclose(whole.reasons["difficulty"], [d_N[row[s]] for s in whole.sample_ids])
    d_Q, rarity_Q = whole.reasons["difficulty"], whole.reasons["rarity"]
    assert_allclose(whole.utility_Q, d_Q**view.action.exponent * rarity_Q**view.action.rarity)


def make_view_with(view, d_N, share=1.0):
    action = Action(fused_kernel=0.2, balanced_kernel=0.4, raw_kernel=0.4, difficulty=share)
    return replace(view, terms=Terms(view.sample_ids, {**view.terms.columns, "difficulty": d_N}), action=action)


def test_herding_says_what_to_switch_on_where_no_difficulty_was_learned():
    view = make_view(30, n_labeled=5)
    asking = replace(view, action=Action(difficulty=0.5))
    for lacking in (asking, replace(asking, terms=None)):
        with pytest.raises(UserError, match=r"difficulty\.enabled"):
            select_batch("herding", lacking, 3, np.random.default_rng(0))


def test_a_share_of_difficulty_outside_zero_and_one_is_no_action():
    with pytest.raises(ValueError, match="difficulty"):
        Action(difficulty=1.5)


def test_nothing_learned_is_the_margin_within_zero_and_one():
    assert_array_equal(Difficulty().of(Terms(np.arange(2), {"margin": np.array([-1e-17, 0.4])})), [0.0, 0.4])

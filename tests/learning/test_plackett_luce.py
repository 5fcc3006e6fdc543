"""Plackett-Luce against brute force: probabilities, the sampler's law, gradients."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare

from rlmba_pipelines.learning.policy.plackett_luce import gradient, log_prob, sample, score_of_picks

LOGITS = np.array([0.3, -1.2, 0.9, 0.0, 2.0])


def plain_probability(logits, picks):
    """One softmax after another, each over what is left."""
    left, probability = list(range(len(logits))), 1.0
    for pick in picks:
        odds = np.exp(logits[left])
        probability *= odds[left.index(pick)] / odds.sum()
        left.remove(pick)
    return probability


@pytest.mark.parametrize("q", [1, 2, 3, 5])
def test_the_log_probability_is_that_of_drawing_one_by_one(q):
    total = 0.0
    for picks in permutations(range(5), q):
        found = np.exp(log_prob(LOGITS, np.array(picks)))
        assert abs(found - plain_probability(LOGITS, picks)) < 1e-12
        total += found
    assert abs(total - 1) < 1e-12


def test_gumbel_top_q_draws_ordered_batches_by_that_law():
    rng, n = np.random.default_rng(4), 30_000
    batches = list(permutations(range(4), 2))
    logits = np.array([0.0, 1.0, -0.5, 0.4])
    counts = dict.fromkeys(batches, 0)
    for _ in range(n):
        counts[tuple(sample(logits, 2, rng).tolist())] += 1
    expected = [n * plain_probability(logits, batch) for batch in batches]
    assert chisquare([counts[batch] for batch in batches], expected).pvalue > 0.01


@pytest.mark.parametrize("q", [0, 1, 3, 5])
def test_the_gradient_agrees_with_finite_differences_and_sums_to_zero(q):
    rng = np.random.default_rng(q)
    picks, step = rng.permutation(5)[:q], 1e-6
    up, down = ([log_prob(LOGITS + sign * step * e, picks) for e in np.eye(5)] for sign in (1, -1))
    numeric = (np.array(up) - np.array(down)) / (2 * step)
    np.testing.assert_allclose(gradient(LOGITS, picks), numeric, atol=1e-8)
    assert abs(gradient(LOGITS, picks).sum()) < 1e-12


def test_the_scores_of_the_picks_add_up_to_the_gradient_by_the_weights():
    rng = np.random.default_rng(1)
    features, weights = rng.normal(size=(9, 3)), rng.normal(size=3)
    picks = rng.permutation(9)[:6]
    scores = score_of_picks(features @ weights, picks, features)
    np.testing.assert_allclose(scores.sum(axis=0), gradient(features @ weights, picks) @ features, atol=1e-12)
    step = 1e-6
    numeric = [
        (log_prob(features @ (weights + step * e), picks) - log_prob(features @ (weights - step * e), picks)) / 2e-6
        for e in np.eye(3)
    ]
    np.testing.assert_allclose(scores.sum(axis=0), numeric, atol=1e-7)


def test_the_expected_score_is_zero_so_a_constant_reward_teaches_nothing():
    features = np.random.default_rng(2).normal(size=(4, 2))
    logits = features @ np.array([0.5, -1.0])
    expected = sum(
        plain_probability(logits, picks) * score_of_picks(logits, np.array(picks), features).sum(axis=0)
        for picks in permutations(range(4), 3)
    )
    np.testing.assert_allclose(expected, 0, atol=1e-12)


def test_huge_logits_neither_overflow_nor_change_the_law():
    shifted = LOGITS + 1e6
    picks = np.array([4, 0, 1])
    assert abs(log_prob(shifted, picks) - log_prob(LOGITS, picks)) < 1e-8
    assert np.isfinite(gradient(np.array([0.0, 2000.0, -2000.0]), np.array([1, 0]))).all()
    assert np.isfinite(score_of_picks(np.array([0.0, 2000.0, -2000.0]), np.array([1, 0, 2]), np.ones((3, 1)))).all()


def test_what_is_no_batch_is_refused():
    with pytest.raises(ValueError, match="finite"):
        sample(np.array([0.0, np.nan]), 1, np.random.default_rng(0))
    for picks in ([0, 0], [5], [-1]):
        with pytest.raises(ValueError, match="different positions"):
            log_prob(LOGITS, np.array(picks))
    assert len(sample(LOGITS, 99, np.random.default_rng(0))) == 5

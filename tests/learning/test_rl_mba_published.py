"""The published selection: hand-made picks, the law of its draws, what it learns from, and what it leaves alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare

import rlmba_pipelines.learning.acquisition.rl_mba_published as module
from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.acquisition.rl_mba_published import centroid_distance, min_max, modality_uncertainty
from rlmba_pipelines.learning.policy.plackett_luce import log_prob
from rlmba_pipelines.learning.policy.published import FEATURES, SCORE, PublishedPolicy
from rlmba_pipelines.learning.testing import make_view
from rlmba_pipelines.learning.types import UserError


def draw(view, q, seed=0, **options):
    return select_batch("rl_mba_published", view, q, np.random.default_rng(seed), options)


def test_q_is_the_weighted_uncertainty_plus_beta_times_the_distance():
    batch = draw(make_view(40, 8, missing=0.3), 6, beta=0.5)
    r = batch.reasons
    by_modality = sum(r[f"weight_{m}"] * r[f"uncertainty_{m}"] for m in ("image", "text"))
    np.testing.assert_allclose(r["uncertainty"], by_modality, atol=1e-12)
    np.testing.assert_allclose(r["q"], r["uncertainty"] + 0.5 * r["isolation"], atol=1e-9)


def test_without_temperature_to_speak_of_the_batch_is_the_top_of_q_in_order():
    view = make_view(40, 8)
    everyone = draw(view, 32, temperature=1e-7, kappa=1.0)
    assert (np.diff(everyone.reasons["q"]) <= 1e-9).all()
    np.testing.assert_allclose(everyone.utility_Q, 1.0, atol=1e-6)


def test_the_candidates_are_the_kappa_q_samples_of_highest_q(monkeypatch):
    monkeypatch.setattr(module, "centroid_distance", lambda embedding, rows, *rest: np.zeros(len(rows)))
    view = make_view(60, 8)
    ranked = draw(view, 52, temperature=1e-7)
    seen = {i for seed in range(300) for i in draw(view, 3, seed, kappa=2.5, temperature=10.0).sample_ids}
    assert seen == set(ranked.sample_ids[:8])


def test_ordered_batches_are_drawn_by_plackett_luce(monkeypatch):
    monkeypatch.setattr(module, "centroid_distance", lambda embedding, rows, *rest: np.zeros(len(rows)))
    view = make_view(14, 10, n_classes=3)
    whole = draw(view, 4)
    q = dict(zip(whole.sample_ids, whole.reasons["q"], strict=True))
    names, n = sorted(q), 1000
    logits = np.array([q[name] for name in names])
    pairs = list(permutations(range(4), 2))
    found = Counter(tuple(draw(view, 2, seed, temperature=1.0).sample_ids) for seed in range(n))
    expected = [n * np.exp(log_prob(logits, np.array(pair))) for pair in pairs]
    observed = [found[names[a], names[b]] for a, b in pairs]
    assert sum(observed) == n
    assert chisquare(observed, expected).pvalue > 0.01


def test_evidence_of_evidential_heads_is_used_where_there_is_some():
    view = make_view(20, 4)
    evidence = np.zeros((20, 2, 4))
    evidence[:, 0, 0] = np.arange(20)
    predictions = replace(view.predictions, evidence_NMC=evidence)
    doubt = modality_uncertainty(predictions)
    assert (np.diff(doubt[:, 0]) < 0).all()
    assert np.ptp(doubt[:, 1]) == 0
    assert not np.array_equal(doubt, modality_uncertainty(view.predictions))


def test_a_policy_that_learned_to_like_distance_draws_more_distant_samples():
    view = make_view(200, 10)
    likes = PublishedPolicy(weights=(0.0, 3.0, 0.0)).to_dict()
    plain, learned = (
        np.mean([draw(v, 10, seed).reasons["isolation"].mean() for seed in range(20)])
        for v in (view, replace(view, policy=likes))
    )
    assert learned > plain + 0.02


def test_scores_in_the_reasons_are_the_gradient_by_the_policys_weights():
    view, step = make_view(30, 6), 1e-5
    batch = draw(view, 5, kappa=50.0)

    def with_weights(weights):
        return draw(replace(view, policy=PublishedPolicy(weights=tuple(weights)).to_dict()), 5, kappa=50.0)

    found = np.array([batch.reasons[f"{SCORE}{name}"].sum() for name in FEATURES])
    assert np.isfinite(found).all()
    # the same draws under slightly different weights: the change of Σ log P(draw) is the score
    for f in range(len(FEATURES)):
        ends = [with_weights(sign * step * np.eye(3)[f]) for sign in (1, -1)]
        assert all(end.sample_ids.tolist() == batch.sample_ids.tolist() for end in ends)
        change = (np.log(ends[0].utility_Q).sum() - np.log(ends[1].utility_Q).sum()) / (2 * step)
        assert abs(change - found[f]) < 1e-4 * max(1, abs(found[f]))


def test_another_policy_and_identical_rows_are_no_obstacle():
    view = make_view(20, 4)
    other = replace(view, policy={"name": "bandit", "weights": "not mine"})
    assert draw(other, 5).sample_ids.tolist() == draw(view, 5).sample_ids.tolist()
    assert min_max(np.full(4, 7.0), np.ones(4, dtype=bool)).tolist() == [0, 0, 0, 0]
    same = centroid_distance(np.ones((9, 3)), np.arange(9), 4, np.random.default_rng(0), 5)
    assert same.tolist() == [0.0] * 9


def test_over_the_limit_centroids_come_from_a_drawn_part_and_distances_from_all(monkeypatch):
    points = np.random.default_rng(0).normal(size=(300, 4))
    rows = np.arange(300)
    whole = centroid_distance(points, rows, 10, np.random.default_rng(0), 5)
    monkeypatch.setattr("rlmba_pipelines.learning.acquisition.rl_mba_published.LEARNED_ROWS", 100)
    part = centroid_distance(points, rows, 10, np.random.default_rng(0), 5)
    assert len(part) == 300
    assert abs(part.mean() / whole.mean() - 1) < 0.2


@pytest.mark.parametrize("wrong", [{"kappa": 0.5}, {"beta": -1}, {"temperature": 0}, {"iterations": 0}])
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match="temperature > 0"):
        draw(make_view(10, 2), 3, **wrong)

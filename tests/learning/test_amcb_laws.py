"""AMCB as laws: the axioms that make contributions unique, and weights that stay weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from rlmba_pipelines.config import BalanceConfig
from rlmba_pipelines.learning.balance import PRIORS, modality_weights, shapley, under_use
from rlmba_pipelines.learning.metrics.fairness import imbalance

NAMES = "abcde"


def every_subset(players: str) -> list[frozenset[str]]:
    return [frozenset(s) for size in range(len(players) + 1) for s in itertools.combinations(players, size)]


@st.composite
def games(draw: st.DrawFn, least: int = 1) -> tuple[str, dict[frozenset[str], float]]:
    """Players and any worth at all of each of their subsets, the empty one included."""
    players = NAMES[: draw(st.integers(least, 5))]
    worth = st.floats(-1, 1, allow_nan=False, width=32)
    return players, {s: draw(worth) for s in every_subset(players)}


laws = settings(max_examples=50, deadline=None)


@laws
@given(games())
def test_efficiency_contributions_sum_to_what_all_add_over_none(game):
    players, worth = game
    total = worth[frozenset(players)] - worth[frozenset()]
    assert shapley(worth, players).sum() == pytest.approx(total, abs=1e-9)


@laws
@given(games(least=2))
def test_symmetry_players_who_can_stand_in_for_each_other_get_the_same(game):
    players, worth = game
    first, second = players[:2]
    alike = {s: worth[frozenset(first if p == second and first not in s else p for p in s)] for s in worth}
    phi_M = shapley(alike, players)
    assert phi_M[0] == pytest.approx(phi_M[1], abs=1e-9)


@laws
@given(games(), st.integers(0, 4))
def test_null_player_who_changes_nothing_gets_nothing(game, which):
    players, worth = game
    idle = players[which % len(players)]
    assert shapley(lambda s: worth[s - {idle}], players)[which % len(players)] == pytest.approx(0, abs=1e-12)


@laws
@given(games(), st.floats(-3, 3))
def test_additivity_contributions_of_a_sum_of_games_are_the_sum(game, factor):
    players, worth = game
    other = {s: float(len(s)) ** 2 for s in worth}
    both = shapley(lambda s: worth[s] + factor * other[s], players)
    assert_allclose(both, shapley(worth, players) + factor * shapley(other, players), atol=1e-9)


@laws
@given(games(), st.randoms(use_true_random=False))
def test_contributions_go_with_the_modality_and_not_with_its_place(game, random):
    players, worth = game
    order = random.sample(range(len(players)), len(players))
    shuffled = shapley(worth, [players[i] for i in order])
    assert_allclose(shuffled, shapley(worth, players)[order], atol=1e-12)


values = st.lists(st.tuples(st.floats(-1, 1), st.floats(-400, 400), st.floats(0.01, 1)), min_size=1, max_size=6)


@laws
@given(values, st.sampled_from(PRIORS), st.floats(0.01, 10), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_weights_are_on_the_simplex_above_the_floor_and_follow_the_modalities(
    rows, prior, temperature, ema, floor, first
):
    contribution_M, residual_M, previous_M = np.array(rows).T
    previous_M = previous_M / previous_M.sum()
    order = np.random.default_rng(len(rows)).permutation(len(rows))

    def weights(rows_M: np.ndarray) -> np.ndarray:
        return modality_weights(
            contribution_M[rows_M], prior=prior, residual_M=residual_M[rows_M],
            previous_M=None if first else previous_M[rows_M], temperature=temperature, ema=ema, floor=floor,
        )

    found_M = weights(np.arange(len(rows)))
    assert np.isfinite(found_M).all()
    assert found_M.sum() == pytest.approx(1)
    assert found_M.min() >= floor / len(rows) - 1e-12
    assert_allclose(weights(order), found_M[order], atol=1e-12)


def test_a_residual_moves_weight_by_its_exponential_and_leaves_what_has_none_at_none():
    plain_M = modality_weights(np.array([0.3, 0.1, -0.2]))
    moved_M = modality_weights(np.array([0.3, 0.1, -0.2]), residual_M=np.array([0.0, np.log(6.0), 50.0]))
    assert_allclose(moved_M[1] / moved_M[0], 6 * plain_M[1] / plain_M[0])
    assert moved_M[2] == 0


def test_no_residual_is_too_large_for_a_modality_without_weight():
    found_M = modality_weights(np.array([0.0, 1.0]), residual_M=np.array([354.0, -356.0]))
    assert found_M.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("prior", PRIORS)
def test_without_a_residual_the_weights_are_the_same_to_the_last_bit(prior):
    contribution_M = np.array([0.31, 0.07, 0.19])
    plain_M = modality_weights(contribution_M, prior=prior, ema=0.5, previous_M=np.array([0.2, 0.5, 0.3]), floor=0.1)
    for residual_M in (np.zeros(3), np.full(3, 0.7)):
        found_M = modality_weights(
            contribution_M, prior=prior, ema=0.5, previous_M=np.array([0.2, 0.5, 0.3]), floor=0.1, residual_M=residual_M
        )
        assert_array_equal(found_M, plain_M)


def test_residuals_and_contributions_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="residuals"):
        modality_weights(np.array([0.3, 0.1]), residual_M=np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="residuals"):
        modality_weights(np.array([0.3, 0.1]), residual_M=np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        modality_weights(np.array([np.inf, 0.1]))
    with pytest.raises(ValueError, match="under_use"):
        under_use(np.array([0.5, np.nan]), np.array([0.5, 0.5]))


def test_under_use_raises_the_modality_that_the_fusion_neglects_where_the_published_gap_raises_the_strong_one():
    alone_M, inside_M = np.array([0.8, 0.6]), np.array([0.8, 0.3])
    by_under_use = modality_weights(under_use(alone_M, inside_M), prior="under_use")
    by_gap = modality_weights(inside_M, prior="published", temperature=0.1)
    assert_allclose(by_under_use, [0, 1])
    assert by_gap[0] > by_gap[1]


def test_a_modality_that_does_alone_what_it_does_inside_leaves_the_weights_even():
    assert_allclose(modality_weights(np.zeros(3), prior="under_use"), np.full(3, 1 / 3))


def test_the_prior_of_under_use_fits_modalities_alone_even_if_nobody_asked_for_the_report():
    assert BalanceConfig(prior="under_use").fits_alone
    assert BalanceConfig(standalone=True).fits_alone
    assert not BalanceConfig().fits_alone


@laws
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=5))
def test_imbalance_is_in_its_range_blind_to_order_and_to_scale(contribution):
    phi_M = np.array(contribution)
    found = imbalance(phi_M)
    assert 0 <= found <= 1
    assert imbalance(phi_M[::-1]) == pytest.approx(found, abs=1e-12)
    assert imbalance(2 * phi_M) == pytest.approx(found, abs=1e-9)


def test_nobody_who_contributes_and_one_modality_alone_are_balanced_and_one_of_many_is_not():
    assert imbalance(np.zeros(2)) == imbalance(np.zeros(4)) == imbalance(np.array([0.4])) == 0
    assert imbalance(np.array([0.4, 0, 0])) == imbalance(np.array([0.4, 0])) == 1

"""Contributions and weights of modalities: axioms, closed forms and the simplex."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from rlmba_pipelines.learning.balance import modality_weights, published_gap, shapley


def random_game(modalities: str, seed: int) -> dict[frozenset[str], float]:
    rng = np.random.default_rng(seed)
    sets = (frozenset(s) for size in range(len(modalities) + 1) for s in itertools.combinations(modalities, size))
    return {s: float(rng.random()) for s in sets}


@pytest.mark.parametrize("modalities", ["a", "ab", "abc", "abcd", "abcde"])
def test_contributions_sum_to_what_all_modalities_add_over_none(modalities):
    v = random_game(modalities, seed=1)
    assert shapley(v, modalities).sum() == pytest.approx(v[frozenset(modalities)] - v[frozenset()], abs=1e-14)


def test_two_modalities_have_the_closed_form():
    v = random_game("av", seed=2)
    a, v_, both, none = (v[frozenset(s)] for s in ("a", "v", "av", ""))
    assert_allclose(shapley(v, "av"), [((both - v_) + (a - none)) / 2, ((both - a) + (v_ - none)) / 2])


def test_three_modalities_have_the_closed_form():
    v = random_game("avt", seed=3)
    f = {s: v[frozenset(s)] for s in ("", "a", "v", "t", "av", "at", "vt", "avt")}
    phi_a = (f["avt"] - f["vt"]) / 3 + (f["av"] - f["v"] + f["at"] - f["t"]) / 6 + (f["a"] - f[""]) / 3
    assert shapley(v, "avt")[0] == pytest.approx(phi_a)


def test_a_contribution_is_the_mean_gain_over_all_orders_of_arrival():
    v = random_game("abcd", seed=4)
    gains = {m: [] for m in "abcd"}
    for order in itertools.permutations("abcd"):
        for i, m in enumerate(order):
            gains[m].append(v[frozenset(order[: i + 1])] - v[frozenset(order[:i])])
    assert_allclose(shapley(v, "abcd"), [np.mean(gains[m]) for m in "abcd"])


def test_modalities_that_do_the_same_get_the_same():
    v = random_game("abc", seed=5)
    symmetric = {s: v[frozenset("a" if m == "b" and "a" not in s else m for m in s)] for s in v}
    phi = shapley(symmetric, "abc")
    assert phi[0] == pytest.approx(phi[1])


def test_a_modality_that_adds_nothing_gets_nothing():
    v = random_game("ab", seed=6)
    assert shapley(lambda s: v[s - {"c"}], "abc")[2] == pytest.approx(0, abs=1e-15)


def test_every_subset_is_valued_once():
    seen: list[frozenset[str]] = []
    shapley(lambda s: float(seen.append(s) or len(s)), "abc")  # type: ignore[func-returns-value]
    assert len(seen) == len(set(seen)) == 8


def test_more_than_five_modalities_are_refused():
    with pytest.raises(ValueError, match="1 to 5"):
        shapley(lambda s: 0.0, "abcdef")


finite = st.floats(-1, 1)


@given(st.lists(finite, min_size=1, max_size=5), st.sampled_from(["uniform", "shapley", "published"]),
       st.floats(0.01, 10), st.floats(0, 1), st.floats(0, 1))
def test_weights_stay_on_the_simplex_and_above_the_floor(contribution, prior, temperature, ema, floor):
    n = len(contribution)
    previous_M = np.arange(1, n + 1) / (n * (n + 1) / 2)
    weights_M = modality_weights(
        np.array(contribution), prior=prior, previous_M=previous_M, temperature=temperature, ema=ema, floor=floor
    )
    assert weights_M.sum() == pytest.approx(1)
    assert weights_M.min() >= floor / n - 1e-12


def test_weights_follow_the_order_of_modalities():
    contribution_M, previous_M = np.array([0.3, 0.1, 0.2]), np.array([0.2, 0.5, 0.3])
    for prior in ("shapley", "published"):
        forward = modality_weights(contribution_M, prior=prior, previous_M=previous_M, ema=0.5, floor=0.3)
        backward = modality_weights(contribution_M[::-1], prior=prior, previous_M=previous_M[::-1], ema=0.5, floor=0.3)
        assert_allclose(forward, backward[::-1])


def test_the_published_rule_is_a_softmax_in_which_the_multimodal_accuracy_cancels():
    accuracy_M = np.array([0.5, 0.7])
    gaps = (published_gap(accuracy_M, multimodal) for multimodal in (0.2, 0.9))
    one, other = (modality_weights(gap_M, prior="published", temperature=0.1) for gap_M in gaps)
    assert_allclose(one, other)
    assert_allclose(one, [1 / (1 + np.e**2), np.e**2 / (1 + np.e**2)])


def test_nobody_who_contributes_means_uniform_weights():
    assert_allclose(modality_weights(np.array([0.0, -0.1])), [0.5, 0.5])


def test_a_temperature_evens_the_shares_out():
    weights = [modality_weights(np.array([0.4, 0.1]), temperature=t)[0] for t in (0.5, 1.0, 2.0)]
    assert_allclose(weights, [16 / 17, 4 / 5, 2 / 3])


def test_unknown_priors_and_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="unknown prior"):
        modality_weights(np.array([0.1, 0.2]), prior="magic")
    with pytest.raises(ValueError, match="finite"):
        modality_weights(np.array([np.nan, 0.2]))

"""The three doubts, their ranks and their value: laws and brute force."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rlmba_pipelines.learning.vlm.terms import (
    information_value,
    outliers,
    ranked,
    vlm_terms,
    vote_entropy,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def draws(rng, n=60, k=4, c=5, sharpness=0.3):
    return rng.dirichlet(np.full(c, sharpness), size=(n, k))


def test_vote_entropy_counts_votes(rng):
    p_NKC = draws(rng, k=6)
    for found, p_KC in zip(vote_entropy(p_NKC), p_NKC, strict=True):
        counts = np.unique(p_KC.argmax(axis=1), return_counts=True)[1] / 6
        assert found == pytest.approx(-(counts * np.log(counts)).sum() / np.log(6))
    each_another = np.eye(4)[None]
    assert vote_entropy(each_another) == pytest.approx(1.0)


def test_every_column_is_what_it_says(rng):
    chains, visual, language = draws(rng, k=4), rng.random(60), rng.random(60)
    steps = rng.integers(0, 4, size=(60, 4))
    columns = vlm_terms(chains, visual, language, steps)
    assert set(columns) == {
        "visual", "language", "reasoning", "vote_entropy", "boundary", "steps", "depth", "margin", "entropy"
    }
    assert_allclose(columns["visual"], visual)
    assert_allclose(columns["language"], language)
    open_after_each = [[-(p[p > 0] * np.log(p[p > 0])).sum() for p in p_KC] for p_KC in chains]
    assert_allclose(columns["reasoning"], np.mean(open_after_each, axis=1), atol=1e-12)
    assert_allclose(columns["depth"], [(row >= 2).sum() / 4 for row in steps])
    assert_allclose(columns["steps"], [row.sum() / 4 for row in steps])
    mean = np.sort(chains.mean(axis=1), axis=1)
    assert_allclose(columns["margin"], 1 - (mean[:, -1] - mean[:, -2]), atol=1e-12)
    assert_allclose(columns["entropy"], [-(p[p > 0] * np.log(p[p > 0])).sum() for p in mean], atol=1e-12)
    assert all(len(column) == 60 and np.isfinite(column).all() for column in columns.values())


def test_the_boundary_is_one_where_half_of_the_votes_disagree():
    sure, other = [0.9, 0.1], [0.1, 0.9]
    no_votes, half, all_differ = [sure] * 4, [sure, sure, other, other], np.eye(4)
    steps = np.ones((1, 4))

    def boundary(p_KC):
        p_NKC = np.array([p_KC])
        return vlm_terms(p_NKC, np.zeros(1), np.zeros(1), steps)["boundary"][0]

    assert (boundary(no_votes), boundary(half), boundary(all_differ)) == pytest.approx((0.0, 1.0, 0.0))
    assert [boundary([sure] * half + [other] * half) for half in (1, 3, 4, 8)] == pytest.approx([1.0] * 4)


def test_ranks_are_shares_of_what_is_smaller_or_equal(rng):
    column = rng.integers(0, 9, size=40).astype(float)
    expected = [((column < x).sum() + ((column == x).sum() + 1) / 2) / 40 for x in column]
    assert_allclose(ranked(column), expected)
    assert_allclose(np.sort(ranked(rng.normal(size=40))), np.arange(1, 41) / 40)
    assert ranked(np.array([])).shape == (0,)


def test_information_value_is_the_weighted_sum_of_ranks(rng):
    columns, weights = rng.normal(size=(3, 50)), np.array([0.6, 0.3, 0.1])
    expected = [
        sum(w * (column <= column[i]).mean() for w, column in zip(weights, columns, strict=True)) for i in range(50)
    ]
    assert_allclose(information_value(columns, weights), expected)
    assert_allclose(information_value(columns, 7 * weights), expected)
    assert_allclose(information_value(columns, [0, 1, 0]), ranked(columns[1]))


@pytest.mark.parametrize("rise", [np.exp, np.cbrt, lambda x: 1e6 * x - 3, np.arctan])
def test_information_value_does_not_care_in_which_rising_scale_a_doubt_is_told(rng, rise):
    columns, weights = rng.normal(size=(3, 80)), [0.2, 0.5, 0.3]
    changed = [rise(columns[0]), columns[1], rise(columns[2])]
    assert_allclose(information_value(changed, weights), information_value(columns, weights), rtol=0, atol=0)


@pytest.mark.parametrize("share", [0.0, 0.009, 0.05, 0.5, 1.0])
def test_outliers_are_the_share_that_is_doubtful_in_every_way(rng, share):
    alone = rng.random(100)
    before = alone.copy()
    dropped = np.flatnonzero(outliers(alone, share))
    assert len(dropped) == int(share * 100)
    assert set(dropped) == set(np.argsort(alone)[100 - len(dropped) :])
    assert np.array_equal(alone, before)

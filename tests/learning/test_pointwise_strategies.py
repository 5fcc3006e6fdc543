"""Strategies that score each sample for itself: their formulas, their laws of sampling, and the top of a score."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from scipy.stats import chisquare, rankdata
from scipy.stats import entropy as plain_entropy

from rlmba_pipelines.learning import evidence
from rlmba_pipelines.learning.acquisition import get_strategy, select_batch
from rlmba_pipelines.learning.acquisition.bald import disagreement
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.testing import make_view
from rlmba_pipelines.learning.types import PoolView, UserError


def rng():
    return np.random.default_rng(0)


def believing(view, **arrays):
    return replace(view, predictions=replace(view.predictions, **arrays))


def test_least_confidence_asks_where_the_likeliest_class_is_least_likely():
    p_NC = np.array([[0.5, 0.49, 0.01], [0.4, 0.3, 0.3], [0.9, 0.05, 0.05]])
    view = believing(make_view(3, 0), probabilities_NC=p_NC)
    batch = select_batch("least_confidence", view, 3, rng())
    assert batch.sample_ids.tolist() == ["s000001", "s000000", "s000002"]
    assert_allclose(batch.utility_Q, [0.6, 0.5, 0.1])
    assert_allclose(batch.reasons["confidence"], [0.4, 0.5, 0.9])


def test_bald_asks_where_members_contradict_one_another_and_not_where_all_are_in_doubt():
    doubt, clash, sure = [[0.5, 0.5], [0.5, 0.5]], [[0.9, 0.1], [0.1, 0.9]], [[0.9, 0.1], [0.9, 0.1]]
    draws_NKC = np.array([doubt, clash, sure])
    view = believing(make_view(3, 0), draws_NKC=draws_NKC, probabilities_NC=draws_NKC.mean(axis=1))
    batch = select_batch("bald", view, 3, rng())
    assert batch.sample_ids.tolist() == ["s000001", "s000000", "s000002"]
    assert_allclose(batch.utility_Q, [np.log(2) + 0.9 * np.log(0.9) + 0.1 * np.log(0.1), 0, 0], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_disagreement_is_the_divergence_of_the_members_from_their_mean(dtype):
    draws_NKC = rng().dirichlet(np.full(6, 0.3), size=(50, 4)).astype(dtype)
    mean_NC = draws_NKC.astype(np.float64).mean(axis=1)
    expected = [np.mean([plain_entropy(member, m) for member in k]) for k, m in zip(draws_NKC, mean_NC, strict=True)]
    assert_allclose(disagreement(draws_NKC), expected, atol=1e-6 if dtype is np.float32 else 1e-12)


def test_bald_of_a_member_that_says_nan_is_refused_by_name():
    view = make_view(6, 2)
    draws_NKC = view.predictions.draws_NKC.copy()
    draws_NKC[3, 1] = np.nan
    for name in ("bald", "batch_bald"):
        with pytest.raises(ValueError, match="s000003"):
            select_batch(name, believing(view, draws_NKC=draws_NKC), 2, rng())


def plackett_luce(weight_N, k):
    """P(the k-th draw without replacement is i), enumerating the draws before it."""
    total, probability_N = weight_N.sum(), np.zeros(len(weight_N))
    if k == 1:
        return weight_N / total
    for first, weight in enumerate(weight_N):
        rest_N = np.where(np.arange(len(weight_N)) == first, 0.0, weight_N)
        probability_N += weight / total * plackett_luce(rest_N, k - 1)
    return probability_N


@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_power_margin_draws_without_replacement_in_proportion_to_a_power_of_the_margin(beta):
    p_NC = softmax(np.random.default_rng(3).normal(size=(40, 3)) * 2, axis=1)
    view = believing(make_view(40, 0), probabilities_NC=p_NC)
    weight_N = evidence.margin(p_NC) ** beta
    generator, n_draws, draw = rng(), 4000, get_strategy("power_margin").function
    batches = np.array([draw(view, 3, generator, beta=beta).sample_ids for _ in range(n_draws)])
    picks_by_place = np.searchsorted(view.sample_ids, batches).T
    for place, picks in enumerate(picks_by_place, start=1):
        expected_N = n_draws * plackett_luce(weight_N, place)
        often = expected_N >= 5
        count_N = np.bincount(picks, minlength=40)
        observed = np.append(count_N[often], count_N[~often].sum())
        expected = np.append(expected_N[often], expected_N[~often].sum())
        kept = expected > 0
        assert chisquare(observed[kept], expected[kept]).pvalue > 0.001, place


def test_power_margin_takes_what_has_no_doubt_after_all_else_and_in_random_order():
    p_NC = np.array([[1.0, 0.0]] * 4 + [[0.999999, 0.000001]] * 2)
    view, generator = believing(make_view(6, 0), probabilities_NC=p_NC), rng()
    batches = [select_batch("power_margin", view, 6, generator).sample_ids.tolist() for _ in range(400)]
    assert all(set(batch[:2]) == {"s000004", "s000005"} for batch in batches)
    _, count = np.unique([batch[2] for batch in batches], return_counts=True)
    assert len(count) == 4
    assert chisquare(count).pvalue > 0.001


def test_power_margin_refuses_a_power_that_is_none():
    for beta in (-1.0, np.nan, np.inf):
        with pytest.raises(UserError, match="beta"):
            select_batch("power_margin", make_view(6, 2), 2, rng(), {"beta": beta})


@pytest.mark.parametrize("n_labeled", [0, 8])
def test_rank_aggregation_is_the_mean_of_ranks_among_candidates(n_labeled):
    view = make_view(40, n_labeled, seed=2)
    p, rows = view.predictions, view.candidate_rows
    z = p.embedding_ND.astype(np.float64)
    centers = z[view.labeled_N] if n_labeled else z.mean(axis=0, keepdims=True)
    distance = np.linalg.norm(z[:, None] - centers[None], axis=-1).min(axis=1)
    ordered = np.sort(p.probabilities_NC, axis=1)
    scores = [
        1 - (ordered[:, -1] - ordered[:, -2]), plain_entropy(p.probabilities_NC, axis=1),
        distance, disagreement(p.draws_NKC),
    ]
    mean_rank = np.mean([(rankdata(score[rows]) - 1) / (len(rows) - 1) for score in scores], axis=0)
    batch = select_batch("rank_aggregation", view, 10, rng())
    best_first = np.argsort(-mean_rank.round(12), kind="stable")[:10]
    assert batch.sample_ids.tolist() == view.sample_ids[rows[best_first]].tolist()
    assert_allclose(batch.utility_Q, mean_rank[best_first], atol=1e-12)
    assert set(batch.reasons) == {"rank_margin", "rank_entropy", "rank_core_set", "rank_bald"}


def test_rank_aggregation_does_without_bald_where_one_head_has_nobody_to_disagree_with():
    view = make_view(20, 4)
    alone = believing(view, draws_NKC=view.predictions.draws_NKC[:, :1])
    batch = select_batch("rank_aggregation", alone, 5, rng())
    same = select_batch("rank_aggregation", view, 5, rng(), {"scores": ["margin", "entropy", "core_set"]})
    assert batch.sample_ids.tolist() == same.sample_ids.tolist()
    for scores in ([], ["no_such_score"]):
        with pytest.raises(UserError, match="scores"):
            select_batch("rank_aggregation", view, 5, rng(), {"scores": scores})


def test_rank_aggregation_by_one_score_is_the_strategy_of_that_score():
    view = make_view(50, 10)
    for name in ("margin", "entropy", "bald", "least_confidence"):
        batch = select_batch("rank_aggregation", view, 12, rng(), {"scores": [name]})
        assert batch.sample_ids.tolist() == select_batch(name, view, 12, rng()).sample_ids.tolist()


@pytest.mark.parametrize("n_values", [1, 2, 5, 1000])
def test_the_top_of_a_score_is_that_of_a_full_sort_with_ties_to_the_first_id(n_values):
    generator = rng()
    for n in (1, 2, 17, 300):
        utility_N = generator.integers(n_values, size=n) / 7
        view = PoolView(np.array([f"s{i:04d}" for i in range(n)]), generator.random(n) < 0.2)
        rows = view.candidate_rows
        by_sorting = rows[np.lexsort((rows, -utility_N[rows]))]
        for q in {1, 2, n // 2, max(1, n - 1), n, n + 5}:
            assert top_k(view, utility_N, q).sample_ids.tolist() == view.sample_ids[by_sorting[:q]].tolist()


@pytest.mark.parametrize("n_classes", [2, 3, 47, 48, 101, 3000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_margin_and_entropy_are_their_formulas_whatever_the_number_of_classes(n_classes, dtype):
    p = rng().dirichlet(np.full(n_classes, 0.2), size=(90, 2)).astype(dtype)
    p[0] = 0.0
    p[0, :, -1] = 1.0
    ordered = np.sort(p, axis=-1)
    assert_array_equal(evidence.margin(p), 1 - (ordered[..., -1] - ordered[..., -2]))
    tolerance = 1e-12 if dtype is np.float64 else 2e-5
    assert_allclose(evidence.entropy(p), plain_entropy(p.astype(np.float64), axis=-1), atol=tolerance)
    assert evidence.margin(p).dtype == evidence.entropy(p).dtype == dtype
    assert evidence.entropy(p)[0].tolist() == [0.0, 0.0]


def test_margin_and_entropy_of_a_row_do_not_depend_on_its_neighbours_or_on_the_block(monkeypatch):
    p = rng().dirichlet(np.full(101, 0.2), size=400)
    shuffle = rng().permutation(400)
    for score in (evidence.margin, evidence.entropy):
        whole = score(p)
        assert_array_equal(score(p[shuffle]), whole[shuffle])
        assert_array_equal([score(row) for row in p], whole)
        with monkeypatch.context() as small:
            small.setattr(evidence.terms, "CACHE_ENTRIES", 101 * 3)
            assert_array_equal(score(p), whole)


def test_margin_and_entropy_of_nothing_are_nothing_and_of_one_class_are_refused():
    for score in (evidence.margin, evidence.entropy):
        assert score(np.zeros((0, 5))).shape == (0,)
        assert np.isnan(score(np.array([[np.nan, 0.5]]))).all()
    with pytest.raises(ValueError, match="two classes"):
        evidence.margin(np.ones((3, 1)))

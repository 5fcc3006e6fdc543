"""Herding: exact where it says so, within one percent where it draws; MaxHerding and UHerding are settings of it."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.acquisition.coverage import UnitRows
from rlmba_pipelines.learning.acquisition.views import make_view, take
from rlmba_pipelines.learning.selection import herding as module
from rlmba_pipelines.learning.selection import kernels as kernels_module
from rlmba_pipelines.learning.selection.herding import herding
from rlmba_pipelines.learning.selection.kernels import Kernel, Similarity, smallest_distance
from rlmba_pipelines.learning.selection.sample import draw_by_worth
from rlmba_pipelines.learning.testing import coverage_of, plain_herding
from rlmba_pipelines.learning.types import Action, PoolView, UserError


def pool(n, labeled=()):
    labeled_N = np.zeros(n, dtype=bool)
    labeled_N[list(labeled)] = True
    return PoolView(np.array([f"{i:05d}" for i in range(n)]), labeled_N)


def case(seed, n, n_labeled=0, width=4):
    """Clusters and repeats, one or two kernels, skewed utilities with zeros among them."""
    rng = np.random.default_rng([seed, n])
    kernels = []
    for _ in range(1 + seed % 2):
        points = (rng.normal(size=(n, width)) + 4 * rng.integers(0, 4, size=(n, 1))).astype(np.float32)
        points[rng.integers(n, size=n // 6)] = points[0]
        kernels.append(Kernel(rng.random() + 0.1, points, float(rng.uniform(0.3, 3))))
    utility_N = np.where(rng.random(n) < 0.1, 0.0, rng.random(n) ** 3)
    return pool(n, rng.permutation(n)[:n_labeled]), utility_N, kernels


def rows_of(batch):
    return [int(i) for i in batch.sample_ids]


def coverage(view, utility_N, kernels, rows):
    """F over a pool too large for a matrix, in blocks of targets; float64 sums."""
    similarity = Similarity(kernels, np.array(rows))
    best = [similarity.to_rows(part).max(axis=0) for part in np.array_split(view.candidate_rows, 20)]
    worth = utility_N[view.candidate_rows]
    return float(np.concatenate(best) @ worth / worth.sum())


# --- exact ------------------------------------------------------------------------------------------------------------


def test_lazy_greedy_is_plain_greedy_in_200_cases():
    for seed in range(200):
        n = 1 + seed % 45
        view, utility_N, kernels = case(seed, n, n_labeled=seed % (n // 3 + 1))
        query_size = 1 + (7 * seed) % n
        batch = herding(view, utility_N, kernels, query_size)
        picks, gains = plain_herding(view, utility_N, kernels, query_size)
        assert batch.sample_ids.tolist() == picks, seed
        assert_allclose(batch.reasons["coverage_gain"], gains, atol=5e-5)


def test_greedy_reaches_its_guarantee_of_the_enumerated_optimum():
    for seed in range(15):
        view, utility_N, kernels = case(seed, 13, n_labeled=seed % 2)
        for query_size in (2, 4):
            rows = rows_of(herding(view, utility_N, kernels, query_size))
            reached = coverage_of(view, utility_N, kernels, rows)
            some = list(combinations(view.candidate_rows, query_size))[:: 1 if query_size == 2 else 3]
            best = max(coverage_of(view, utility_N, kernels, batch) for batch in some)
            bare = coverage_of(view, utility_N, kernels, [])
            assert reached - bare >= (1 - 1 / np.e) * (best - bare) - 1e-6


@pytest.mark.parametrize("values", [1, 50, 10_000_000])
def test_no_block_size_changes_a_pick(monkeypatch, values):
    view, utility_N, kernels = case(1, 120, n_labeled=30)
    expected, _ = plain_herding(view, utility_N, kernels, 60)
    monkeypatch.setattr(module, "BLOCK_VALUES", values)
    monkeypatch.setattr(module, "CACHED_VALUES", values)
    monkeypatch.setattr(kernels_module, "CACHED_VALUES", values)
    for rows in (1, 7, 512):
        monkeypatch.setattr(kernels_module, "BLOCK_ROWS", rows)
        assert herding(view, utility_N, kernels, 60).sample_ids.tolist() == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_embeddings_of_any_precision_are_herded_as_in_float32(dtype):
    for seed in range(20):
        view, utility_N, kernels = case(seed, 60, n_labeled=9)
        half = [Kernel(w, e.astype(np.float16), h) for w, e, h in kernels]
        wide = [Kernel(w, e.astype(dtype), h) for w, e, h in half]
        expected, _ = plain_herding(view, utility_N, half, 20)
        assert herding(view, utility_N, wide, 20).sample_ids.tolist() == expected


def test_the_generator_is_never_asked_up_to_the_limit():
    view, utility_N, kernels = case(0, 50, n_labeled=5)
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    batch = herding(view, utility_N, kernels, 10, rng=rng, max_kernel_rows=45)
    assert rng.bit_generator.state == before
    assert batch.sample_ids.tolist() == plain_herding(view, utility_N, kernels, 10)[0]
    herding(view, utility_N, kernels, 10, rng=rng, max_kernel_rows=44)
    assert rng.bit_generator.state != before


# --- drawn ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bandwidth", "share", "at_least"),
    [(0.02, 1 / 3, 0.99), (8.0, 1 / 3, 0.99), (4.0, 2 / 3, 0.99), (1.5, 2 / 3, 0.96), (1.5, 1 / 6, 0.75)],
)
@pytest.mark.parametrize("even", [True, False], ids=["u = 1", "u skewed"])
def test_a_drawn_sample_reaches_the_coverage_of_exact_greedy_but_for_a_stated_share(bandwidth, share, at_least, even):
    """Within 1 % with very sharp and with wide kernels; less where a pick covers few samples of a small draw."""
    rng = np.random.default_rng(5)
    n, query_size = 2000, 40
    points = (rng.normal(size=(n, 5)) + 3 * rng.normal(size=(30, 5))[rng.integers(30, size=n)]).astype(np.float32)
    view, kernels = pool(n, range(0, n, 100)), [Kernel(1.0, points, bandwidth)]
    utility_N = np.ones(n) if even else rng.random(n) ** 4
    reached = []
    for most in (n, int(share * n)):
        batch = herding(view, utility_N, kernels, query_size, rng=np.random.default_rng(1), max_kernel_rows=most)
        reached.append(coverage(view, utility_N, kernels, rows_of(batch) + list(view.labeled_rows)))
    assert reached[1] >= at_least * reached[0]


@pytest.mark.parametrize("most", [60, 20, 1])
def test_how_much_of_the_kernel_is_kept_changes_no_pick(most):
    view, utility_N, kernels = case(4, 150, n_labeled=20)
    expected, _ = plain_herding(view, utility_N, kernels, 50)
    assert herding(view, utility_N, kernels, 50, max_kernel_rows=most).sample_ids.tolist() == expected


def test_a_sharp_kernel_is_a_ranking_by_utility_also_where_candidates_are_drawn():
    utility_N = np.random.default_rng(0).random(500)
    kernels = [Kernel(1.0, np.arange(500, dtype=np.float32)[:, None], 0.05)]
    batch = herding(pool(500), utility_N, kernels, 20, rng=np.random.default_rng(0), max_kernel_rows=160)
    assert rows_of(batch) == np.argsort(-utility_N)[:20].tolist()
    assert_allclose(batch.reasons["coverage_gain"], batch.utility_Q / utility_N.sum(), rtol=1e-5)


def test_in_a_large_pool_small_gains_are_still_told_apart():
    utility_N = (1 + np.random.default_rng(0).permutation(30_000)) / 30_000
    kernels = [Kernel(1.0, np.random.default_rng(1).normal(size=(30_000, 32)).astype(np.float32), 0.5)]
    batch = herding(pool(30_000), utility_N, kernels, 40, rng=np.random.default_rng(0), max_kernel_rows=2000)
    assert rows_of(batch) == np.argsort(-utility_N)[:40].tolist()


def test_a_draw_is_named_by_its_seed_and_never_too_small_for_the_batch():
    view, utility_N, kernels = case(2, 400, n_labeled=20)
    answers = [
        herding(view, utility_N, kernels, 30, rng=np.random.default_rng(seed), max_kernel_rows=100).sample_ids.tolist()
        for seed in (3, 3, 4)
    ]
    assert answers[0] == answers[1] != answers[2]
    batch = herding(view, utility_N, kernels, 50, rng=np.random.default_rng(0), max_kernel_rows=1)
    assert len(set(batch.sample_ids)) == 50


def test_what_a_drawn_sample_stands_for_is_the_pool_on_average():
    rng = np.random.default_rng(0)
    worth = rng.random(200) ** 6
    column = rng.random(200)
    estimates, counts = [], np.zeros(200)
    for _ in range(3000):
        some, standing_for = draw_by_worth(worth, 40, 10, rng)
        counts[some] += 1
        estimates.append((standing_for * column[some]).sum())
        assert len(some) == len(set(some)) == 40
        assert (np.diff(some) > 0).all()
    assert_allclose(np.mean(estimates), (worth * column).sum(), atol=4 * np.std(estimates) / np.sqrt(3000))
    sure = np.argsort(-worth)[:10]
    assert (counts[sure] == 3000).all()
    rest = np.setdiff1d(np.arange(200), sure)
    by_worth = 30 * worth[rest] / worth[rest].sum()
    drawn = by_worth.max() < 1
    chance = by_worth if drawn else np.minimum(by_worth, 1)
    assert np.corrcoef(counts[rest] / 3000, chance)[0, 1] > 0.99


@pytest.mark.parametrize("n_worth", [0, 3, 9])
def test_a_draw_fills_up_with_what_is_worth_nothing(n_worth):
    worth = np.where(np.arange(20) < n_worth, 1.0, 0.0)
    some, standing_for = draw_by_worth(worth, 10, 2, np.random.default_rng(0))
    assert len(some) == 10
    assert set(range(n_worth)) <= set(some.tolist())
    assert standing_for.sum() == n_worth


# --- strategies -------------------------------------------------------------------------------------------------------


def unit(points):
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def least_distance_by_hand(points):
    points = points.astype(np.float64)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    return distances[distances > 1e-3].min()


def test_max_herding_is_herding_with_every_sample_worth_the_same():
    view = make_view(60, 8, missing=0.2)
    embedding_ND = unit(view.predictions.embedding_ND)
    for options, h in (({}, 1.0), ({"bandwidth": 0.3}, 0.3)):
        batch = select_batch("max_herding", view, 12, np.random.default_rng(0), options)
        picks, gains = plain_herding(view, np.ones(60), [Kernel(1.0, embedding_ND, h)], 12)
        assert batch.sample_ids.tolist() == picks
        assert_allclose(batch.reasons["coverage_gain"], gains, atol=1e-5)


def test_uncertainty_herding_is_herding_by_margin_with_the_least_labeled_distance():
    view = make_view(60, 8)
    p = view.predictions
    embedding_ND = unit(p.embedding_ND)
    h = least_distance_by_hand(embedding_ND[view.labeled_rows])
    for temperature in (1.0, 2.5):
        powers = p.probabilities_NC ** (1 / temperature)
        ordered = np.sort(powers / powers.sum(axis=1, keepdims=True), axis=1)
        doubt = 1 - (ordered[:, -1] - ordered[:, -2])
        batch = select_batch("uncertainty_herding", view, 12, np.random.default_rng(0), {"temperature": temperature})
        picks, _ = plain_herding(view, doubt, [Kernel(1.0, embedding_ND, h)], 12)
        assert batch.sample_ids.tolist() == picks
        assert_allclose(batch.reasons["margin"], doubt[[int(i[1:]) for i in picks]])


def test_uncertainty_herding_is_the_action_with_only_the_fused_margin_and_kernel_and_the_least_bandwidth():
    view = make_view(80, 30, seed=2)
    setting = replace(view, action=Action(1.0, 1.0, 0.0, 0.0, exponent=1.0, bandwidth_quantile=1e-9, rarity=0.0))
    answers = [select_batch(name, setting, 15, np.random.default_rng(0)) for name in ("uncertainty_herding", "herding")]
    assert answers[0].sample_ids.tolist() == answers[1].sample_ids.tolist()


def test_max_herding_is_the_action_without_uncertainty():
    view = make_view(80, 30, seed=3)
    setting = replace(view, action=Action(1.0, 1.0, 0.0, 0.0, exponent=0.0, bandwidth_quantile=0.5, rarity=0.0))
    rows = UnitRows(view, {"z": (view.predictions.embedding_ND, np.ones(80, dtype=bool), 1.0)})
    h = kernels_module.bandwidth_of(rows, view, 0.5)
    herded = select_batch("herding", setting, 15, np.random.default_rng(0))
    batch = select_batch("max_herding", view, 15, np.random.default_rng(0), {"bandwidth": h})
    assert batch.sample_ids.tolist() == herded.sample_ids.tolist()


def test_repeats_among_the_labeled_leave_the_bandwidth_of_uncertainty_herding_as_it_was():
    view = make_view(40, 10)
    repeated = take(view, np.concatenate([np.arange(40), view.labeled_rows[[0, 0, 3]]]))
    answers = [select_batch("uncertainty_herding", v, 8, np.random.default_rng(0)) for v in (view, repeated)]
    assert [i.removesuffix("+0") for i in answers[1].sample_ids] == answers[0].sample_ids.tolist()


@pytest.mark.parametrize("n_labeled", [0, 1])
def test_uncertainty_herding_begins_without_two_labels(n_labeled):
    assert len(select_batch("uncertainty_herding", make_view(20, n_labeled), 5, np.random.default_rng(0))) == 5


def test_the_smallest_distance_is_that_of_two_rows_that_differ(monkeypatch):
    monkeypatch.setattr(kernels_module, "BLOCK_ROWS", 7)
    for seed in range(20):
        points = np.random.default_rng(seed).normal(size=(40, 5)).astype(np.float32)
        points[10:20] = points[3]
        assert_allclose(smallest_distance(points, np.arange(40)), least_distance_by_hand(points), rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(UserError, match="temperature"):
        select_batch("uncertainty_herding", make_view(9, 3), 2, np.random.default_rng(0), {"temperature": temperature})


def test_large_pools_are_drawn_from_by_the_strategies_too():
    view = make_view(300, 20)
    for name in ("max_herding", "uncertainty_herding"):
        answers = {
            tuple(select_batch(name, view, 20, np.random.default_rng(s), {"max_kernel_rows": 100}).sample_ids)
            for s in range(3)
        }
        assert len(answers) > 1


def test_rows_made_when_asked_for_are_those_of_the_whole_and_absent_ones_are_never_read():
    rng = np.random.default_rng(0)
    view = pool(30)
    present = rng.random(30) < 0.7
    for dtype in (np.float16, np.float32, np.float64):
        left, right = rng.normal(size=(30, 3)).astype(dtype), (300 * rng.normal(size=(30, 5))).astype(dtype)
        right[~present] = np.nan
        rows = UnitRows(view, {"l": (left, np.ones(30, dtype=bool), 1.0), "r": (right, present, 2.0)})
        there = np.where(present[:, None], right, 0).astype(np.float64)
        length_N1 = np.where(present, np.linalg.norm(there, axis=1), 1)[:, None]
        left_unit = left / np.linalg.norm(left.astype(np.float64), axis=1, keepdims=True)
        whole = np.concatenate([left_unit, 2 * there / length_N1], axis=1)
        some = rng.permutation(30)[:11]
        assert rows[some].dtype == np.float32
        assert_allclose(rows[some], whole[some], atol=1e-6)
    with pytest.raises(ValueError, match=r"r: .*not finite"):
        UnitRows(view, {"r": (right, np.ones(30, dtype=bool), 1.0)})

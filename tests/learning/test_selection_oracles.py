"""Fast selectors against brute force: pick for pick, and law for law."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chisquare

from rlmba_pipelines.learning.acquisition.badge import OuterProducts
from rlmba_pipelines.learning.selection.herding import herding
from rlmba_pipelines.learning.selection.k_center import k_center
from rlmba_pipelines.learning.selection.kernels import Kernel, Similarity, bandwidth_of
from rlmba_pipelines.learning.selection.kmeans_pp import kmeans_pp
from rlmba_pipelines.learning.selection.oracles import similarity_of
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.testing import (
    check_selector,
    coverage_of,
    plain_herding,
    plain_k_center,
    plain_kmeans_pp,
)
from rlmba_pipelines.learning.types import PoolView


def random_view(rng, n, n_labeled):
    labeled_N = np.zeros(n, dtype=bool)
    labeled_N[rng.permutation(n)[:n_labeled]] = True
    return PoolView(np.array([f"{i:04d}" for i in range(n)]), labeled_N)


def random_embedding(rng, n):
    """Clusters, and some rows repeated exactly, as short texts are."""
    embedding_ND = (rng.normal(size=(n, 4)) + 4 * rng.integers(0, 3, size=(n, 1))).astype(np.float32)
    embedding_ND[rng.integers(n, size=n // 5)] = embedding_ND[0]
    return embedding_ND


def herding_case(seed, n, n_labeled):
    rng = np.random.default_rng([seed, n])
    kernels = [Kernel(rng.random() + 0.1, random_embedding(rng, n), float(rng.uniform(0.5, 3))) for _ in range(2)]
    return random_view(rng, n, n_labeled), rng.random(n) ** 2, kernels


def test_lazy_k_center_picks_what_the_plain_loop_picks_in_200_cases():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 70))
        view = random_view(rng, n, n_labeled=int(rng.integers(0, n // 2 + 1)))
        embedding_ND = random_embedding(rng, n)
        query_size = int(rng.integers(1, n + 2))
        batch = k_center(view, embedding_ND, query_size)
        assert batch.sample_ids.tolist() == plain_k_center(view, embedding_ND, query_size), seed


def test_k_center_distances_never_grow_and_are_true():
    rng = np.random.default_rng(0)
    view, embedding_ND = random_view(rng, 60, 5), random_embedding(rng, 60)
    batch = k_center(view, embedding_ND, 20)
    assert (np.diff(batch.utility_Q) <= 1e-12).all()
    rows = [int(i) for i in batch.sample_ids]
    centers = embedding_ND[[*view.labeled_rows, *rows[:-1]]].astype(np.float64)
    assert_allclose(batch.reasons["distance"][-1], np.linalg.norm(centers - embedding_ND[rows[-1]], axis=1).min())


@pytest.mark.parametrize("max_kernel_rows", [8192, 12, 0], ids=["kernel kept", "some rows kept", "nothing kept"])
def test_lazy_herding_picks_what_plain_greedy_picks_in_200_cases(max_kernel_rows):
    for seed in range(200):
        n = 2 + seed % 40
        view, utility_N, kernels = herding_case(seed, n, n_labeled=seed % (n // 2 + 1))
        query_size = 1 + seed % n
        batch = herding(view, utility_N, kernels, query_size, max_kernel_rows=max_kernel_rows)
        picks, gains = plain_herding(view, utility_N, kernels, query_size)
        assert batch.sample_ids.tolist() == picks, seed
        assert_allclose(batch.reasons["coverage_gain"], gains, atol=2e-5)


def test_the_block_size_never_changes_what_herding_picks(monkeypatch):
    view, utility_N, kernels = herding_case(3, n=150, n_labeled=20)
    answers = set()
    for values in (1, 400, 4000, 4_000_000):
        monkeypatch.setattr("rlmba_pipelines.learning.selection.herding.BLOCK_VALUES", values)
        for kept in (0, 30, 8192):
            answers.add(tuple(herding(view, utility_N, kernels, 60, max_kernel_rows=kept).sample_ids))
    assert len(answers) == 1


def test_greedy_herding_reaches_its_guarantee_of_the_best_batch():
    for seed in range(20):
        view, utility_N, kernels = herding_case(seed, n=12, n_labeled=seed % 3)
        rows = [int(i) for i in herding(view, utility_N, kernels, 3).sample_ids]
        best = max(coverage_of(view, utility_N, kernels, three) for three in combinations(view.candidate_rows, 3))
        bare = coverage_of(view, utility_N, kernels, [])
        assert coverage_of(view, utility_N, kernels, rows) - bare >= (1 - 1 / np.e) * (best - bare) - 1e-6


def test_coverage_gains_fall_and_add_up_to_the_coverage():
    view, utility_N, kernels = herding_case(7, n=50, n_labeled=6)
    batch = herding(view, utility_N, kernels, 44)
    gain_Q = batch.reasons["coverage_gain"]
    assert (np.diff(gain_Q) <= 1e-6).all()
    assert_allclose(gain_Q.sum() + coverage_of(view, utility_N, kernels, []), 1.0, atol=1e-5)


def test_herding_without_any_worth_covers_the_pool_evenly():
    view, _, kernels = herding_case(1, n=40, n_labeled=5)
    nothing, everything = (herding(view, u, kernels, 10) for u in (np.zeros(40), np.ones(40)))
    assert nothing.sample_ids.tolist() == everything.sample_ids.tolist()
    assert nothing.utility_Q.tolist() == [0.0] * 10


def test_a_sharp_kernel_makes_herding_a_ranking_by_utility():
    view, utility_N, _ = herding_case(2, n=40, n_labeled=5)
    far_apart = [Kernel(1.0, np.arange(40, dtype=np.float32)[:, None], 0.1)]
    batch = herding(view, utility_N, far_apart, 10)
    assert batch.sample_ids.tolist() == top_k(view, utility_N, 10).sample_ids.tolist()
    assert batch.utility_Q.tolist() == sorted(utility_N[~view.labeled_N])[::-1][:10]


def test_the_kernel_is_the_mixture_of_gaussians_and_one_on_repeats():
    _, _, kernels = herding_case(5, n=60, n_labeled=0)
    similarity_NN = Similarity(kernels, np.arange(60)).matrix(60)
    assert_allclose(similarity_NN, similarity_of(kernels), atol=5e-5)
    alike = (kernels[0].embedding_ND[:, None] == kernels[0].embedding_ND).all(axis=2)
    alike &= (kernels[1].embedding_ND[:, None] == kernels[1].embedding_ND).all(axis=2)
    assert alike.sum() > 60
    assert_allclose(similarity_NN[alike], 1.0, atol=1e-6)


@pytest.mark.parametrize("max_kernel_rows", [8192, 12, 0], ids=["kernel kept", "some rows kept", "nothing kept"])
def test_a_repeat_of_a_chosen_sample_brings_nothing_however_sharp_the_kernel(max_kernel_rows):
    rng = np.random.default_rng(0)
    wide_ND = rng.normal(size=(20, 2432)).astype(np.float32)[rng.permutation(np.repeat(np.arange(20), 10))]
    view = random_view(rng, 200, n_labeled=0)
    batch = herding(view, np.ones(200), [Kernel(1.0, wide_ND, 0.05)], 200, max_kernel_rows=max_kernel_rows)
    assert_allclose(batch.reasons["coverage_gain"], [0.05] * 20 + [0.0] * 180, atol=1e-7)
    assert batch.sample_ids[20:].tolist() == sorted(batch.sample_ids[20:])


@pytest.mark.parametrize("kernels", [[], [Kernel(0.0, np.ones((4, 1)), 1.0)], [Kernel(1.0, np.ones((4, 1)), 0.0)]])
def test_a_kernel_that_is_none_is_refused(kernels):
    with pytest.raises(ValueError, match="Similarity"):
        herding(random_view(np.random.default_rng(0), 4, 1), np.ones(4), kernels, 2)


def test_utilities_that_are_negative_or_not_numbers_are_refused():
    view, utility_N, kernels = herding_case(0, n=6, n_labeled=1)
    with pytest.raises(ValueError, match="nonnegative"):
        herding(view, utility_N - 1, kernels, 2)
    with pytest.raises(ValueError, match=r"not finite.*0003"):
        top_k(view, np.where(np.arange(6) == 3, np.nan, 1.0), 2)


def test_the_bandwidth_is_a_quantile_of_labeled_neighbor_distances_without_repeats():
    line = np.array([0.0, 0.0, 1.0, 3.0, 6.0, 50.0, 50.5], dtype=np.float32)[:, None]
    view = PoolView(np.array(list("abcdefg")), np.array([True] * 5 + [False] * 2))
    assert_allclose(bandwidth_of(line, view, quantile=1e-9), 1.0, rtol=1e-4)  # of 1, 2, 3; not the repeat
    assert_allclose(bandwidth_of(line, view, quantile=1.0), 3.0, rtol=1e-4)
    unlabeled = PoolView(view.sample_ids, np.zeros(7, dtype=bool))
    assert_allclose(bandwidth_of(line[5:], PoolView(view.sample_ids[5:], np.zeros(2, dtype=bool)), 0.1), 0.5, rtol=1e-3)
    assert bandwidth_of(np.ones((7, 2), dtype=np.float32), unlabeled, 0.1) == 1.0


def test_the_bandwidth_has_a_floor_of_a_thousandth_of_the_median_distance():
    line = np.array([0.0, 1e-3, 10.0, 20.0, 30.0, 40.0], dtype=np.float32)[:, None] - 20
    view = PoolView(np.array(list("abcdef")), np.ones(6, dtype=bool))
    assert bandwidth_of(line, view, quantile=1e-9) >= 0.0199


def gradients(seed, n=40, n_classes=5, width=6):
    rng = np.random.default_rng(seed)
    return OuterProducts(rng.normal(size=(n, n_classes)), rng.normal(size=(n, width)))


def written_out(g):
    return np.einsum("nc,nd->ncd", g.left_NC, g.right_ND).reshape(len(g.left_NC), -1)


def test_factorised_k_means_pp_picks_what_written_out_gradients_pick_in_100_cases():
    for seed in range(100):
        g = gradients(seed)
        view = random_view(np.random.default_rng(seed), 40, n_labeled=seed % 10)
        batch = kmeans_pp(view, g.squared_norm_N, g.inner, 12, np.random.default_rng(seed))
        assert batch.sample_ids.tolist() == plain_kmeans_pp(view, written_out(g), 12, np.random.default_rng(seed)), seed


def counts_of_pick(pick, draws):
    g, view = gradients(0), random_view(np.random.default_rng(0), 40, n_labeled=0)
    rng = np.random.default_rng(1)
    chosen = [int(kmeans_pp(view, g.squared_norm_N, g.inner, pick + 1, rng).sample_ids[pick]) for _ in range(draws)]
    return written_out(g), np.bincount(chosen, minlength=40)


def test_the_second_pick_of_badge_follows_squared_distance():
    g, count_N = counts_of_pick(1, draws=8000)
    weight_N = np.square(g - g[np.square(g).sum(axis=1).argmax()]).sum(axis=1)
    probable = weight_N > 0
    assert count_N[~probable].sum() == 0
    expected = 8000 * weight_N[probable] / weight_N.sum()
    assert expected.min() > 5
    assert chisquare(count_N[probable], expected).pvalue > 0.01
    uniform = np.full(probable.sum(), 8000 / probable.sum())
    assert chisquare(count_N[probable], uniform).pvalue < 1e-6  # the test can tell laws apart


def test_the_third_pick_of_badge_follows_squared_distance_averaged_over_the_second():
    g, count_N = counts_of_pick(2, draws=8000)
    squared_NN = np.square(g[:, None] - g[None]).sum(axis=2)
    first = int(np.square(g).sum(axis=1).argmax())
    probability_N = np.zeros(40)
    for second in range(40):
        nearest_N = np.minimum(squared_NN[first], squared_NN[second])
        probability_N += squared_NN[first, second] / squared_NN[first].sum() * nearest_N / nearest_N.sum()
    probable = probability_N > 0
    assert count_N[~probable].sum() == 0
    assert chisquare(count_N[probable], 8000 * probability_N[probable]).pvalue > 0.01


def test_top_k_breaks_ties_by_sample_id():
    view = PoolView(np.array(list("abcdef")), np.array([False, True, False, False, False, False]))
    batch = top_k(view, np.array([1.0, 9, 2, 1, 2, 1]), 4)
    assert batch.sample_ids.tolist() == ["c", "e", "a", "d"]


def test_every_selector_keeps_the_laws_of_choosing():
    def by_embedding(select, view, query_size, rng):
        embedding_ND = view.predictions.embedding_ND
        return select(view, embedding_ND, query_size)

    def cover(view, embedding_ND, query_size):
        return herding(view, np.ones(len(embedding_ND)), [Kernel(1.0, embedding_ND, 2.0)], query_size)

    def rank(view, embedding_ND, query_size):
        return top_k(view, embedding_ND[:, 0], query_size)

    for select in (k_center, cover, rank):
        check_selector(partial(by_embedding, select))

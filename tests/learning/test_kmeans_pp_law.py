"""D² sampling draws by its law, in every mode: the k-th pick against enumerated probabilities."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chisquare

from rlmba_pipelines.learning.acquisition.badge import OuterProducts, sample_gradients
from rlmba_pipelines.learning.acquisition.bmmal import balanced_gradients
from rlmba_pipelines.learning.selection import kmeans_pp as module
from rlmba_pipelines.learning.selection.kmeans_pp import kmeans_pp, kmeans_pp_rejection
from rlmba_pipelines.learning.testing import make_view, plain_kmeans_pp
from rlmba_pipelines.learning.types import PoolView

N, DRAWS = 40, 2000


def pool(n, n_labeled=0, seed=0):
    labeled_N = np.zeros(n, dtype=bool)
    labeled_N[np.random.default_rng(seed).permutation(n)[:n_labeled]] = True
    return PoolView(np.array([f"{i:05d}" for i in range(n)]), labeled_N)


def badge_products(n=N, seed=0, repeats=0):
    """Gradients of which some are large, some close to each other and some exact repeats."""
    rng = np.random.default_rng(seed)
    left_NC, right_ND = rng.normal(size=(n, 3)), rng.normal(size=(n, 4)) + 3 * rng.integers(0, 2, size=(n, 1))
    left_NC *= rng.uniform(0.3, 1.5, size=(n, 1))
    again = rng.integers(n, size=repeats)
    left_NC[again], right_ND[again] = left_NC[0], right_ND[0]
    return OuterProducts(left_NC, right_ND)


def bmmal_products():
    view = make_view(N, 0, modalities=("image", "text", "audio"), missing=0.3)
    return balanced_gradients(view)[0]


def written_out(products):
    left_NC, right_ND = products.factors(slice(None))
    return np.einsum("nc,nd->ncd", left_NC, right_ND).reshape(len(left_NC), -1)


def probabilities_of_picks(gradient_NG, n_picks):
    """float64[n_picks, N]: exact, by going through every sequence of picks."""
    squared_NN = np.square(gradient_NG[:, None] - gradient_NG[None]).sum(axis=2)
    squared_NN[squared_NN < 1e-9] = 0
    probability = np.zeros((n_picks, len(gradient_NG)))

    def follow(pick, nearest_N, so_far):
        next_N = so_far * nearest_N / nearest_N.sum()
        probability[pick] += next_N
        if pick + 1 < n_picks:
            for row in np.flatnonzero(next_N):
                follow(pick + 1, np.minimum(nearest_N, squared_NN[row]), next_N[row])

    first = int(np.square(gradient_NG).sum(axis=1).argmax())
    probability[0, first] = 1
    follow(1, squared_NN[first], 1.0)
    return probability


@pytest.fixture
def impatient(monkeypatch):
    """Refreshes and tries in numbers, which a pool of 40 would not need."""
    monkeypatch.setattr(module, "TRY_COST", 0)
    monkeypatch.setattr(module, "TRY_OVERHEAD", 20)
    monkeypatch.setattr(module, "LEAF_ROWS", 8)
    monkeypatch.setattr(module, "HEAVY_SHARE", 0.5)


@pytest.mark.parametrize("mode", ["rejection", "exact_stream"])
@pytest.mark.parametrize("products", [badge_products(repeats=6), bmmal_products()], ids=["badge", "bmmal"])
def test_the_second_third_and_fourth_pick_follow_squared_distance(products, mode, impatient):
    view, rng = pool(N), np.random.default_rng(7)
    count = np.zeros((4, N), dtype=np.int64)
    for _ in range(DRAWS):
        rows = sample_gradients(view, products, 4, rng, mode).sample_ids.astype(np.int64)
        count[np.arange(4), rows] += 1
    expected = DRAWS * probabilities_of_picks(written_out(products), 4)
    assert count[0].max() == DRAWS
    assert count[0].argmax() == expected[0].argmax()
    for pick in (1, 2, 3):
        assert count[pick][expected[pick] == 0].sum() == 0
        rare = (expected[pick] > 0) & (expected[pick] < 5)
        common = expected[pick] >= 5
        seen, due = count[pick][common], expected[pick][common]
        if rare.any():
            seen, due = np.append(seen, count[pick][rare].sum()), np.append(due, expected[pick][rare].sum())
        assert chisquare(seen, due * seen.sum() / due.sum()).pvalue > 0.001, (mode, pick)
        assert chisquare(seen).pvalue < 1e-4  # the test can tell laws apart


def test_rejection_that_refreshes_before_every_pick_is_the_exact_stream(monkeypatch):
    choose = module.StaleDistances.choose

    def choose_and_refresh(self, row):
        choose(self, row)
        self.refresh(np.arange(len(self._seen_N)))

    monkeypatch.setattr(module.StaleDistances, "choose", choose_and_refresh)
    for seed in range(60):
        products, view = badge_products(60, seed, repeats=seed % 9), pool(60, seed % 20, seed)
        norm_N = products.squared_norm_N
        stream = kmeans_pp(view, norm_N, products.inner, 15, np.random.default_rng(seed))
        fresh = kmeans_pp_rejection(view, norm_N, products.factors, 15, np.random.default_rng(seed))
        assert fresh.sample_ids.tolist() == stream.sample_ids.tolist(), seed
        assert_allclose(fresh.utility_Q, stream.utility_Q, rtol=1e-9, atol=1e-9)


def test_the_exact_stream_picks_what_written_out_gradients_pick():
    for seed in range(60):
        products, view = badge_products(50, seed, repeats=0), pool(50, seed % 20, seed)
        batch = kmeans_pp(view, products.squared_norm_N, products.inner, 12, np.random.default_rng(seed))
        assert batch.sample_ids.tolist() == plain_kmeans_pp(
            view, written_out(products), 12, np.random.default_rng(seed)
        ), seed


def test_the_utility_of_a_rejection_pick_is_its_true_squared_distance(impatient):
    products = badge_products(300, seed=3, repeats=40)
    batch = kmeans_pp_rejection(pool(300), products.squared_norm_N, products.factors, 80, np.random.default_rng(0))
    g, rows = written_out(products), batch.sample_ids.astype(np.int64)
    for k in range(1, 80):
        true = np.square(g[rows[:k]] - g[rows[k]]).sum(axis=1).min()
        assert_allclose(batch.utility_Q[k], true, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", ["rejection", "exact_stream"])
def test_exact_repeats_come_last_and_in_the_order_of_their_ids(mode):
    rng = np.random.default_rng(0)
    kind_N = rng.integers(7, size=2000)
    products = OuterProducts(rng.normal(size=(7, 5))[kind_N], rng.normal(size=(7, 64)).astype(np.float32)[kind_N])
    batch = sample_gradients(pool(2000), products, 60, rng, mode)
    rows = batch.sample_ids.astype(np.int64)
    assert sorted(kind_N[rows[:7]]) == list(range(7))
    assert (batch.utility_Q[7:] == 0).all()
    assert rows[7:].tolist() == sorted(set(range(2000)) - set(rows[:7].tolist()))[:53]


def test_rejection_gives_the_same_picks_whatever_is_in_memory_at_once(monkeypatch):
    products, answers = badge_products(3000, seed=1, repeats=500), set()
    for block_rows in (64, 1000, 5000):
        monkeypatch.setattr(module, "BLOCK_ROWS", block_rows)
        rng = np.random.default_rng(4)
        batch = kmeans_pp_rejection(pool(3000), products.squared_norm_N, products.factors, 200, rng)
        answers.add(tuple(batch.sample_ids))
    assert len(answers) == 1


def test_rejection_computes_a_small_part_of_all_distances(monkeypatch):
    """20,000 samples and 200 picks are 4,000,000 distances for the plain loop."""
    rng, computed = np.random.default_rng(0), []
    products = OuterProducts(rng.normal(size=(20_000, 8)), rng.normal(size=(20_000, 32)).astype(np.float32))
    nearest = module.StaleDistances._nearest

    def counting(self, rows, first_center):
        computed.append(len(rows) * (self._n_centers - first_center))
        return nearest(self, rows, first_center)

    monkeypatch.setattr(module.StaleDistances, "_nearest", counting)
    kmeans_pp_rejection(pool(20_000), products.squared_norm_N, products.factors, 200, rng)
    assert sum(computed) < 200_000


def test_embeddings_are_never_copied_whole():
    products = badge_products(5000)
    sizes = []

    def factors(rows):
        found = products.factors(rows)
        sizes.append(len(found[0]))
        return found

    kmeans_pp_rejection(pool(5000), products.squared_norm_N, factors, 50, np.random.default_rng(0))
    assert max(sizes) <= module.BLOCK_ROWS


def test_an_unknown_mode_is_refused_by_name():
    with pytest.raises(ValueError, match="rejection, exact_stream"):
        sample_gradients(pool(N), badge_products(), 3, np.random.default_rng(0), "greedy")


def test_a_gradient_that_is_not_a_number_is_refused_and_named():
    products = badge_products()
    broken = replace(products, right_ND=np.where(np.arange(N)[:, None] == 3, np.nan, products.right_ND))
    with pytest.raises(ValueError, match="00003"):
        kmeans_pp_rejection(pool(N), broken.squared_norm_N, broken.factors, 3, np.random.default_rng(0))

"""k-means and the strategies that choose by clusters: typiclust, cluster_margin, drop_query."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, chisquare
from threadpoolctl import threadpool_limits

from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.acquisition.cluster_margin import average_linkage, nearest_clustered, round_robin
from rlmba_pipelines.learning.acquisition.coverage import raw_rows
from rlmba_pipelines.learning.acquisition.drop_query import candidates_of, changed_mind
from rlmba_pipelines.learning.acquisition.linear_head import LinearHead
from rlmba_pipelines.learning.acquisition.typiclust import mean_neighbor_distance
from rlmba_pipelines.learning.selection import clusters
from rlmba_pipelines.learning.selection.clusters import kmeans
from rlmba_pipelines.learning.testing import make_view
from rlmba_pipelines.learning.types import PoolView

LEAST_P = 1e-3  # of a test of a sampling law


def raw_embedding(view):
    return raw_rows(view)[np.arange(len(view.sample_ids))]


def on_circle(degrees, labeled=()):
    """A pool of unit vectors at these angles, ids in order."""
    angle_N = np.radians(np.asarray(degrees, dtype=np.float64))
    block_ND = np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)
    ids = np.array([f"s{i:03d}" for i in range(len(angle_N))])
    return PoolView(ids, np.isin(np.arange(len(ids)), labeled), ("image",), None, {"image": block_ND})


def rows_in(view, batch):
    return np.searchsorted(view.sample_ids, batch.sample_ids).tolist()


def with_predictions(view, probabilities_NC, embedding_ND):
    predictions = replace(view.predictions, probabilities_NC=probabilities_NC, embedding_ND=embedding_ND)
    return replace(view, predictions=predictions)


# --- k-means ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("full_rows", "learned_rows"), [(10_000, 10_000), (100, 10_000), (100, 300)])
def test_kmeans_finds_groups_that_lie_far_apart_of_all_rows_by_mini_batches_and_of_a_draw(
    monkeypatch, full_rows, learned_rows
):
    monkeypatch.setattr(clusters, "FULL_ROWS", full_rows)
    monkeypatch.setattr(clusters, "LEARNED_ROWS", learned_rows)
    rng = np.random.default_rng(3)
    group_N = rng.integers(5, size=600)
    points_ND = 100 * np.eye(5)[group_N] + rng.normal(size=(600, 5))
    found = kmeans(points_ND, 5, np.random.default_rng(0))
    first_N = [np.flatnonzero(group_N == g)[0] for g in group_N]
    assert len(set(zip(found.cluster_N, first_N, strict=True))) == 5
    for k in range(5):
        np.testing.assert_allclose(found.center_KD[k], points_ND[found.cluster_N == k].mean(axis=0), rtol=1e-5)


def test_kmeans_gives_the_same_answer_on_one_thread_and_on_two_and_leaves_the_rows_alone():
    points_ND = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    before = points_ND.copy()
    points_ND.flags.writeable = False
    answers = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            answers.append(kmeans(points_ND, 40, np.random.default_rng(7)).cluster_N)
    assert np.array_equal(*answers)
    assert np.array_equal(points_ND, before)


def test_kmeans_numbers_clusters_by_first_row_and_has_none_that_is_empty():
    points_ND = np.repeat(np.array([[3.0], [1.0], [2.0]]), 4, axis=0)
    found = kmeans(points_ND, 7, np.random.default_rng(0))
    assert found.cluster_N.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found.center_KD.ravel().tolist() == [3.0, 1.0, 2.0]


# --- typiclust --------------------------------------------------------------------------------------------------------


def plain_typiclust(view, query_size, rng, n_neighbors=20, small_cluster=5, max_clusters=500):
    """The rules written down once more, one pair of samples at a time."""
    points_ND = raw_embedding(view).astype(np.float64)
    label_N = kmeans(raw_embedding(view), min(view.labeled_N.sum() + query_size, max_clusters), rng).cluster_N
    order = []
    for k in range(label_N.max() + 1):
        rows = [i for i in range(len(label_N)) if label_N[i] == k]
        order.append((len(rows) <= small_cluster, sum(view.labeled_N[rows]), -len(rows), k))
    free = {k: [i for i in range(len(label_N)) if label_N[i] == k and not view.labeled_N[i]] for *_, k in order}
    mean = {}
    for rows in free.values():
        for i in rows:
            apart = sorted(np.linalg.norm(points_ND[i] - points_ND[j]) for j in rows if j != i)[:n_neighbors]
            mean[i] = np.mean(apart) if apart else np.inf
    picks = []
    for small in (False, True):
        turn = [k for is_small, _, _, k in sorted(order) if is_small == small]
        while any(free[k] for k in turn):
            for k in turn:
                if free[k]:
                    best = min(mean[i] for i in free[k])
                    pick = next(i for i in free[k] if mean[i] <= best + 1e-6 or np.isinf(best))
                    free[k].remove(pick)
                    picks.append(pick)
    return picks[: min(query_size, (~view.labeled_N).sum())]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("options", [{}, {"n_neighbors": 3, "small_cluster": 2}, {"max_clusters": 4}])
def test_typiclust_picks_what_the_rules_say_one_pair_at_a_time(seed, options):
    view = make_view(70, 9, seed=seed, missing=0.3)
    batch = select_batch("typiclust", view, 12, np.random.default_rng(seed), options)
    assert rows_in(view, batch) == plain_typiclust(view, 12, np.random.default_rng(seed), **options)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("query_size", [2, 3, 5])
def test_typiclust_goes_on_to_the_next_cluster_where_one_has_nothing_left_to_ask_for(seed, query_size):
    view, options = make_view(70, 60, seed=seed), {"max_clusters": 12, "small_cluster": 1}
    batch = select_batch("typiclust", view, query_size, np.random.default_rng(seed), options)
    assert rows_in(view, batch) == plain_typiclust(view, query_size, np.random.default_rng(seed), **options)


def test_typiclust_asks_for_the_middle_of_the_largest_cluster_without_a_label():
    # 7 near 0° (one of them labeled), 9 near 90°, 6 near 180°, 2 near 270° (too few to be a cluster)
    near = lambda center, n: [center + 2 * i - n + 1 for i in range(n)]  # noqa: E731
    view = on_circle([*near(0, 7), *near(90, 9), *near(180, 6), 269, 271], labeled=[0])
    batch = select_batch("typiclust", view, 3, np.random.default_rng(0))
    assert batch.reasons["cluster_size"].tolist() == [9.0, 6.0, 7.0]
    assert batch.reasons["cluster_labels"].tolist() == [0.0, 0.0, 1.0]
    assert rows_in(view, batch)[:2] == [11, 18]  # the fifth of nine; of six the two in the middle tie, the first wins
    assert (batch.reasons["typicality"] == batch.utility_Q).all()


def test_typiclust_of_a_line_is_the_inverse_of_the_mean_distance():
    assert mean_neighbor_distance(np.array([[0.0], [1.0], [3.0], [7.0]]), 2).tolist() == [2.0, 1.5, 2.5, 5.0]
    assert mean_neighbor_distance(np.array([[4.0]]), 2).tolist() == [np.inf]


def test_typiclust_turns_to_the_small_clusters_when_nothing_else_is_left():
    view = on_circle([*range(0, 14, 2), 180, 182])
    batch = select_batch("typiclust", view, 9, np.random.default_rng(0), {"max_clusters": 2})
    assert rows_in(view, batch)[0] == 3
    assert sorted(rows_in(view, batch)[7:]) == [7, 8]


def test_typiclust_lets_a_draw_of_members_stand_for_a_huge_cluster():
    view = make_view(300, 0)
    batch = select_batch("typiclust", view, 5, np.random.default_rng(0), {"max_clusters": 1, "max_cluster_rows": 20})
    everyone = select_batch("typiclust", view, 5, np.random.default_rng(0), {"max_clusters": 1})
    assert len(batch) == 5
    assert batch.sample_ids.tolist() != everyone.sample_ids.tolist()


# --- cluster_margin ---------------------------------------------------------------------------------------------------


def plain_average_linkage(points_ND, n_clusters):
    apart_NN = np.array([[np.linalg.norm(a - b) for b in points_ND.astype(float)] for a in points_ND.astype(float)])
    groups = [[i] for i in range(len(points_ND))]
    while len(groups) > n_clusters:
        apart = {
            (a, b): apart_NN[np.ix_(groups[a], groups[b])].sum() / (len(groups[a]) * len(groups[b]))
            for a in range(len(groups))
            for b in range(a + 1, len(groups))
        }
        a, b = min(apart, key=apart.get)
        groups[a] += groups.pop(b)
    return {frozenset(group) for group in groups}


@pytest.mark.parametrize("seed", range(4))
def test_average_linkage_merges_the_clusters_that_are_nearest_on_average(seed):
    points_ND = np.random.default_rng(seed).normal(size=(22, 3))
    cluster_N = average_linkage(points_ND, 5)
    found = {frozenset(np.flatnonzero(cluster_N == k).tolist()) for k in range(cluster_N.max() + 1)}
    assert found == plain_average_linkage(points_ND, 5)
    assert np.array_equal(np.unique(cluster_N, return_index=True)[1], np.sort([min(group) for group in found]))


def test_the_turn_goes_from_the_smallest_cluster_to_the_largest_and_back_to_the_smallest_with_members_left():
    cluster_R = np.array([0, 0, 0, 0, 1, 2, 2, 2])
    for seed in range(20):
        picks = round_robin(cluster_R, 8, np.random.default_rng(seed))
        assert cluster_R[picks].tolist() == [1, 2, 0, 2, 0, 2, 0, 0]
        assert sorted(picks) == list(range(8))


def test_members_of_a_cluster_are_equally_likely():
    rng = np.random.default_rng(0)
    counts = np.bincount([round_robin(np.array([0, 0, 0, 0, 1, 1, 1]), 1, rng)[0] for _ in range(3000)], minlength=7)
    assert counts[:4].sum() == 0
    assert chisquare(counts[4:]).pvalue > LEAST_P


@pytest.mark.parametrize("seed", range(4))
def test_cluster_margin_spreads_the_smallest_margins_over_their_clusters(seed):
    view = make_view(60, 8, seed=seed)
    options = {"candidates_per_pick": 3, "average_cluster_size": 4}
    batch = select_batch("cluster_margin", view, 8, np.random.default_rng(seed), options)
    pool = np.flatnonzero(~view.labeled_N)
    top_NC = np.sort(view.predictions.probabilities_NC, axis=1)
    gap_N = top_NC[:, -1] - top_NC[:, -2]
    smallest = sorted(sorted(pool, key=lambda row: (gap_N[row], row))[:24])
    group_of = {}
    for number, group in enumerate(plain_average_linkage(view.predictions.embedding_ND[pool], 13)):  # 52 / 4
        group_of |= {int(pool[i]): number for i in group}
    rows = rows_in(view, batch)
    assert set(rows) <= set(smallest)
    np.testing.assert_allclose(batch.utility_Q, 1 - gap_N[rows])
    sizes = sorted(np.unique([group_of[row] for row in smallest], return_counts=True)[1])
    picked = [group_of[row] for row in rows]
    turn = min(8, len(sizes))
    assert len(set(picked[:turn])) == turn, "a cluster was asked twice before all were asked once"
    assert batch.reasons["cluster_candidates"][:turn].tolist() == sizes[:turn]


def test_beyond_max_rows_a_sample_joins_the_cluster_of_the_nearest_row_that_was_clustered():
    embedding_ND = np.random.default_rng(0).normal(size=(50, 3))
    clustered = np.arange(1, 50, 5)
    rows = np.arange(0, 50, 3)
    nearest = [np.linalg.norm(embedding_ND[clustered] - embedding_ND[row], axis=1).argmin() for row in rows]
    assert nearest_clustered(embedding_ND, rows, clustered).tolist() == nearest
    view = make_view(60, 5)
    batch = select_batch("cluster_margin", view, 9, np.random.default_rng(0), {"max_rows": 12})
    assert len(set(batch.sample_ids)) == 9


# --- drop_query -------------------------------------------------------------------------------------------------------


def flips_when_dropped(n, n_flipping, seed=0):
    """One feature; its loss turns class 0 (feature near 2) into class 1, and leaves class 1 (near −2) as it is."""
    rng = np.random.default_rng(seed)
    z_N1 = np.where(np.arange(n) < n_flipping, 2.0, -2.0)[:, None] + 0.1 * rng.random((n, 1))
    logits_NC = z_N1 * [1.0, -1.0] + [-0.5, 0.5]
    probabilities_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(axis=1, keepdims=True)
    return with_predictions(make_view(n, 0), probabilities_NC, z_N1)


def test_a_feature_is_dropped_as_often_as_is_said():
    head = LinearHead(np.array([[1.0], [-1.0]]), np.array([-0.5, 0.5]), 1.0)
    changed_N = changed_mind(np.full((3000, 1), 2.0), np.arange(3000), head, 3, 0.75, np.random.default_rng(0))
    expected = 3000 * binom.pmf(np.arange(4), 3, 0.75)
    assert chisquare(np.bincount(changed_N, minlength=4), expected).pvalue > LEAST_P
    never = changed_mind(np.full((500, 1), -2.0), np.arange(500), head, 3, 0.75, np.random.default_rng(0))
    assert never.max() == 0


def test_what_is_kept_is_scaled_up_so_that_its_mean_stays():
    # class 1 only wins where the kept feature of weight 1 is scaled to 4: 4 · 0.3 > 1
    head = LinearHead(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([1.0, 0.0]), 1.0)
    changed_N = changed_mind(np.full((2000, 2), 0.3), np.arange(2000), head, 1, 0.75, np.random.default_rng(0))
    assert abs(changed_N.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)


def test_candidates_are_those_that_change_more_than_half_of_the_time_or_one_less_while_they_are_few():
    changed_N = np.array([0, 1, 2, 3, 4, 5, 0])
    assert candidates_of(changed_N, 5, 1).tolist() == [3, 4, 5]
    assert candidates_of(changed_N, 5, 4).tolist() == [2, 3, 4, 5]
    assert candidates_of(changed_N, 5, 7).tolist() == [1, 2, 3, 4, 5]


def test_drop_query_asks_only_for_samples_whose_class_hangs_on_a_few_features():
    view = flips_when_dropped(400, n_flipping=200)
    batch = select_batch("drop_query", view, 6, np.random.default_rng(0), {"candidates_per_pick": 5})
    assert max(rows_in(view, batch)) < 200
    assert (batch.utility_Q > 0.5).all()
    assert batch.reasons["head_r_squared"].min() > 0.999999


def test_with_fewer_candidates_than_samples_asked_for_all_of_them_are_taken_and_chance_fills_up():
    view = flips_when_dropped(60, n_flipping=4)
    rests = set()
    for seed in range(4):
        batch = select_batch("drop_query", view, 10, np.random.default_rng(seed))
        rows, changed = np.array(rows_in(view, batch)), batch.utility_Q > 0
        assert changed.sum() >= 3
        assert rows[changed].max() < 4
        assert rows[0] < 4
        rests.add(tuple(sorted(rows[~changed])))
    assert len(rests) == 4


@pytest.mark.parametrize("seed", range(4))
def test_drop_query_takes_the_candidate_nearest_to_each_centroid(seed):
    view = make_view(200, 20, seed=seed)
    options = {"candidates_per_pick": 4}
    batch = select_batch("drop_query", view, 10, np.random.default_rng(seed), options)
    everyone = select_batch("drop_query", view, 180, np.random.default_rng(seed), options)
    assert set(everyone.sample_ids) == set(view.sample_ids[~view.labeled_N])
    assert len(set(batch.reasons["cluster"])) == 10, "two of one cluster"
    keys = list(zip(-batch.reasons["changed"], -batch.reasons["cluster_size"], batch.sample_ids, strict=True))
    assert keys == sorted(keys), "most disputed first, then the largest cluster, then the id"


def test_nearest_to_centers_is_the_row_that_a_plain_search_finds():
    rng = np.random.default_rng(0)
    points_ND = rng.normal(size=(90, 4))
    found = kmeans(points_ND, 7, rng)
    squared_N = clusters.squared_to_center(points_ND, found)
    plain = []
    for k in range(found.cluster_N.max() + 1):
        rows = np.flatnonzero(found.cluster_N == k)
        apart = np.linalg.norm(points_ND[rows] - points_ND[rows].mean(axis=0), axis=1)
        plain.append(rows[np.flatnonzero(apart <= apart.min() + 1e-5)[0]])
    assert clusters.nearest_to_centers(squared_N, found.cluster_N).tolist() == plain

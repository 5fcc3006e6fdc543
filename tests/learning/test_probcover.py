"""ProbCover against a plain greedy over sets, and its radius against the rule that defines it."""

from dataclasses import replace

import numpy as np
import pytest

from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.acquisition.coverage import raw_rows
from rlmba_pipelines.learning.acquisition.probcover import largest_pure_radius
from rlmba_pipelines.learning.selection import balls
from rlmba_pipelines.learning.selection.balls import BallGraph
from rlmba_pipelines.learning.testing import make_view
from rlmba_pipelines.learning.types import UNLABELED, PoolView


def raw_embedding(view):
    return raw_rows(view)[np.arange(len(view.sample_ids))]


def distances_between(points_ND):
    points_ND = points_ND.astype(np.float64)
    return np.array([[np.linalg.norm(a - b) for b in points_ND] for a in points_ND])


def between_two_distances(points_ND, share):
    """A radius in the widest gap between distances near this quantile, where rounding decides nothing."""
    apart = np.unique(distances_between(points_ND)[np.triu_indices(len(points_ND), 1)])
    at = int(share * len(apart))
    near = apart[max(0, at - 20) : at + 20]
    widest = np.diff(near).argmax()
    return (near[widest] + near[widest + 1]) / 2


def plain_probcover(view, query_size, delta):
    """Balls as sets; the ball with most new samples, first id first; all over again when nothing is new."""
    apart_NN = distances_between(raw_embedding(view))
    candidates = np.flatnonzero(~view.labeled_N).tolist()
    ball = {i: {j for j in candidates if apart_NN[i, j] < delta or i == j} for i in range(len(apart_NN))}
    uncovered = set(candidates)
    for i in np.flatnonzero(view.labeled_N):
        uncovered -= ball[i]
    picks, gains = [], []
    while len(picks) < min(query_size, len(candidates)):
        if not uncovered:
            uncovered = set(candidates) - set(picks)
        free = [i for i in candidates if i not in picks]
        best = max(free, key=lambda i: (len(ball[i] & uncovered), -i))
        gains.append(len(ball[best] & uncovered))
        picks.append(best)
        uncovered -= ball[best]
    return view.sample_ids[picks].tolist(), gains


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.02, 0.15, 0.6])
@pytest.mark.parametrize("n_labeled", [0, 6])
def test_probcover_picks_what_a_plain_greedy_over_sets_picks(seed, share, n_labeled):
    view = make_view(50, n_labeled, seed=seed, missing=0.2)
    delta = between_two_distances(raw_embedding(view), share)
    batch = select_batch("probcover", view, 20, np.random.default_rng(0), {"delta": delta})
    ids, gains = plain_probcover(view, 20, delta)
    assert batch.sample_ids.tolist() == ids
    assert batch.utility_Q.tolist() == gains
    assert (batch.reasons["delta"] == delta).all()


def test_the_size_of_blocks_does_not_change_a_pick(monkeypatch):
    view = make_view(90, 7, seed=1)
    whole = select_batch("probcover", view, 25, np.random.default_rng(0))
    monkeypatch.setattr(balls, "BLOCK_ROWS", 16)
    parts = select_batch("probcover", view, 25, np.random.default_rng(0))
    assert whole.sample_ids.tolist() == parts.sample_ids.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_the_radius_is_the_largest_at_which_enough_balls_are_pure(seed):
    rng = np.random.default_rng(seed)
    points_ND, label_N = rng.normal(size=(60, 2)), rng.integers(3, size=60)
    apart_NN = distances_between(points_ND)

    def purity_at(radius):
        return np.mean([len(set(label_N[apart_NN[i] < radius])) <= 1 for i in range(60)])

    enemy_N = BallGraph(points_ND).enemy_distances(label_N)
    for i in range(60):
        assert enemy_N[i] == pytest.approx(apart_NN[i][label_N != label_N[i]].min(), abs=1e-3)
    exact_N = np.array([apart_NN[i][label_N != label_N[i]].min() for i in range(60)])
    for purity in (1.0, 0.95, 0.9, 0.5):
        delta = largest_pure_radius(exact_N, purity)
        assert purity_at(delta) >= purity - 1e-12
        assert purity_at(delta * (1 + 1e-9)) < purity
    assert largest_pure_radius(np.full(4, np.inf), 0.95) == np.inf


def test_a_ball_graph_is_that_of_all_pairs_of_distances():
    points_ND = np.random.default_rng(0).normal(size=(70, 3))
    radius = between_two_distances(points_ND, 0.2)
    graph = BallGraph(points_ND)
    graph.connect(radius)
    near_NN = distances_between(points_ND) < radius
    assert np.array_equal(np.array([graph.ball(i) for i in range(70)]), near_NN)
    counted_N = np.random.default_rng(1).random(70) < 0.4
    assert np.array_equal(graph.degrees(counted_N), near_NN[:, counted_N].sum(axis=1))
    others_LD = points_ND[:5] + 0.01
    reach = np.linalg.norm(points_ND[:, None] - others_LD, axis=2) < radius
    assert np.array_equal(graph.covered_by(others_LD, np.arange(5)), reach.any(axis=1))


def test_degrees_count_beyond_what_a_byte_holds():
    graph = BallGraph(np.zeros((700, 2)))
    graph.connect(1.0)
    assert set(graph.degrees(np.ones(700, dtype=bool))) == {700}


def test_a_ball_holds_its_own_center_whatever_the_radius():
    graph = BallGraph(np.array([[0.0], [1.0]]))
    graph.connect(0.0)
    assert [graph.ball(0).tolist(), graph.ball(1).tolist()] == [[True, False], [False, True]]


def circle(degrees, labeled=(), y=None):
    angle_N = np.radians(np.asarray(degrees, dtype=np.float64))
    ids = np.array([f"s{i:03d}" for i in range(len(angle_N))])
    labeled_N = np.isin(np.arange(len(ids)), labeled)
    features = {"image": np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1).astype(np.float32)}
    y_N = np.where(labeled_N, 0 if y is None else y, UNLABELED)
    return PoolView(ids, labeled_N, ("image",), None, features, y=y_N)


def chord(degrees):
    return 2 * np.sin(np.radians(degrees) / 2)


def test_the_fullest_ball_comes_first_and_what_it_covers_counts_no_more():
    view = circle([0, 10, 20, 30, 90, 100, 110, 200])
    batch = select_batch("probcover", view, 4, np.random.default_rng(0), {"delta": chord(15)})
    assert batch.sample_ids.tolist() == ["s001", "s005", "s002", "s007"]
    # around 10°: 3 samples; around 100°: 3; then 30°, in the balls of 20° and 30°; then 200° alone
    assert batch.utility_Q.tolist() == [3.0, 3.0, 1.0, 1.0]
    assert batch.reasons["layer"].tolist() == [0.0] * 4


def test_what_a_label_covers_is_not_asked_for_again_until_everything_is_covered():
    view = circle([0, 10, 20, 90, 100], labeled=[1])
    batch = select_batch("probcover", view, 4, np.random.default_rng(0), {"delta": chord(15)})
    assert batch.sample_ids.tolist()[0] == "s003"
    assert batch.reasons["layer"].tolist() == [0.0, 1.0, 1.0, 1.0]
    assert batch.utility_Q.tolist() == [2.0, 1.0, 1.0, 1.0]


def test_pseudo_labels_are_as_many_as_the_classes_bought_so_far():
    four_groups = [c + d for c in (0, 90, 180, 270) for d in (-3, -1, 1, 3)]
    two = circle(four_groups, labeled=[0, 4], y=np.arange(16) // 4)
    four = replace(two, labeled_N=np.isin(np.arange(16), [0, 4, 8, 12]))
    four = replace(four, y=np.where(four.labeled_N, np.arange(16) // 4, UNLABELED))
    of_two, of_four = (
        select_batch("probcover", view, 2, np.random.default_rng(0)).reasons["delta"][0] for view in (two, four)
    )
    assert of_four == pytest.approx(chord(86), abs=1e-3)  # of the candidates, 3° and 89° are the nearest of two groups
    assert of_two == pytest.approx(chord(84), abs=1e-3)  # two neighboring groups are one
    fewer = select_batch("probcover", four, 2, np.random.default_rng(0), {"n_classes": 1})
    assert fewer.reasons["delta"][0] > 2  # one pseudo-label: every ball is pure
    more = select_batch("probcover", four, 2, np.random.default_rng(0), {"n_classes": 12})
    assert more.reasons["delta"][0] < chord(7)


def test_beyond_max_rows_the_pool_is_a_draw_that_still_holds_enough_samples():
    view = make_view(80, 10)
    batch = select_batch("probcover", view, 30, np.random.default_rng(0), {"max_rows": 20})
    assert len(set(batch.sample_ids)) == 30
    other = select_batch("probcover", view, 5, np.random.default_rng(1), {"max_rows": 20})
    assert set(other.reasons["coverage_gain"] * 20) == set(other.utility_Q)

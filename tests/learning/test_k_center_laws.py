"""k_center picks what the plain loop picks, whatever it saves itself."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rlmba_pipelines.learning.selection import k_center as module
from rlmba_pipelines.learning.selection import nearest
from rlmba_pipelines.learning.selection.k_center import k_center
from rlmba_pipelines.learning.testing import plain_k_center
from rlmba_pipelines.learning.types import PoolView


def view_of_size(rng, n, n_labeled):
    labeled_N = np.zeros(n, dtype=bool)
    labeled_N[rng.permutation(n)[:n_labeled]] = True
    return PoolView(np.array([f"{i:05d}" for i in range(n)]), labeled_N)


def spread(rng, n):
    return rng.normal(size=(n, 6))


def grid(rng, n):  # most distances are equal
    return rng.integers(0, 3, size=(n, 3))


def one_hot(rng, n):  # all distances are 0 or equal
    return np.eye(5)[rng.integers(5, size=n)] / np.sqrt(3)


def repeats(rng, n):
    return rng.normal(size=(max(1, n // 4), 5))[rng.integers(max(1, n // 4), size=n)]


def far_from_the_origin(rng, n):  # float32 knows distances to two digits only
    return 1000 + rng.normal(size=(n, 6))


def alike(rng, n):
    return np.ones((n, 3))


KINDS = [spread, grid, one_hot, repeats, far_from_the_origin, alike]


def case(kind, seed, n_most=70):
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    n = int(rng.integers(1, n_most))
    view = view_of_size(rng, n, n_labeled=int(rng.integers(0, n // 2 + 1)) * int(rng.integers(2)))
    return view, kind(rng, n), int(rng.integers(1, n + 2))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_k_center_picks_what_the_plain_loop_picks(kind, dtype):
    for seed in range(40):
        view, embedding_ND, query_size = case(kind, seed)
        embedding_ND = embedding_ND.astype(dtype)
        picks = k_center(view, embedding_ND, query_size).sample_ids.tolist()
        assert picks == plain_k_center(view, embedding_ND, query_size), seed


@pytest.mark.parametrize("block", [1, 3, 4096])
@pytest.mark.parametrize(("front", "widest"), [(1, 0), (1, 16), (7, 7), (2048, 8192)])
def test_no_block_size_changes_a_pick(monkeypatch, block, front, widest):
    monkeypatch.setattr(nearest, "BLOCK_ROWS", block)
    monkeypatch.setattr(nearest, "PICKS_AT_ONCE", block)
    monkeypatch.setattr(nearest, "FIRST_CENTERS", 1 + block % 4)
    monkeypatch.setattr(nearest, "STEP_CENTERS", block)
    monkeypatch.setattr(module, "BLOCK_ROWS", block)
    monkeypatch.setattr(module, "FRONT_ROWS", front)
    monkeypatch.setattr(module, "WIDEST_FRONT", widest)
    for kind in KINDS:
        for seed in range(12):
            view, embedding_ND, query_size = case(kind, seed, n_most=40)
            picks = k_center(view, embedding_ND, query_size).sample_ids.tolist()
            assert picks == plain_k_center(view, embedding_ND, query_size), (kind.__name__, seed)


def test_a_large_pool_is_covered_as_by_the_loop_that_measures_everything():
    rng = np.random.default_rng(0)
    view, points = view_of_size(rng, 6000, 40), rng.normal(size=(6000, 16)).astype(np.float32)
    nearest_N = np.linalg.norm(points[:, None] - points[view.labeled_rows].astype(np.float64), axis=2).min(axis=1)
    picks = []
    for _ in range(150):
        picks.append(int(nearest_N.argmax()))
        nearest_N = np.minimum(nearest_N, np.linalg.norm(points - points[picks[-1]].astype(np.float64), axis=1))
    assert [int(i) for i in k_center(view, points, 150).sample_ids] == picks


@pytest.mark.parametrize("unit", [1e-30, 1e-3, 1.0, 1e15, 1e30])
def test_the_unit_of_measurement_changes_distances_and_no_pick(unit):
    rng = np.random.default_rng(1)
    view, points = view_of_size(rng, 50, 5), rng.normal(size=(50, 4))
    batch, scaled = k_center(view, points, 20), k_center(view, points * unit, 20)
    assert scaled.sample_ids.tolist() == batch.sample_ids.tolist()
    assert_allclose(scaled.utility_Q, batch.utility_Q * unit, rtol=1e-9)


@pytest.mark.parametrize("n_labeled", [0, 6])
def test_reported_distances_are_true_to_float64(n_labeled):
    rng = np.random.default_rng(2)
    view, points = view_of_size(rng, 80, n_labeled), far_from_the_origin(rng, 80).astype(np.float32)
    batch = k_center(view, points, 30)
    rows = [int(i) for i in batch.sample_ids]
    wide = points.astype(np.float64)
    for i, row in enumerate(rows):
        before = [*view.labeled_rows, *rows[:i]]
        centers = wide[before] if before else wide.mean(axis=0, keepdims=True)
        assert_allclose(batch.utility_Q[i], np.linalg.norm(centers - wide[row], axis=1).min(), rtol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_refused_by_name(bad):
    view, points = view_of_size(np.random.default_rng(0), 9, 2), np.ones((9, 3), dtype=np.float32)
    points[4, 1] = bad
    with pytest.raises(ValueError, match=r"not finite.*00004"):
        k_center(view, points, 2)


def test_features_are_read_in_place_and_few_rows_are_looked_at_again(monkeypatch):
    rng = np.random.default_rng(3)
    view, points = view_of_size(rng, 20_000, 0), rng.normal(size=(20_000, 8)).astype(np.float32)
    looked_at = []
    see = nearest.Nearest._see
    monkeypatch.setattr(
        nearest.Nearest, "_see", lambda self, rows, stop: (looked_at.append(len(rows)), see(self, rows, stop))
    )
    k_center(view, points, 200)
    assert sum(looked_at) < 200 * 20_000 / 50

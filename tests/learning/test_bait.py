"""BAIT against Fisher matrices written out and inverted at every step."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.acquisition.bait import Design, binary_factors, multiclass_factors
from rlmba_pipelines.learning.testing import make_view
from rlmba_pipelines.learning.types import UserError


def rng():
    return np.random.default_rng(0)


def information(p_C, z_D, fisher):
    """I(x) by its definition: the expected outer product of the log-likelihood's gradient in the last layer."""
    if fisher == "binary":
        return p_C.max() * (1 - p_C.max()) * np.outer(z_D, z_D)
    total = 0
    for label in range(len(p_C)):
        gradient = np.outer(np.eye(len(p_C))[label] - p_C, z_D).ravel()
        total = total + p_C[label] * np.outer(gradient, gradient)
    return total


def brute_force(view, query_size, fisher, ridge):
    """Forward to 2Q and backward to Q with an inverse a step; ids in the order of the forward pass, and the gains."""
    p = view.predictions
    rows = zip(p.probabilities_NC, p.embedding_ND.astype(np.float64), strict=True)
    each = [information(p_C, z_D, fisher) for p_C, z_D in rows]
    pool = np.mean(each, axis=0)
    labeled = [each[row] for row in view.labeled_rows]
    total = len(labeled) + query_size
    state = ridge * np.eye(len(pool)) + (np.mean(labeled, axis=0) * len(labeled) / total if labeled else 0)
    each = [query_size / total * one for one in each]

    def trace(matrix):
        return np.trace(np.linalg.inv(matrix) @ pool)

    free, picks, gain = view.candidate_rows.tolist(), [], {}
    for _ in range(min(len(free), 2 * query_size)):
        fall = [trace(state) - trace(state + each[row]) for row in free]
        row = free[int(np.argmax(fall))]
        gain[row] = max(fall)
        state = state + each[row]
        free.remove(row)
        picks.append(row)
    while len(picks) > query_size:
        drop = picks[int(np.argmin([trace(state - each[row]) for row in picks]))]
        state = state - each[drop]
        picks.remove(drop)
    return view.sample_ids[picks].tolist(), [gain[row] for row in picks]


@pytest.mark.parametrize("fisher", ["binary", "multiclass"])
@pytest.mark.parametrize("seed", range(6))
def test_bait_picks_what_inverting_every_fisher_matrix_picks(fisher, seed):
    view = make_view(26, (0, 5, 9)[seed % 3], seed=seed, n_classes=3)
    options = {"fisher": fisher, "ridge": (0.01, 0.5)[seed % 2]}
    batch = select_batch("bait", view, 4, rng(), options)
    picks, gain = brute_force(view, 4, **options)
    assert batch.sample_ids.tolist() == picks
    assert_allclose(batch.reasons["fisher_gain"], gain, rtol=1e-6)


@pytest.mark.parametrize("fisher", ["binary", "multiclass"])
def test_factors_give_the_fisher_information_of_the_last_layer(fisher):
    p = make_view(5, 0, n_classes=3).predictions
    if fisher == "binary":
        factors_NRP = binary_factors(p.probabilities_NC, p.embedding_ND, 64)
    else:
        factors_NRP = multiclass_factors(p.probabilities_NC, p.embedding_ND)
    for row in range(5):
        expected = information(p.probabilities_NC[row], p.embedding_ND[row].astype(np.float64), fisher)
        assert_allclose(factors_NRP[row].T @ factors_NRP[row], expected, atol=1e-6)


@pytest.mark.parametrize("rank", [1, 3])
def test_rank_updates_stay_with_the_inverse_and_undo_each_other(rank):
    generator = rng()
    factors_NRP = generator.normal(size=(12, rank, 6))
    start, fisher = np.eye(6), np.cov(generator.normal(size=(6, 30)))
    design = Design(factors_NRP, start, fisher)
    before = design.trace
    for row in (3, 7, 1):
        expected = design.trace - design.gains(np.array([row]), 1)[0]
        design.change(row, 1)
        start = start + factors_NRP[row].T @ factors_NRP[row]
        assert_allclose(design.trace, expected)
        assert_allclose(design.inverse_PP, np.linalg.inv(start), atol=1e-10)
    fresh = Design(factors_NRP, start, fisher)
    assert_allclose(design.gains(slice(None), 1), fresh.gains(slice(None), 1))
    for row in (7, 3, 1):
        design.change(row, -1)
    assert_allclose(design.trace, before)


def test_projection_on_the_leading_directions_loses_nothing_that_is_not_there():
    view = make_view(40, 8)
    flat = view.predictions.embedding_ND
    basis = np.linalg.qr(rng().normal(size=(20, 20)))[0][:5]
    wide = replace(view, predictions=replace(view.predictions, embedding_ND=flat.astype(np.float64) @ basis))
    narrow, projected = (select_batch("bait", v, 8, rng(), {"max_dimensions": 6}) for v in (view, wide))
    assert narrow.sample_ids.tolist() == projected.sample_ids.tolist()
    assert_allclose(narrow.utility_Q, projected.utility_Q, rtol=1e-5)


def test_the_backward_pass_makes_no_batch_much_worse_than_plain_greedy():
    for seed in range(10):
        view = make_view(40, 5, seed=seed)
        batches = [select_batch("bait", view, 5, rng(), {"oversample": over}) for over in (1.0, 2.0)]
        p = view.predictions
        each = {
            i: information(q, z.astype(np.float64), "binary")
            for i, q, z in zip(view.sample_ids, p.probabilities_NC, p.embedding_ND, strict=True)
        }
        pool = np.mean(list(each.values()), axis=0)
        known = 0.01 * np.eye(5) + np.mean([each[i] for i in view.sample_ids[view.labeled_N]], axis=0) / 2
        greedy, pruned = (
            np.trace(np.linalg.inv(known + sum(each[i] for i in batch.sample_ids) / 2) @ pool) for batch in batches
        )
        assert pruned <= greedy * 1.1, seed


def test_options_without_sense_and_pools_too_large_are_refused():
    view = make_view(10, 2)
    for options in ({"fisher": "full"}, {"ridge": 0.0}, {"oversample": 0.5}, {"max_dimensions": 0}):
        with pytest.raises(UserError, match="bait"):
            select_batch("bait", view, 2, rng(), options)
    wide = replace(view.predictions, embedding_ND=np.zeros((10, 400_000), dtype=np.float32))
    with pytest.raises(UserError, match="too large"):
        select_batch("bait", replace(view, predictions=wide), 2, rng(), {"fisher": "multiclass"})

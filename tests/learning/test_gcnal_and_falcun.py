"""FALCUN against its rules and sampling law; the graph network against its formula, its gradient and its picks."""

import sys
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from threadpoolctl import threadpool_limits

from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.acquisition.falcun import draw
from rlmba_pipelines.learning.acquisition.gcnal import Graph, Weights, loss_and_gradient, train_graph_network
from rlmba_pipelines.learning.testing import make_view, plain_k_center
from rlmba_pipelines.learning.types import PoolView, UserError

LEAST_P = 1e-3  # of a test of a sampling law


def view_with(probabilities_NC, embedding_ND=None, labeled_N=None):
    n = len(probabilities_NC)
    view = make_view(n, 0)
    predictions = replace(view.predictions, probabilities_NC=np.asarray(probabilities_NC, dtype=np.float64))
    if embedding_ND is not None:
        predictions = replace(predictions, embedding_ND=embedding_ND)
    labeled_N = view.labeled_N if labeled_N is None else labeled_N
    return PoolView(view.sample_ids, labeled_N, view.modalities, predictions=predictions)


# --- falcun -----------------------------------------------------------------------------------------------------------


def plain_falcun(view, query_size, rng, gamma=10.0):
    """The algorithm with every distance to every choice, from scratch at every pick."""
    rows = np.flatnonzero(~view.labeled_N)
    p_UC = view.predictions.probabilities_NC[rows]
    top_UC = np.sort(p_UC, axis=1)
    u_U = 1 - (top_UC[:, -1] - top_UC[:, -2])
    picks = []
    while len(picks) < min(query_size, len(rows)):
        free = [i for i in range(len(rows)) if i not in picks]
        d = [min([u_U[i], *(np.abs(p_UC[i] - p_UC[j]).sum() for j in picks)]) for i in free]
        spread = max(d) - min(d)
        share = [(d_i - min(d)) / spread if spread else 0 for d_i in d]
        weight = [(u_U[i] + share_i) ** gamma for i, share_i in zip(free, share, strict=True)]
        if not sum(weight):
            weight = [1.0] * len(free)
        over = np.flatnonzero(np.cumsum(weight) > rng.random() * sum(weight))
        picks.append(free[over[0]])
    return view.sample_ids[rows[picks]].tolist()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("gamma", [1, 10.0])
def test_falcun_draws_what_the_algorithm_draws_with_every_distance_measured(seed, gamma):
    view = make_view(60, 8, seed=seed, n_classes=5)
    batch = select_batch("falcun", view, 25, np.random.default_rng(seed), {"gamma": gamma})
    assert batch.sample_ids.tolist() == plain_falcun(view, 25, np.random.default_rng(seed), gamma)


def test_falcun_draws_the_first_sample_in_proportion_to_its_relevance():
    margin_N = np.array([0.9, 0.6, 0.5, 0.2, 0.1])  # p1 − p2
    view = view_with(np.stack([(1 + margin_N) / 2, (1 - margin_N) / 2], axis=1))
    u_N = 1 - margin_N
    weight_N = (u_N + (u_N - 0.1) / 0.8) ** 2
    rng = np.random.default_rng(0)
    firsts = [select_batch("falcun", view, 1, rng, {"gamma": 2}).sample_ids[0] for _ in range(1000)]
    counts = np.array([firsts.count(sample_id) for sample_id in view.sample_ids])
    assert chisquare(counts, 1000 * weight_N / weight_N.sum()).pvalue > LEAST_P


def test_falcun_says_how_uncertain_and_how_far_from_the_batch_each_choice_was():
    batch = select_batch("falcun", make_view(40, 5), 10, np.random.default_rng(0))
    assert np.allclose(batch.reasons["margin"] + batch.reasons["prediction_distance"], batch.utility_Q)
    assert batch.reasons["prediction_distance"].min() >= 0
    assert batch.reasons["prediction_distance"].max() <= 1


def test_falcun_prefers_what_differs_from_the_batch_where_all_are_equally_uncertain():
    # three identical samples between classes 0 and 1, one between 2 and 3: whoever is first, the other kind is next
    same, other = [0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]
    view = view_with([same, same, same, other])
    for seed in range(10):
        batch = select_batch("falcun", view, 2, np.random.default_rng(seed), {"gamma": 60})
        assert "s000003" in batch.sample_ids


def test_falcun_draws_evenly_where_the_model_is_sure_of_everything():
    view = view_with([[1.0, 0.0]] * 4)
    rng = np.random.default_rng(0)
    firsts = [select_batch("falcun", view, 1, rng).sample_ids[0] for _ in range(600)]
    assert chisquare([firsts.count(sample_id) for sample_id in view.sample_ids]).pvalue > LEAST_P


@given(st.data())
def test_a_draw_in_blocks_is_the_plain_one(data):
    weights = data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, 5.0]), min_size=1, max_size=40))
    chosen = data.draw(st.lists(st.integers(0, len(weights) - 1), max_size=len(weights) - 1, unique=True))
    for row in chosen:
        weights[row] = 0.0
    uniform = data.draw(st.sampled_from([0.0, 0.25, 0.5, 1 - 2**-53]))
    plain = weights if any(weights) else [float(row not in chosen) for row in range(len(weights))]
    reached = np.flatnonzero(np.cumsum(plain) > uniform * sum(plain))
    with mock.patch.object(sys.modules[draw.__module__], "SUMMED_ROWS", 4):  # the package has a function of that name
        assert draw(np.array(weights), chosen, uniform) == (reached[0] if len(reached) else np.flatnonzero(plain)[-1])


# --- the graph network ------------------------------------------------------------------------------------------------


def unit_points(n, d, seed=0):
    points_ND = np.random.default_rng(seed).normal(size=(n, d))
    return (points_ND / np.linalg.norm(points_ND, axis=1, keepdims=True)).astype(np.float32)


def plain_adjacency(unit_RD):
    similarity_RR = (1 + unit_RD.astype(np.float64) @ unit_RD.T.astype(np.float64)) / 2
    np.fill_diagonal(similarity_RR, 0)
    return similarity_RR / similarity_RR.sum(axis=0) + np.eye(len(unit_RD))


def test_the_graph_that_is_never_written_out_spreads_like_the_one_that_is():
    unit_RD = unit_points(40, 6)
    values_RH = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    adjacency_RR = plain_adjacency(unit_RD)
    np.testing.assert_allclose(Graph(unit_RD).spread(values_RH), adjacency_RR @ values_RH, atol=1e-5)
    np.testing.assert_allclose(Graph(unit_RD).spread_back(values_RH), adjacency_RR.T @ values_RH, atol=1e-5)


def test_a_node_without_others_and_opposite_nodes_have_no_edges():
    values = np.array([[2.0]], dtype=np.float32)
    assert Graph(np.array([[1.0]], dtype=np.float32)).spread(values).tolist() == [[2.0]]
    opposite = Graph(np.array([[1.0], [-1.0]], dtype=np.float32))
    assert opposite.spread(np.array([[2.0], [5.0]], dtype=np.float32)).tolist() == [[2.0], [5.0]]


def test_the_gradient_is_the_slope_of_the_loss():
    rng = np.random.default_rng(0)
    unit_RD, labeled_R = unit_points(12, 4).astype(np.float64), np.arange(12) < 4
    graph = Graph(unit_RD)
    spread_RD = graph.spread(unit_RD)
    kept_RH = (rng.random((12, 5)) >= 0.3) / 0.7
    weights = Weights(rng.normal(size=(4, 5)), rng.normal(size=5), rng.normal(size=5), rng.normal(size=1))

    def loss_at(changed):
        return loss_and_gradient(graph, spread_RD, labeled_R, changed, kept_RH, 1.2)[0]

    hidden_RH = np.maximum(spread_RD @ weights.w1 + weights.b1, 0) * kept_RH
    score_R = 1 / (1 + np.exp(-(plain_adjacency(unit_RD) @ hidden_RH @ weights.w2 + weights.b2)))
    stated = -np.log(score_R[labeled_R]).mean() - 1.2 * np.log(1 - score_R[~labeled_R]).mean()
    assert loss_at(weights) == pytest.approx(stated, rel=1e-6)
    gradient = loss_and_gradient(graph, spread_RD, labeled_R, weights, kept_RH, 1.2)[1]
    for name, slope in gradient._asdict().items():
        part = getattr(weights, name)
        for at in np.ndindex(part.shape):
            step = np.zeros_like(part)
            step[at] = 1e-5
            rise = loss_at(weights._replace(**{name: part + step})) - loss_at(weights._replace(**{name: part - step}))
            assert slope[at] == pytest.approx(rise / 2e-5, rel=1e-3, abs=1e-6)


SETTINGS = {"n_epochs": 200, "n_hidden": 32, "dropout": 0.3, "unlabeled_weight": 1.2}


def test_the_network_learns_where_the_labels_are():
    rng = np.random.default_rng(0)
    side_R = np.arange(80) < 30
    points_RD = np.where(side_R[:, None], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]) + 0.2 * rng.normal(size=(80, 3))
    unit_RD = (points_RD / np.linalg.norm(points_RD, axis=1, keepdims=True)).astype(np.float32)
    nodes = train_graph_network(unit_RD, side_R, np.random.default_rng(0), **SETTINGS)
    assert nodes.score_R[side_R].min() > nodes.score_R[~side_R].max()


def test_uncertain_gcn_takes_the_scores_nearest_to_the_margin_and_core_gcn_spreads_over_the_hidden_nodes():
    view = make_view(60, 12)
    points_RD = view.predictions.embedding_ND
    unit_RD = points_RD / np.linalg.norm(points_RD, axis=1, keepdims=True)
    settings = {**SETTINGS, "n_hidden": 16}
    nodes = train_graph_network(unit_RD, view.labeled_N, np.random.default_rng(3), **settings)
    options = {"n_hidden": 16, "variant": "uncertain", "score_margin": 0.2}
    batch = select_batch("gcnal", view, 9, np.random.default_rng(3), options)
    away = {i: abs(nodes.score_R[i] - 0.2) for i in np.flatnonzero(~view.labeled_N)}
    assert batch.sample_ids.tolist() == view.sample_ids[sorted(away, key=away.get)[:9]].tolist()
    core = select_batch("gcnal", view, 9, np.random.default_rng(3), {"n_hidden": 16})
    assert core.sample_ids.tolist() == plain_k_center(view, nodes.hidden_RH, 9)


def test_gcnal_gives_the_same_answer_on_one_thread_and_on_two():
    view = make_view(900, 60)
    answers = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            batch = select_batch("gcnal", view, 20, np.random.default_rng(0), {"n_epochs": 30})
            answers.append(batch.sample_ids.tolist())
    assert answers[0] == answers[1]


def test_gcnal_looks_at_a_draw_of_a_large_pool_that_still_holds_enough_samples():
    view = make_view(80, 30)
    batch = select_batch("gcnal", view, 40, np.random.default_rng(0), {"max_candidates": 10, "n_epochs": 5})
    assert len(set(batch.sample_ids)) == 40


def test_gcnal_refuses_a_variant_that_it_does_not_know():
    with pytest.raises(UserError, match="core, uncertain"):
        select_batch("gcnal", make_view(9, 2), 2, np.random.default_rng(0), {"variant": "graph"})

"""Strategies that look at the last layer: its gradients, its boundaries, and the head that a view does not hold."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.acquisition.alfa_mix import class_anchors, cluster_representatives, needed_cap
from rlmba_pipelines.learning.acquisition.bmmal import balanced_gradients
from rlmba_pipelines.learning.acquisition.deepfool import boundary_distance
from rlmba_pipelines.learning.acquisition.linear_head import centered_logits, fit_linear_head
from rlmba_pipelines.learning.testing import make_view, plain_kmeans_pp
from rlmba_pipelines.learning.types import UserError


def rng():
    return np.random.default_rng(0)


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def linear_view(n=60, n_labeled=12, n_classes=4, width=5, seed=0, scale=1.0):
    """A view whose probabilities are a linear softmax of the fused embedding; also its W and b."""
    view, generator = make_view(n, n_labeled, n_classes=n_classes), np.random.default_rng(seed)
    weight_CD, bias_C = scale * generator.normal(size=(n_classes, width)), generator.normal(size=n_classes)
    z = generator.normal(size=(n, width)) + 2
    predictions = replace(
        view.predictions, embedding_ND=z, probabilities_NC=softmax(z @ weight_CD.T + bias_C)
    )
    return replace(view, predictions=predictions), weight_CD, bias_C


def fitted(view):
    z = view.predictions.embedding_ND
    return fit_linear_head(lambda rows: z[rows].astype(np.float64), view.predictions.probabilities_NC)


# --- the head -----------------------------------------------------------------------------------------------------


def test_a_linear_softmax_head_is_found_exactly():
    view, weight_CD, bias_C = linear_view()
    head = fitted(view)
    assert_allclose(head.weight_CD, weight_CD - weight_CD.mean(axis=0), atol=1e-6)
    assert_allclose(head.bias_C, bias_C - bias_C.mean(), atol=1e-6)
    assert_allclose(head.r_squared, 1.0)


def test_the_head_of_another_model_is_the_least_squares_one_and_says_how_well_it_fits():
    view = make_view(80, 10)
    z, p = view.predictions.embedding_ND.astype(np.float64), view.predictions.probabilities_NC
    design, target = np.column_stack([z, np.ones(80)]), centered_logits(p)
    coefficients, *_ = np.linalg.lstsq(design, target, rcond=None)
    head = fitted(view)
    assert_allclose(head.weight_CD, coefficients[:-1].T, atol=1e-6)
    missed = np.square(target - design @ coefficients).sum() / np.square(target - target.mean(axis=0)).sum()
    assert_allclose(head.r_squared, 1 - missed, atol=1e-8)
    assert 0 < head.r_squared < 1


def test_a_head_fitted_on_evenly_spaced_rows_is_close_to_that_of_all_rows():
    view, weight_CD, _ = linear_view(n=500)
    z = view.predictions.embedding_ND
    some = fit_linear_head(lambda rows: z[rows], view.predictions.probabilities_NC, max_rows=50)
    assert_allclose(some.weight_CD, weight_CD - weight_CD.mean(axis=0), atol=1e-5)


def test_one_row_and_rows_without_any_difference_have_a_flat_head():
    for n in (1, 8):
        head = fit_linear_head(lambda rows, n=n: np.full((n, 3), 2.0)[rows], np.full((n, 2), 0.5))
        assert_allclose(head.weight_CD, 0, atol=1e-12)
        assert head.r_squared == 1.0


# --- deepfool -----------------------------------------------------------------------------------------------------


def test_the_deepfool_distance_is_the_smallest_push_that_changes_the_prediction():
    view, weight_CD, bias_C = linear_view(n=25, n_labeled=0)
    z = view.predictions.embedding_ND
    distance_N = boundary_distance(view.predictions.probabilities_NC, fitted(view))
    for row in range(25):
        likeliest = int((weight_CD @ z[row] + bias_C).argmax())
        pushes = []
        for other in set(range(4)) - {likeliest}:
            normal = weight_CD[likeliest] - weight_CD[other]
            unit = normal / np.linalg.norm(normal)
            gap = normal @ z[row] + bias_C[likeliest] - bias_C[other]
            pushes.append((gap / np.linalg.norm(normal), unit))
        least, unit = min(pushes, key=lambda push: push[0])
        assert_allclose(distance_N[row], least, rtol=1e-5)
        assert (weight_CD @ (z[row] - 0.999 * least * unit) + bias_C).argmax() == likeliest
        assert (weight_CD @ (z[row] - 1.001 * least * unit) + bias_C).argmax() != likeliest


def test_deepfool_asks_for_the_nearest_to_a_boundary_and_reports_the_distance():
    view, *_ = linear_view()
    batch = select_batch("deepfool", view, 48, rng())
    assert (np.diff(batch.reasons["boundary_distance"]) >= 0).all()
    assert_allclose(batch.utility_Q, -batch.reasons["boundary_distance"])
    assert_allclose(batch.reasons["head_r_squared"], 1.0)


def test_deepfool_differs_from_margin_where_classes_differ_in_scale():
    view, *_ = linear_view(scale=np.array([[0.2], [0.2], [3.0], [3.0]]))
    answers = [select_batch(name, view, 10, rng()).sample_ids.tolist() for name in ("deepfool", "margin")]
    assert answers[0] != answers[1]


# --- bmmal --------------------------------------------------------------------------------------------------------


def oracle_of_bmmal(view):
    """Gradients written out, float64[N, C·M·D], with Shapley values by going through every set of modalities."""
    p, z, present = view.predictions.probabilities_NC, view.predictions.modality_embedding_NMD, view.present_NM
    n, n_modalities, width = z.shape
    seen = np.where(present[:, :, None], z, 0.0)
    design = np.column_stack([seen.reshape(n, -1), np.ones(n)])
    coefficients, *_ = np.linalg.lstsq(design, centered_logits(p), rcond=None)
    weight, bias = coefficients[:-1].reshape(n_modalities, width, -1), coefficients[-1]
    likeliest, gradients = p.argmax(axis=1), []

    def logit(row, members):
        return bias[likeliest[row]] + sum(seen[row, m] @ weight[m, :, likeliest[row]] for m in members)

    for row in range(n):
        phi = np.zeros(n_modalities)
        orders = list(permutations(range(n_modalities)))
        for order in orders:
            for place, m in enumerate(order):
                phi[m] += (logit(row, order[: place + 1]) - logit(row, order[:place])) / len(orders)
        share = np.abs(phi) / np.abs(phi).sum()
        scale = np.where(present[row], 1 - (share.max() - share), 0)
        residual = p[row] - np.eye(p.shape[1])[likeliest[row]]
        gradients.append(np.outer(residual, (scale[:, None] * seen[row]).ravel()).ravel())
    return np.array(gradients)


@pytest.mark.parametrize("modalities", [("image", "text"), ("image", "text", "audio")])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_factors_of_bmmal_are_those_of_the_gradients_written_out(modalities, missing):
    view = make_view(40, 6, modalities=modalities, missing=missing)
    gradient_NG = oracle_of_bmmal(view)
    gradients, share_NM = balanced_gradients(view)
    inner_NN = np.stack([gradients.inner(row) for row in range(40)])
    assert_allclose(inner_NN, gradient_NG @ gradient_NG.T, atol=1e-5)
    assert_allclose(gradients.squared_norm_N, np.square(gradient_NG).sum(axis=1), rtol=1e-4, atol=1e-9)
    assert_allclose(share_NM.sum(axis=1), 1.0)
    assert (share_NM[~view.present_NM] == 0).all()


def test_bmmal_with_two_modalities_picks_what_written_out_gradients_pick():
    for seed in range(10):
        view = make_view(40, 6, seed=seed, dtype=np.float64)
        batch = select_batch("bmmal", view, 10, np.random.default_rng(seed), {"mode": "exact_stream"})
        expected = plain_kmeans_pp(view, oracle_of_bmmal(view), 10, np.random.default_rng(seed))
        assert batch.sample_ids.tolist() == expected, seed


def test_bmmal_on_one_modality_is_badge_on_its_embedding():
    view = make_view(40, 6, modalities=("image",))
    p = view.predictions
    alone = replace(view, predictions=replace(p, embedding_ND=p.modality_embedding_NMD[:, 0]))
    answers = [select_batch(name, alone, 10, rng()).sample_ids.tolist() for name in ("bmmal", "badge")]
    assert answers[0] == answers[1]


def test_what_lies_in_absent_modalities_is_never_looked_at_by_bmmal():
    view = make_view(40, 6, modalities=("image", "text", "audio"), missing=0.4)
    embedding = view.predictions.modality_embedding_NMD.copy()
    embedding[~view.present_NM] = np.nan
    dirty = replace(view, predictions=replace(view.predictions, modality_embedding_NMD=embedding))
    answers = [select_batch("bmmal", v, 12, rng()).sample_ids.tolist() for v in (view, dirty)]
    assert answers[0] == answers[1]


# --- alfa_mix -----------------------------------------------------------------------------------------------------


def mixing_flips(view, weight_CD, bias_C, cap):
    """bool[N]: the paper's formula to the letter: α elementwise, for one anchor after another."""
    z = view.predictions.embedding_ND
    p = softmax(z @ weight_CD.T + bias_C)
    likeliest = p.argmax(axis=1)
    gradient = (p - np.eye(p.shape[1])[likeliest]) @ weight_CD
    flips = np.zeros(len(z), dtype=bool)
    for anchor in class_anchors(z, view.y, p.shape[1]):
        way = anchor - z
        step = cap / np.sqrt(z.shape[1]) * np.linalg.norm(way, axis=1) / np.linalg.norm(gradient, axis=1)
        alpha = np.divide(step[:, None] * gradient, way, where=way != 0, out=np.zeros_like(way))
        mixed = alpha * anchor + (1 - alpha) * z
        flips |= (mixed @ weight_CD.T + bias_C).argmax(axis=1) != likeliest
    return flips


def test_the_cap_that_flips_a_sample_is_that_of_the_papers_formula():
    view, weight_CD, bias_C = linear_view(n=120)
    p = view.predictions
    cap_N = needed_cap(p.embedding_ND, p.probabilities_NC, class_anchors(p.embedding_ND, view.y, 4), fitted(view))
    for cap in (0.05, 0.2, 0.5, 1.0):
        clear = np.abs(cap_N / cap - 1) > 1e-4
        assert ((cap_N < cap) == mixing_flips(view, weight_CD, bias_C, cap))[clear].all()
    assert 0 < (cap_N < 0.2).mean() < (cap_N < 1.0).mean()


def test_alfa_mix_chooses_among_those_that_flip_at_the_smallest_cap_that_flips_enough():
    view, weight_CD, bias_C = linear_view(n=120)
    batch = select_batch("alfa_mix", view, 6, rng())
    cap = next(c for c in np.arange(1, 33) / 32 if mixing_flips(view, weight_CD, bias_C, c)[~view.labeled_N].sum() > 6)
    flipping = set(view.sample_ids[mixing_flips(view, weight_CD, bias_C, cap)])
    assert set(batch.sample_ids) <= flipping
    assert (batch.reasons["flips"] == 1).all()
    assert (np.diff(batch.reasons["cap"]) >= 0).all()


def test_alfa_mix_fills_up_at_random_where_too_few_flip():
    view, *_ = linear_view(n=60, scale=40.0)
    batches = [select_batch("alfa_mix", view, 40, np.random.default_rng(seed)) for seed in (0, 1)]
    n_flipping = int(batches[0].reasons["flips"].sum())
    assert 0 < n_flipping < 40
    assert batches[0].sample_ids[:n_flipping].tolist() == batches[1].sample_ids[:n_flipping].tolist()
    assert batches[0].sample_ids[n_flipping:].tolist() != batches[1].sample_ids[n_flipping:].tolist()


def test_k_means_takes_one_of_every_cluster_and_the_first_of_equals():
    centers_KD = np.eye(6)
    points_ND = np.repeat(centers_KD, 5, axis=0) + 0.01 * rng().normal(size=(30, 6))
    points_ND /= np.linalg.norm(points_ND, axis=1, keepdims=True)
    rows = cluster_representatives(points_ND, 6, rng())
    assert (rows // 5).tolist() == list(range(6))
    for cluster, row in enumerate(rows):
        members = points_ND[5 * cluster : 5 * cluster + 5]
        assert row % 5 == np.linalg.norm(members - members.mean(axis=0), axis=1).argmin()
    pairs = np.repeat(np.eye(3), 2, axis=0) + np.tile([[0.1, -0.1, 0.0], [-0.1, 0.1, 0.0]], (3, 1))
    assert cluster_representatives(np.eye(3)[[0, 0, 1, 1, 2, 2]], 3, rng()).tolist() == [0, 2, 4]
    assert len(cluster_representatives(pairs, 3, rng())) == 3


def test_alfa_mix_on_a_part_of_what_flips_still_gives_a_whole_batch():
    view, *_ = linear_view(n=120)
    for most in (1, 8, 20):
        assert len(select_batch("alfa_mix", view, 8, rng(), {"max_clustered": most})) == 8
    with pytest.raises(UserError, match="max_clustered"):
        select_batch("alfa_mix", view, 8, rng(), {"max_clustered": 0})

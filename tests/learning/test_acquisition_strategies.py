"""What each strategy asks for, on pools small enough to check by hand or by formula."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chisquare, entropy

from rlmba_pipelines.learning.acquisition import select_batch
from rlmba_pipelines.learning.acquisition.badge import gradient_embedding
from rlmba_pipelines.learning.acquisition.coverage import raw_rows
from rlmba_pipelines.learning.acquisition.herding import balanced_rows, rarity_factor, utility_of
from rlmba_pipelines.learning.selection.kernels import Kernel, bandwidth_of
from rlmba_pipelines.learning.testing import make_view, plain_herding, plain_k_center, plain_kmeans_pp
from rlmba_pipelines.learning.types import Action


def balanced_embedding(view):
    return balanced_rows(view)[np.arange(len(view.sample_ids))]


def raw_embedding(view):
    return raw_rows(view)[np.arange(len(view.sample_ids))]


def rng():
    return np.random.default_rng(0)


def believing(view, probabilities_NC):
    return replace(view, predictions=replace(view.predictions, probabilities_NC=np.array(probabilities_NC)))


def test_margin_asks_between_two_classes_and_entropy_between_all():
    view = believing(make_view(3, 0, n_classes=3), [[0.5, 0.49, 0.01], [0.4, 0.3, 0.3], [0.9, 0.05, 0.05]])
    margin = select_batch("margin", view, 3, rng())
    assert margin.sample_ids.tolist() == ["s000000", "s000001", "s000002"]
    assert_allclose(margin.reasons["margin"], [0.99, 0.9, 0.15])
    by_entropy = select_batch("entropy", view, 3, rng())
    assert by_entropy.sample_ids.tolist() == ["s000001", "s000000", "s000002"]
    assert_allclose(by_entropy.utility_Q, entropy([[0.4, 0.3, 0.3], [0.5, 0.49, 0.01], [0.9, 0.05, 0.05]], axis=1))


def test_random_takes_every_candidate_equally_often():
    view, generator = make_view(12, 4), rng()
    batches = [select_batch("random", view, 3, generator).sample_ids for _ in range(4000)]
    for picks in ([b[0] for b in batches], np.concatenate(batches)):
        _, count = np.unique(picks, return_counts=True)
        assert len(count) == 8
        assert chisquare(count).pvalue > 0.01
    assert select_batch("random", view, 3, generator).reasons == {}


def test_core_set_is_k_center_on_the_fused_embedding():
    view = make_view(50, 6)
    batch = select_batch("core_set", view, 12, rng())
    assert batch.sample_ids.tolist() == plain_k_center(view, view.predictions.embedding_ND, 12)
    assert set(batch.reasons) == {"distance"}


def test_badge_is_k_means_pp_on_gradients_at_the_predicted_class():
    view = make_view(40, 6)
    p_NC, z_ND = view.predictions.probabilities_NC, view.predictions.embedding_ND
    residual_NC = p_NC - np.eye(4)[p_NC.argmax(axis=1)]
    gradient_NG = np.einsum("nc,nd->ncd", residual_NC, z_ND).reshape(40, -1)
    assert_allclose(gradient_embedding(view.predictions).squared_norm_N, np.square(gradient_NG).sum(axis=1), rtol=1e-6)
    batch = select_batch("badge", view, 10, rng(), {"mode": "exact_stream"})
    assert batch.sample_ids.tolist() == plain_kmeans_pp(view, gradient_NG, 10, rng())
    rows = [int(i[1:]) for i in batch.sample_ids]
    assert_allclose(batch.reasons["gradient_norm"], np.linalg.norm(gradient_NG[rows], axis=1), rtol=1e-6)


@pytest.mark.parametrize(("missing", "rarity"), [(0.0, 0.0), (0.4, 0.0), (0.4, 0.7)])
def test_herding_is_greedy_coverage_of_doubt_by_the_kernels_of_the_action(missing, rarity):
    view = make_view(60, 12, modalities=("image", "text", "audio"), missing=missing, seed=3)
    shape = {"fused_kernel": 0.2, "balanced_kernel": 0.5, "raw_kernel": 0.3, "bandwidth_quantile": 0.4}
    view = replace(view, action=Action(0.3, exponent=1.5, rarity=rarity, **shape))
    present_NM, p = view.present_NM, view.predictions

    def gap(probabilities):
        ordered = np.sort(probabilities, axis=-1)
        return ordered[..., -1] - ordered[..., -2]

    weight_NM = present_NM * view.weights_M / (present_NM * view.weights_M).sum(axis=1, keepdims=True)
    margin_NM = (1 - gap(p.unimodal_NMC)) * present_NM
    doubt_N = 0.3 * (1 - gap(p.probabilities_NC)) + 0.7 * (weight_NM * margin_NM).sum(axis=1)
    embeddings = [
        (0.2, p.embedding_ND / np.linalg.norm(p.embedding_ND, axis=1, keepdims=True)),
        (0.5, balanced_embedding(view)),
        (0.3, raw_embedding(view)),
    ]
    kernels = [Kernel(w, e, bandwidth_of(e.astype(np.float32), view, 0.4)) for w, e in embeddings]
    share_C = p.probabilities_NC[~view.labeled_N].mean(axis=0)
    rarity_N = sum(p.probabilities_NC[:, c] / (4 * share_C[c]) ** rarity for c in range(4))
    picks, gains = plain_herding(view, doubt_N**1.5 * rarity_N, kernels, 15)

    batch = select_batch("herding", view, 15, rng())
    assert batch.sample_ids.tolist() == picks
    assert_allclose(batch.reasons["coverage_gain"], gains, atol=1e-5)
    rows = [int(i[1:]) for i in picks]
    assert_allclose(batch.utility_Q, doubt_N[rows] ** 1.5 * rarity_N[rows])
    if rarity:
        assert_allclose(batch.reasons["rarity"], rarity_N[rows] ** (1 / rarity))
    assert_allclose(batch.reasons["margin_text"], margin_NM[rows, 1])
    assert_allclose(batch.reasons["weight_audio"], weight_NM[rows, 2])
    assert set(batch.reasons) == {"margin", "coverage_gain"} | ({"rarity"} if rarity else set()) | {
        f"{column}_{m}" for column in ("margin", "weight") for m in view.modalities
    }


def test_rarity_of_power_one_makes_every_class_count_alike_and_none_every_sample():
    y_N = np.repeat([0, 1, 2], [60, 30, 10])
    sure_NC, everyone = np.eye(3)[y_N], np.arange(100)
    worth_C = [rarity_factor(sure_NC, everyone, 1.0)[y_N == c].sum() for c in range(3)]
    assert_allclose(worth_C, 100 / 3)
    assert_allclose(rarity_factor(sure_NC, everyone, 0.0), 1.0)
    labeled_too = np.vstack([np.pad(sure_NC, ((0, 0), (0, 1))), np.eye(4)[[3]]])  # a class that no candidate looks like
    assert_allclose(rarity_factor(labeled_too, everyone, 1.0)[-1], 1 / (4 * 0.01), err_msg="counts as if one did")


def test_how_rare_a_sample_is_told_to_be_does_not_hang_on_the_power():
    view = make_view(60, 12)
    sure_NC = np.eye(4)[np.repeat([0, 1, 2, 3], [30, 15, 9, 6])]
    view = replace(view, predictions=replace(view.predictions, probabilities_NC=sure_NC))
    told = [utility_of(replace(view, action=Action(rarity=power)))[1]["rarity"] for power in (0.1, 0.25, 1.0)]
    assert_allclose(told[0], told[2])
    assert_allclose(told[1], told[2])


def test_rarity_changes_no_pick_where_all_classes_are_alike_frequent():
    view = make_view(60, 12)
    turned_NC = view.predictions.probabilities_NC.copy()
    for n, row in enumerate(view.candidate_rows):  # four at a time have one distribution, turned by a class each
        turned_NC[row] = np.roll(turned_NC[view.candidate_rows[n - n % 4]], n % 4)
    view = replace(view, predictions=replace(view.predictions, probabilities_NC=turned_NC))
    picks = [
        select_batch("herding", replace(view, action=Action(rarity=power)), 15, rng()).sample_ids.tolist()
        for power in (0.0, 1.0)
    ]
    assert picks[0] == picks[1]


def test_the_order_of_modalities_does_not_matter_to_herding():
    view = make_view(60, 12, modalities=("image", "text", "audio"), missing=0.3)
    p = view.predictions
    turned = replace(
        view,
        modalities=view.modalities[::-1],
        present_NM=view.present_NM[:, ::-1],
        weights_M=view.weights_M[::-1],
        features=dict(reversed(view.features.items())),
        predictions=replace(
            p,
            modalities=p.modalities[::-1],
            present_NM=p.present_NM[:, ::-1],
            unimodal_NMC=p.unimodal_NMC[:, ::-1],
            modality_embedding_NMD=p.modality_embedding_NMD[:, ::-1],
        ),
    )
    answers = [select_batch("herding", v, 15, rng()).sample_ids.tolist() for v in (view, turned)]
    assert answers[0] == answers[1]


def test_a_modality_without_weight_has_no_say_in_herding():
    view = replace(make_view(60, 12), weights_M=np.array([1.0, 0.0]), action=Action(0.0, 0.0, 1.0, 0.0))
    p = view.predictions
    noise = np.random.default_rng(9)
    deaf = replace(
        p,
        unimodal_NMC=np.stack([p.unimodal_NMC[:, 0], noise.dirichlet(np.ones(4), size=60)], axis=1),
        modality_embedding_NMD=np.stack([p.modality_embedding_NMD[:, 0], noise.normal(size=(60, 5))], axis=1),
    )
    views = (view, replace(view, predictions=deaf))
    answers = [select_batch("herding", v, 15, rng()).sample_ids.tolist() for v in views]
    assert answers[0] == answers[1]


def test_coverage_takes_one_of_every_cluster_before_any_second():
    view = make_view(40, 0, modalities=("image",))
    cluster_N = np.arange(40) % 8
    directions = np.eye(8)[cluster_N] + 0.02 * np.random.default_rng(0).normal(size=(40, 8))
    batch = select_batch("coverage", replace(view, features={"image": directions.astype(np.float32)}), 8, rng())
    assert sorted(cluster_N[[int(i[1:]) for i in batch.sample_ids]]) == list(range(8))


def test_raw_features_weigh_every_modality_alike_whatever_its_scale():
    view = make_view(20, 4, modalities=("image", "text"))
    loud = replace(view, features={"image": view.features["image"] * 1000, "text": view.features["text"]})
    assert_allclose(raw_embedding(view), raw_embedding(loud), atol=1e-6)
    assert_allclose(np.square(raw_embedding(view)).sum(axis=1), 2.0, rtol=1e-5)

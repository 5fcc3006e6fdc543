"""The learner: what it learns, what it refuses, and that nothing but its inputs decides its numbers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from rlmba_pipelines.config import FusionConfig
from rlmba_pipelines.learning.types import Features, Labels, UserError
from rlmba_pipelines.models.adamw import AdamW
from rlmba_pipelines.models.fit import fit_fusion
from rlmba_pipelines.models.fusion import FusionNetwork
from rlmba_pipelines.models.predict import predict_fusion, subset_predictor
from rlmba_pipelines.models.state import FusionState, torch_threads

SMALL = FusionConfig(width=16, min_steps=40, dropout=0.2, predict_batch_size=64, device="cpu")


def make_task(n: int = 240, *, n_classes: int = 4, seed: int = 0, missing: float = 0.0) -> tuple[Features, Labels]:
    """Classes that ``clear`` tells well, ``dim`` badly and ``noise`` not at all."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    centers = {"clear": 2.0, "dim": 0.5, "noise": 0.0}
    blocks = {
        name: (scale * rng.normal(size=(n_classes, 12))[y] + rng.normal(size=(n, 12))).astype(np.float32)
        for name, scale in centers.items()
    }
    present_NM = rng.random((n, 3)) >= missing
    present_NM[:, 0] |= ~present_NM.any(axis=1)
    sample_ids = np.array([f"s{i:04d}" for i in range(n)])
    return Features(sample_ids, blocks, present_NM), Labels(sample_ids, y, tuple("abcdefgh"[:n_classes]))


def first(labels: Labels, n: int) -> Labels:
    return Labels(labels.sample_ids[:n], labels.y[:n], labels.classes)


def rest(labels: Labels, n: int) -> Labels:
    return Labels(labels.sample_ids[n:], labels.y[n:], labels.classes)


@pytest.mark.parametrize("fusion", ["concat", "convex", "gated"])
@pytest.mark.parametrize("loss", ["cross_entropy", "edl"])
def test_every_fusion_and_loss_learns_unseen_samples(fusion, loss):
    features, labels = make_task()
    config = SMALL.model_copy(update={"fusion": fusion, "loss": loss})
    state = fit_fusion(features, first(labels, 120), config, seed=0)
    held = rest(labels, 120)
    p_NC = predict_fusion(state, features.take(held.sample_ids), config).probabilities_NC
    assert (p_NC.argmax(axis=1) == held.y).mean() > 0.85


def test_probabilities_are_distributions_and_the_mean_of_their_draws():
    features, labels = make_task(missing=0.4)
    predictions = predict_fusion(fit_fusion(features, labels, SMALL, seed=0), features, SMALL)
    for probabilities in (
        predictions.probabilities_NC, predictions.unimodal_NMC, predictions.draws_NKC, predictions.unimodal_draws_NMKC
    ):
        assert probabilities.dtype == np.float64
        assert_allclose(probabilities.sum(-1), 1, atol=1e-12)
    assert_allclose(predictions.draws_NKC.mean(1), predictions.probabilities_NC, atol=1e-12)
    assert_allclose(predictions.unimodal_draws_NMKC.mean(2), predictions.unimodal_NMC, atol=1e-12)
    assert predictions.embedding_ND.dtype == predictions.modality_embedding_NMD.dtype == np.float32
    assert predictions.embedding_ND.shape == (240, 3 * SMALL.width)
    assert predictions.modality_embedding_NMD.shape == (240, 3, SMALL.width)


def test_the_same_seed_gives_the_same_bits_in_whatever_order_labels_come():
    features, labels = make_task()
    order = np.random.default_rng(1).permutation(len(labels))
    shuffled = Labels(labels.sample_ids[order], labels.y[order], labels.classes)
    one, other = (fit_fusion(features, given, SMALL, seed=3) for given in (labels, shuffled))
    assert one.log == other.log
    for name, tensor in one.tensors.items():
        assert_array_equal(tensor, other.tensors[name])
    assert fit_fusion(features, labels, SMALL, seed=4).log != one.log


def test_neither_the_fit_nor_the_prediction_touches_the_global_generator_or_thread_count():
    features, labels = make_task()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    before = torch.get_num_threads()
    predict_fusion(fit_fusion(features, labels, SMALL, seed=0), features, SMALL)
    assert torch.get_num_threads() == before
    assert_array_equal(torch.rand(3), expected)
    with pytest.raises(ZeroDivisionError), torch_threads(2):
        _ = 1 / 0
    assert torch.get_num_threads() == before


def test_a_prediction_depends_on_its_own_sample_only():
    features, labels = make_task(n=200)
    config = FusionConfig(min_steps=20, device="cpu")
    state = fit_fusion(features, labels, config, seed=0)
    everyone = predict_fusion(state, features, config)
    rng = np.random.default_rng(0)
    for size in (1, 7, 64, 199):
        some_ids = rng.permutation(features.sample_ids)[:size]
        some, same = predict_fusion(state, features.take(some_ids), config), everyone.take(some_ids)
        assert_array_equal(some.probabilities_NC, same.probabilities_NC)
        assert_array_equal(some.unimodal_NMC, same.unimodal_NMC)
        assert_array_equal(some.draws_NKC, same.draws_NKC)
        assert_array_equal(some.unimodal_draws_NMKC, same.unimodal_draws_NMKC)
        assert_array_equal(some.embedding_ND, same.embedding_ND)


def test_what_stands_in_the_rows_of_an_absent_modality_changes_nothing():
    features, labels = make_task(missing=0.4)
    garbage = {name: block.copy() for name, block in features.blocks.items()}
    for column, block in enumerate(garbage.values()):
        block[~features.present_NM[:, column]] = np.nan
    other = Features(features.sample_ids, garbage, features.present_NM)
    one_state, other_state = (fit_fusion(given, labels, SMALL, seed=0) for given in (features, other))
    one, two = predict_fusion(one_state, features, SMALL), predict_fusion(other_state, other, SMALL)
    assert_array_equal(one.draws_NKC, two.draws_NKC)
    absent = ~features.present_NM
    assert_allclose(one.unimodal_NMC[absent], 0.25, atol=1e-15)
    assert (one.modality_embedding_NMD[absent] == 0).all()


def test_only_is_the_same_as_not_having_the_other_modalities():
    features, labels = make_task()
    state = fit_fusion(features, labels, SMALL, seed=0)
    by_mask = predict_fusion(state, features, SMALL, only=["clear", "dim"])
    by_absence = predict_fusion(state, features.only(["clear", "dim"]), SMALL)
    assert_array_equal(by_mask.probabilities_NC, by_absence.probabilities_NC)
    assert_array_equal(by_mask.present_NM, by_absence.present_NM)


def test_with_nothing_left_to_see_the_class_frequencies_are_predicted():
    features, labels = make_task()
    some = Labels(labels.sample_ids[:6], labels.y[:6], labels.classes)
    state = fit_fusion(features, some, SMALL, seed=0)
    blind = predict_fusion(state, features, SMALL, only=frozenset())
    assert_allclose(blind.probabilities_NC, np.tile([2 / 6, 2 / 6, 1 / 6, 1 / 6], (len(features), 1)), atol=1e-15)


@pytest.mark.parametrize("fusion", ["concat", "convex", "gated"])
def test_a_modality_of_weight_zero_has_no_say_in_the_fused_prediction(fusion):
    features, labels = make_task()
    config = SMALL.model_copy(update={"fusion": fusion})
    state = fit_fusion(features, labels, config, seed=0, weights_M=np.array([0.5, 0.5, 0.0]))
    changed = Features(features.sample_ids, {**features.blocks, "noise": features.blocks["clear"]}, features.present_NM)
    one, other = (predict_fusion(state, given, config) for given in (features, changed))
    assert_array_equal(one.probabilities_NC, other.probabilities_NC)


def test_the_informative_modality_has_the_better_head():
    features, labels = make_task(n=400)
    state = fit_fusion(features, first(labels, 120), SMALL, seed=0)
    held = rest(labels, 120)
    unimodal_NMC = predict_fusion(state, features.take(held.sample_ids), SMALL).unimodal_NMC
    clear, dim, noise = [(unimodal_NMC[:, m].argmax(1) == held.y).mean() for m in range(3)]
    assert clear > dim > noise
    assert noise < 0.4


def test_the_training_loss_falls_and_the_log_knows_no_clock():
    features, labels = make_task()
    log = fit_fusion(features, labels, SMALL, seed=0).log
    assert set(log) == {"train_loss", "gradient_norm"}
    assert log["train_loss"][-1] < 0.5 * log["train_loss"][0]
    assert log["gradient_norm"] > 0


def test_a_packed_model_says_the_same_after_a_trip_through_json():
    features, labels = make_task()
    state = fit_fusion(features, labels, SMALL, seed=0)
    arrays, facts = state.pack()
    again = FusionState.unpack((arrays, json.loads(json.dumps(facts, sort_keys=True))))
    assert list(again.dims) == list(state.dims)
    assert_array_equal(
        predict_fusion(again, features, SMALL).draws_NKC, predict_fusion(state, features, SMALL).draws_NKC
    )


def test_evidential_heads_state_nonnegative_evidence_whose_mean_is_the_prediction():
    features, labels = make_task(missing=0.3)
    config = SMALL.model_copy(update={"loss": "edl"})
    predictions = predict_fusion(fit_fusion(features, labels, config, seed=0), features, config)
    evidence_NMC = predictions.evidence_NMC
    assert (evidence_NMC >= 0).all()
    assert (evidence_NMC[~features.present_NM] == 0).all()
    alpha_NMC = evidence_NMC + 1
    assert_allclose(predictions.unimodal_NMC, alpha_NMC / alpha_NMC.sum(-1, keepdims=True), atol=1e-12)
    assert predict_fusion(fit_fusion(features, labels, SMALL, seed=0), features, SMALL).evidence_NMC is None


def test_classes_without_a_label_are_allowed_and_get_little_probability():
    features, labels = make_task(n_classes=8)
    few = labels.y < 3
    state = fit_fusion(features, Labels(labels.sample_ids[few], labels.y[few], labels.classes), SMALL, seed=0)
    p_NC = predict_fusion(state, features, SMALL).probabilities_NC
    assert p_NC[:, 3:].sum(axis=1).mean() < 0.1


def test_labels_of_one_class_are_a_start_and_no_labels_are_none():
    features, labels = make_task()
    one = labels.y == 0
    state = fit_fusion(features, Labels(labels.sample_ids[one], labels.y[one], labels.classes), SMALL, seed=0)
    learned = predict_fusion(state, features.take(labels.sample_ids[one]), SMALL)
    assert (learned.probabilities_NC[:, 0] > 0.9).mean() > 0.9
    with pytest.raises(UserError, match="no label to train on"):
        fit_fusion(features, Labels(labels.sample_ids[:0], labels.y[:0], labels.classes), SMALL, seed=0)


def test_a_value_that_is_not_finite_is_refused_by_the_name_of_its_sample():
    features, labels = make_task()
    features.blocks["dim"][7, 0] = np.inf
    with pytest.raises(ValueError, match=r"dim.*s0007"):
        fit_fusion(features, labels, SMALL, seed=0)
    state = fit_fusion(features, first(labels, 6), SMALL, seed=0)
    with pytest.raises(ValueError, match=r"dim.*s0007"):
        predict_fusion(state, features, SMALL)


def test_a_loss_that_is_not_finite_is_refused_by_the_names_of_samples():
    features, labels = make_task()
    with pytest.raises(ValueError, match=r"loss is not finite.*s0\d\d\d.*learning_rate"):
        fit_fusion(features, labels, SMALL.model_copy(update={"learning_rate": 1e30}), seed=0)


def test_whichever_weight_is_not_finite_nothing_is_ranked_and_samples_are_named():
    features, labels = make_task()
    state = fit_fusion(features, first(labels, 6), SMALL, seed=0)
    weights = set(state.tensors) - {"weights_M", "class_frequency_C"}
    assert len(weights) >= 4
    for name in sorted(weights):
        spoiled = replace(state, tensors={**state.tensors, name: np.full_like(state.tensors[name], np.nan)})
        with pytest.raises(UserError, match=r"Predictions.* not finite .*s0\d\d\d"):
            predict_fusion(spoiled, features, SMALL)


def test_other_modalities_than_those_of_the_fit_are_refused():
    features, labels = make_task()
    state = fit_fusion(features, labels, SMALL, seed=0)
    renamed = Features(features.sample_ids, {f"{m}2": b for m, b in features.blocks.items()}, features.present_NM)
    with pytest.raises(ValueError, match=r"clear2"):
        predict_fusion(state, renamed, SMALL)


def test_samples_that_are_all_alike_get_the_class_frequencies():
    n = 60
    ids = np.array([f"s{i:02d}" for i in range(n)])
    features = Features(ids, {"image": np.ones((n, 6), dtype=np.float32)}, np.ones((n, 1), dtype=bool))
    labels = Labels(ids, (np.arange(n) % 3 == 0).astype(np.int64), ("no", "yes"))
    p_NC = predict_fusion(fit_fusion(features, labels, SMALL, seed=0), features, SMALL).probabilities_NC
    assert_allclose(p_NC[:, 1], 1 / 3, atol=0.1)


def test_an_ensemble_of_one_is_a_plain_network():
    features, labels = make_task()
    config = SMALL.model_copy(update={"n_heads": 1})
    predictions = predict_fusion(fit_fusion(features, labels, config, seed=0), features, config)
    assert predictions.draws_NKC.shape[1] == 1
    assert_array_equal(predictions.draws_NKC[:, 0], predictions.probabilities_NC)


@pytest.mark.parametrize("fusion", ["convex", "gated"])
def test_convex_weights_are_renormalized_over_what_is_present(fusion):
    network = FusionNetwork(
        {"a": 2, "b": 2}, n_classes=2, width=2, n_heads=1, fusion=fusion, activation="identity",
        weights_M=torch.tensor([0.75, 0.25]),
    )
    features = torch.tensor([[[[4.0, 0.0]] * 2], [[[0.0, 8.0]] * 2]])  # float32[M, J, B, W]
    present = torch.tensor([[[1.0, 1.0]], [[1.0, 0.0]]])
    fused = network.fuse(features * present[..., None], present)
    assert_allclose(fused.detach(), [[[3.0, 2.0], [4.0, 0.0]]], rtol=1e-6)


@pytest.mark.parametrize("fusion", ["convex", "gated"])
def test_what_has_no_weight_counts_where_it_is_all_that_a_sample_has(fusion):
    network = FusionNetwork(
        {"a": 2, "b": 2}, n_classes=2, width=2, n_heads=1, fusion=fusion, activation="identity",
        weights_M=torch.tensor([1.0, 0.0]),
    )
    features = torch.tensor([[[[4.0, 0.0]] * 3], [[[0.0, 8.0]] * 3]])  # float32[M, J, B, W]
    present = torch.tensor([[[1.0, 0.0, 0.0]], [[1.0, 1.0, 0.0]]])
    fused = network.fuse(features * present[..., None], present)
    assert_allclose(fused.detach(), [[[4.0, 0.0], [0.0, 8.0], [0.0, 0.0]]], rtol=1e-6, atol=1e-6)


def test_adamw_takes_the_steps_of_torch():
    start = torch.linspace(-1, 1, 12).reshape(3, 4)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    one = AdamW([ours], weight_decay=0.1)
    other = torch.optim.AdamW([theirs], lr=0.03, weight_decay=0.1, betas=(0.9, 0.99))
    for _ in range(20):
        (ours**3).sin().sum().backward()
        (theirs**3).sin().sum().backward()
        one.step(0.03)
        other.step()
        other.zero_grad()
    assert_allclose(ours.detach(), theirs.detach(), atol=1e-6)


@pytest.mark.parametrize(
    ("fusion", "loss"), [("concat", "cross_entropy"), ("gated", "cross_entropy"), ("convex", "edl")]
)
def test_the_short_way_to_a_subset_gives_the_bits_of_the_long_one(fusion, loss):
    features, labels = make_task(missing=0.2)
    config = SMALL.model_copy(update={"fusion": fusion, "loss": loss, "predict_batch_size": 100})
    state = fit_fusion(features, labels, config, seed=1)
    names = state.modalities
    for subset in (frozenset(), frozenset(names[:1]), frozenset(names[1:]), frozenset(names)):
        long = predict_fusion(state, features, config, only=subset).probabilities_NC
        assert_array_equal(subset_predictor(state, features, config)(subset), long)

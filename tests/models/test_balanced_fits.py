"""Whole fits with the options of training: correct evidence, balanced gradients, batches in parts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from rlmba_pipelines.config import FusionConfig
from rlmba_pipelines.learning.types import Features, Labels
from rlmba_pipelines.models.fit import fit_fusion
from rlmba_pipelines.models.predict import predict_fusion

SMALL = FusionConfig(width=16, min_steps=40, dropout=0.2, predict_batch_size=64, device="cpu")


def task(n: int = 160, seed: int = 0, scales: tuple[float, ...] = (2.0, 0.5, 0.0)) -> tuple[Features, Labels]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 4
    blocks = {
        f"m{i}": (scale * rng.normal(size=(4, 12))[y] + rng.normal(size=(n, 12))).astype(np.float32)
        for i, scale in enumerate(scales)
    }
    present_NM = rng.random((n, len(scales))) > 0.2
    present_NM[:, 0] = True
    ids = np.array([f"s{i:03d}" for i in range(n)])
    return Features(ids, blocks, present_NM), Labels(ids, y, tuple("abcd"))


def test_a_fit_with_correct_evidence_differs_and_zero_weight_changes_no_bit():
    features, labels = task()
    config = SMALL.model_copy(update={"loss": "edl"})
    plain, zero, some = (
        fit_fusion(features, labels, config.model_copy(update={"correct_evidence": w}), seed=0).tensors
        for w in (0.0, 0.0, 0.5)
    )
    assert_array_equal(plain["head_weight"], zero["head_weight"])
    assert not np.array_equal(plain["head_weight"], some["head_weight"])


@pytest.mark.parametrize("method", ["ogm_ge", "mmpareto"])
@pytest.mark.parametrize("fusion", ["concat", "convex", "gated"])
def test_balanced_fits_learn_and_the_same_seed_gives_the_same_bits(method, fusion):
    features, labels = task(240)
    config = SMALL.model_copy(update={"gradient": method, "fusion": fusion})
    train = Labels(labels.sample_ids[:120], labels.y[:120], labels.classes)
    one, two = (fit_fusion(features, train, config, seed=0) for _ in range(2))
    for name, tensor in one.tensors.items():
        assert_array_equal(tensor, two.tensors[name])
    plain = fit_fusion(features, train, config.model_copy(update={"gradient": "none"}), seed=0)
    assert not np.array_equal(plain.tensors["trunks.0"], one.tensors["trunks.0"])
    p_NC = predict_fusion(one, features.take(labels.sample_ids[120:]), config).probabilities_NC
    assert (p_NC.argmax(axis=1) == labels.y[120:]).mean() > 0.8


def test_ogm_ge_narrows_the_lead_of_the_leading_modality():
    features, labels = task(200, scales=(2.5, 1.0))
    gaps = []
    for method in ("none", "ogm_ge"):
        config = SMALL.model_copy(update={"gradient": method, "ogm_alpha": 1.0, "min_steps": 12, "dropout": 0.0})
        unimodal = predict_fusion(fit_fusion(features, labels, config, seed=0), features, config).unimodal_NMC
        both = features.present_NM.all(axis=1)
        true = unimodal[both][:, :, :][np.arange(both.sum()), :, labels.y[both]]
        gaps.append(float((true[:, 0] - true[:, 1]).mean()))
    assert gaps[1] < gaps[0]


@pytest.mark.parametrize("gradient", ["none", "mmpareto"])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(gradient):
    features, labels = task()
    config = SMALL.model_copy(update={"dropout": 0.0, "modality_dropout": 0.0, "gradient": gradient, "min_steps": 5})
    config = config.model_copy(update={"epochs": 1})
    whole, parts = (
        fit_fusion(features, labels, config.model_copy(update={"accumulate": n}), seed=0) for n in (1, 3)
    )
    assert_allclose(parts.log["train_loss"], whole.log["train_loss"], rtol=1e-4)
    assert_allclose(parts.tensors["trunks.0"], whole.tensors["trunks.0"], atol=2e-3)

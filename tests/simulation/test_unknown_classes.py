"""Held-out samples of classes that the model has not met: they count, as wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlmba_pipelines.config import FusionConfig
from rlmba_pipelines.learning.types import Features, Labels, RoundState
from rlmba_pipelines.models.fit import fit_fusion
from rlmba_pipelines.models.predict import predict_fusion
from rlmba_pipelines.simulation.measurement import measure_on, measure_validation

FUSION = FusionConfig(width=16, min_steps=30, early_stopping=True, predict_batch_size=64, device="cpu")
IDS = np.array([f"s{i:02d}" for i in range(60)])
NAMES = np.array(["a", "b", "c"])[np.arange(60) % 3]
KNOWN = NAMES[:30] != "c"
HELD = pd.DataFrame({"sample_id": IDS[30:], "label": NAMES[30:]})


def taught() -> tuple[Features, Labels]:
    """Features of three classes, and labels of two of them."""
    rng = np.random.default_rng(0)
    means = {"a": 0.0, "b": 1.0, "c": 2.0}
    blocks = {
        name: rng.normal([[means[one]] for one in NAMES], 1, size=(60, 8)).astype(np.float32)
        for name in ("image", "text")
    }
    names = NAMES[:30][KNOWN]
    return Features(IDS, blocks, np.ones((60, 2), dtype=bool)), Labels(IDS[:30][KNOWN], 1 * (names == "b"), ("a", "b"))


def test_samples_of_a_class_that_nobody_has_named_count_as_wrong():
    features, labels = taught()
    model = fit_fusion(features, labels, FUSION, seed=0)
    found = measure_on(model, features, HELD, FUSION)
    guess = np.array(["a", "b"])[predict_fusion(model, features.take(IDS[30:]), FUSION).probabilities_NC.argmax(axis=1)]
    right = guess == NAMES[30:]
    assert right.any()
    assert found["accuracy"] == pytest.approx(right.mean())
    assert found["macro_accuracy"] == pytest.approx(np.mean([right[NAMES[30:] == one].mean() for one in "abc"]))
    assert (found["n"], found["n_unknown"], found["n_classes"]) == (30, 10, 2)
    known = measure_on(model, features, HELD[HELD["label"] != "c"], FUSION)
    assert (known["n"], known["n_unknown"]) == (20, 0)
    assert found["accuracy"] == pytest.approx(known["accuracy"] * 2 / 3)


def test_modalities_fitted_alone_are_measured_on_the_same_samples():
    features, labels = taught()
    model = fit_fusion(features, labels, FUSION, seed=0)
    bought = pd.DataFrame({"sample_id": labels.sample_ids, "label": NAMES[:30][KNOWN], "purpose": "training"})
    found = measure_validation(model, features, HELD, bought, FUSION, alone=RoundState(1, 0, np.ones(2) / 2, {}))
    assert max(found["alone_image"], found["alone_text"], found["accuracy_image"]) <= 2 / 3
    assert found["under_use_image"] == pytest.approx(found["alone_image"] - found["accuracy_image"])

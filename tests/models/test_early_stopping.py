"""Early stopping: which weights are kept, on whose labels, and that nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from conftest import SMALL as TWO_ROUNDS
from conftest import Project
from rlmba_pipelines.config import FusionConfig, PolicyConfig
from rlmba_pipelines.learning.types import Features, Labels
from rlmba_pipelines.models.fit import fit_fusion
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.replay import task_of
from rlmba_pipelines.simulation import simulate, steps
from rlmba_pipelines.simulation.measurement import measure_on, measure_validation

PLAIN = FusionConfig(width=16, min_steps=60, dropout=0.0, predict_batch_size=64, device="cpu")
STOPPING = PLAIN.model_copy(update={"early_stopping": True})
IDS = np.array([f"s{i:03d}" for i in range(160)])
CLASSES = ("a", "b", "c", "d")


def task() -> tuple[Features, Labels, Labels]:
    """Few noisy labels, so that training for long makes predictions overconfident."""
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=len(IDS))
    blocks = {
        name: (0.6 * rng.normal(size=(4, 12))[y] + rng.normal(size=(len(IDS), 12))).astype(np.float32)
        for name in ("image", "text")
    }
    features = Features(IDS, blocks, np.ones((len(IDS), 2), dtype=bool))
    return features, Labels(IDS[:40], y[:40], CLASSES), Labels(IDS[40:], y[40:], CLASSES)


def frame(labels: Labels, purpose: str) -> pd.DataFrame:
    names = [labels.classes[c] for c in labels.y]
    return pd.DataFrame({"sample_id": labels.sample_ids, "label": names, "purpose": purpose})


def test_the_weights_kept_are_those_with_the_least_nll_that_is_measured_later():
    features, train, held = task()
    state = fit_fusion(features, train, STOPPING, seed=0, validation=held)
    nlls = state.log["validation_nll"]
    measured = measure_validation(state, features, frame(held, "validation"), frame(train, "training"), STOPPING)
    assert measured["nll"] == min(nlls)
    last = fit_fusion(features, train, PLAIN, seed=0)
    last_measured = measure_on(last, features, frame(held, "validation"), PLAIN)
    assert last_measured["nll"] == nlls[-1]
    assert measured["nll"] < last_measured["nll"]  # this training goes on for too long
    assert state.log["kept_step"] == 6 * (1 + int(np.argmin(nlls)))


def test_looking_changes_nothing_of_the_way():
    features, train, held = task()
    plain, stopping = fit_fusion(features, train, PLAIN, seed=0), fit_fusion(
        features, train, STOPPING, seed=0, validation=held
    )
    assert stopping.log["train_loss"] == plain.log["train_loss"]
    assert stopping.log["gradient_norm"] == plain.log["gradient_norm"]


@pytest.mark.parametrize("gradient", ["none", "ogm_ge"])
def test_the_same_seed_keeps_the_same_bits(gradient):
    features, train, held = task()
    config = STOPPING.model_copy(update={"gradient": gradient})
    one, two = (fit_fusion(features, train, config, seed=3, validation=held) for _ in range(2))
    for name, tensor in one.tensors.items():
        assert_array_equal(tensor, two.tensors[name])
    assert one.log == two.log


@pytest.mark.parametrize("nothing", [None, Labels(IDS[:0], np.zeros(0, dtype=np.int64), CLASSES)])
def test_without_validation_nothing_changes(nothing):
    features, train, _ = task()
    plain = fit_fusion(features, train, PLAIN, seed=0)
    stopping = fit_fusion(features, train, STOPPING, seed=0, validation=nothing)
    assert stopping.log == plain.log
    for name, tensor in plain.tensors.items():
        assert_array_equal(tensor, stopping.tensors[name])


def test_unless_asked_for_validation_is_not_looked_at():
    features, train, held = task()
    plain, with_held = (fit_fusion(features, train, PLAIN, seed=0, validation=v) for v in (None, held))
    assert with_held.log == plain.log
    assert_array_equal(plain.tensors["fused_weight"], with_held.tensors["fused_weight"])


def test_it_looks_at_the_split_and_without_one_at_the_slice_that_was_bought():
    features, train, held = task()
    state = steps.first_state(features.modalities, (), 0, PolicyConfig())
    bought = pd.concat([frame(train, "training"), frame(held, "validation")], ignore_index=True)
    split = frame(held, "validation")[["sample_id", "label"]]
    by_slice = steps.learn(features, bought, split[:0], CLASSES, state, STOPPING)
    by_split = steps.learn(features, frame(train, "training"), split, CLASSES, state, STOPPING)
    assert by_slice.log == by_split.log
    assert len(by_slice.log["validation_nll"]) == 10
    neither = steps.learn(features, frame(train, "training"), split[:0], CLASSES, state, STOPPING)
    assert "validation_nll" not in neither.log


def test_validation_labels_of_classes_not_met_yet_are_left_out():
    features, train, held = task()
    known = Labels(train.sample_ids[train.y < 3], train.y[train.y < 3], CLASSES[:3])
    state = steps.first_state(features.modalities, (), 0, PolicyConfig())
    split = frame(held, "validation")
    model = steps.learn(features, frame(known, "training"), split, CLASSES[:3], state, STOPPING)
    met = steps.learn(features, frame(known, "training"), split[split["label"] != "d"], CLASSES[:3], state, STOPPING)
    assert model.log == met.log


def test_fewer_labels_than_classes_and_one_step_are_enough():
    features, train, held = task()
    config = STOPPING.model_copy(update={"min_steps": 1, "epochs": 1})
    few = Labels(train.sample_ids[:2], train.y[:2], CLASSES)
    state = fit_fusion(features, few, config, seed=0, validation=held)
    assert state.log["kept_step"] == 1
    assert len(state.log["validation_nll"]) == 1


def test_memory_and_kedro_stop_at_the_same_step(project: Project, media: Callable[..., Path]) -> None:
    local = project.path / "conf/local/parameters.yml"
    local.write_text(
        local.read_text().replace("fusion: {", "fusion: {early_stopping: true, width: 16, predict_batch_size: 64, ")
    )
    manifest = media(60, ("image", "text"))
    options = ("--rounds", "1", *TWO_ROUNDS[2:])
    project.ok("rounds", "run", "--manifest", str(manifest), "--experiment", "a", *options)
    experiment = Experiment.of(project.path, "a")
    task, oracle = task_of(experiment)
    results = list(simulate(task, oracle.label))
    for stage, result in zip(("round_01", "final"), results[1:], strict=True):
        written = json.loads(experiment.path_of(stage, "training_log").read_text())
        assert result.model is not None
        assert written == result.model.log
        assert "validation_nll" in written

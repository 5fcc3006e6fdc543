"""Encoders that are trained with the fusion network: that labels reach them, and that nothing around them changes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from conftest import SMALL as TWO_ROUNDS
from conftest import Project
from rlmba_pipelines.config import EncodersConfig, FusionConfig
from rlmba_pipelines.encoders.containers import SAMPLE_RATE
from rlmba_pipelines.encoders.door import load_encoder
from rlmba_pipelines.encoders.grids import pixels, spectrum
from rlmba_pipelines.learning.types import Features, Labels, UserError
from rlmba_pipelines.models.finetune import EndToEndNetwork, tower_of
from rlmba_pipelines.models.fit import fit_fusion
from rlmba_pipelines.models.predict import predict_fusion
from rlmba_pipelines.models.state import FusionState
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.replay import task_of
from rlmba_pipelines.simulation import simulate

TUNED = FusionConfig(
    mode="finetune", width=16, n_heads=2, min_steps=60, dropout=0.1, predict_batch_size=64, device="cpu"
)
ENCODERS = EncodersConfig(audio_seconds=0.5)


def media_task(n: int = 96, seed: int = 0) -> tuple[Features, Labels]:
    """Classes that only where things are tells: a bright corner of a picture, a pitch, a word."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 4
    images, sounds, texts = [], [], []
    for c in y:
        picture = rng.integers(0, 90, (32, 32, 3)).astype(np.uint8)
        row, column = 16 * (c // 2), 16 * (c % 2)
        picture[row : row + 16, column : column + 16] += 110
        images.append(Image.fromarray(picture))
        time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
        sounds.append((np.sin(2 * np.pi * 300 * 2**c * time) + rng.normal(0, 0.3, len(time))).astype(np.float32))
        texts.append(f"{['fire', 'leaf', 'sky', 'stone'][c]} {rng.integers(100)}")
    items = {"image": images, "text": texts, "audio": sounds}
    blocks = {name: load_encoder("grid", name, ENCODERS).encode(found) for name, found in items.items()}
    present_NM = rng.random((n, 3)) > 0.15
    present_NM[:, 0] = True
    ids = np.array([f"s{i:03d}" for i in range(n)])
    return Features(ids, blocks, present_NM), Labels(ids, y, tuple("abcd"))


def half(labels: Labels, part: int) -> Labels:
    n = len(labels) // 2
    rows = slice(0, n) if part == 0 else slice(n, None)
    return Labels(labels.sample_ids[rows], labels.y[rows], labels.classes)


def test_labels_teach_every_encoder_what_it_did_not_know():
    features, labels = media_task()
    train, held = half(labels, 0), half(labels, 1)
    state = fit_fusion(features, train, TUNED, seed=0)
    predictions = predict_fusion(state, features.take(held.sample_ids), TUNED)
    assert (predictions.probabilities_NC.argmax(1) == held.y).mean() > 0.9
    for m in range(3):
        seen = predictions.present_NM[:, m]
        assert (predictions.unimodal_NMC[seen, m].argmax(1) == held.y[seen]).mean() > 0.75
    still = TUNED.model_copy(update={"encoder_learning_rate": 1e-12, "min_steps": 1, "epochs": 1})
    start = fit_fusion(features, train, still, seed=0)
    for name, tensor in state.tensors.items():
        if name.startswith("towers."):
            assert not np.allclose(tensor, start.tensors[name], atol=1e-4), name


def test_the_loss_reaches_every_weight_as_finite_differences_say():
    draw = torch.Generator().manual_seed(0)
    network = EndToEndNetwork(
        {"image": 3 * 32 * 32, "text": 20, "audio": 40 * 6}, width=6, n_classes=3, n_heads=1, fusion="concat",
        activation="gelu", weights_M=torch.full((3,), 1 / 3),
    )
    network.draw_weights(draw)
    network.double()
    blocks = [torch.randn(1, 4, dim, generator=draw, dtype=torch.float64) for dim in (3072, 20, 240)]
    present = torch.ones(3, 1, 4, dtype=torch.float64)

    def loss() -> torch.Tensor:
        return network(blocks, present).logits.logsumexp(-1).sum()

    loss().backward()
    for name, parameter in network.named_parameters():
        if not name.startswith("towers."):
            continue
        assert parameter.grad is not None
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        i = int(gradient.abs().argmax())
        assert gradient[i] != 0, name
        with torch.no_grad():
            flat[i] += 1e-6
            up = float(loss())
            flat[i] -= 2e-6
            down = float(loss())
            flat[i] += 1e-6
        assert_allclose(float(gradient[i]), (up - down) / 2e-6, rtol=1e-4, err_msg=name)


def test_the_same_seed_gives_the_same_bits_and_no_global_generator_is_touched():
    features, labels = media_task(48)
    config = TUNED.model_copy(update={"min_steps": 6, "epochs": 1})
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two = (fit_fusion(features, labels, config, seed=0) for _ in range(2))
    predict_fusion(one, features, config)
    assert_array_equal(torch.rand(3), expected)
    for name, tensor in one.tensors.items():
        assert_array_equal(tensor, two.tensors[name])
    other = fit_fusion(features, labels, config, seed=1)
    assert not np.array_equal(one.tensors["towers.0.matrix"], other.tensors["towers.0.matrix"])


def test_a_packed_model_says_the_same_after_a_trip_through_json():
    features, labels = media_task(48)
    state = fit_fusion(features, labels, TUNED.model_copy(update={"min_steps": 6, "epochs": 1}), seed=0)
    arrays, facts = state.pack()
    again = FusionState.unpack((arrays, json.loads(json.dumps(facts))))
    assert again.mode == "finetune"
    one, two = (predict_fusion(s, features, TUNED).draws_NKC for s in (state, again))
    assert_array_equal(one, two)


def test_a_batch_in_parts_trains_encoders_as_the_whole_does():
    features, labels = media_task(64)
    config = TUNED.model_copy(update={"dropout": 0.0, "modality_dropout": 0.0, "min_steps": 3, "epochs": 1})
    whole, parts = (
        fit_fusion(features, labels, config.model_copy(update={"accumulate": n}), seed=0) for n in (1, 4)
    )
    assert_allclose(parts.log["train_loss"], whole.log["train_loss"], rtol=1e-4)


@pytest.mark.parametrize("gradient", ["ogm_ge", "mmpareto"])
def test_gradients_of_encoders_are_balanced_with_their_trunks(gradient):
    features, labels = media_task(48)
    config = TUNED.model_copy(update={"min_steps": 4, "epochs": 1, "gradient": gradient})
    plain = fit_fusion(features, labels, config.model_copy(update={"gradient": "none"}), seed=0)
    balanced = fit_fusion(features, labels, config, seed=0)
    assert np.isfinite(balanced.tensors["towers.0.matrix"]).all()
    assert any(not np.array_equal(plain.tensors[n], balanced.tensors[n]) for n in plain.tensors if "towers" in n)


def test_early_stopping_keeps_encoders_too():
    features, labels = media_task()
    config = TUNED.model_copy(update={"early_stopping": True, "min_steps": 15})
    state = fit_fusion(features, half(labels, 0), config, seed=0, validation=half(labels, 1))
    assert len(state.log["validation_nll"]) == 15
    assert min(state.log["validation_nll"]) < state.log["validation_nll"][0]


def test_what_stands_in_the_rows_of_an_absent_modality_changes_nothing():
    features, labels = media_task(48)
    garbage = {name: block.copy() for name, block in features.blocks.items()}
    for column, block in enumerate(garbage.values()):
        block[~features.present_NM[:, column]] = np.nan
    other = Features(features.sample_ids, garbage, features.present_NM)
    config = TUNED.model_copy(update={"min_steps": 4, "epochs": 1})
    one, two = (fit_fusion(given, labels, config, seed=0) for given in (features, other))
    assert_array_equal(one.tensors["towers.2.matrix"], two.tensors["towers.2.matrix"])


def test_features_of_frozen_encoders_are_refused_with_what_to_do():
    for modality, dim in (("image", 1280), ("audio", 384), ("video", 7), ("radar", 40)):
        with pytest.raises(UserError, match=rf"'{modality}' \({dim} wide\) are no decoded media; start a new"):
            tower_of(modality, dim, 8)


def test_grids_hold_the_picture_and_the_spectrum():
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    picture[:, :16, 2] = 255
    row = pixels(Image.fromarray(picture)).reshape(3, 32, 32)
    assert_array_equal(row[2], np.tile([1.0] * 16 + [0.0] * 16, (32, 1)))
    assert not row[:2].any()
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    bands = spectrum(np.sin(2 * np.pi * 1000 * time).astype(np.float32), 40).reshape(40, 40)
    assert bands[:, :20].mean(axis=1).argmax() == bands[:, 5].argmax()
    assert (bands[:, 21:] < bands[:, :19].max() - 1).all()  # the second half is silence
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    video = load_encoder("grid", "video", ENCODERS)
    clip = [Image.fromarray(picture)] * 3
    mean, spread = video.encode([(clip, None)])[0].reshape(2, 3, 32, 32)
    assert_allclose(mean, row, atol=1e-6)
    assert not spread.any()


def test_raw_media_go_through_whole_rounds_and_memory_and_kedro_are_one(
    project: Project, media: Callable[..., Path]
) -> None:
    local = project.path / "conf/local/parameters.yml"
    local.write_text(
        local.read_text().replace(
            "fusion: {", "fusion: {mode: finetune, early_stopping: true, width: 8, n_heads: 2, predict_batch_size: 64, "
        ).replace("video: tiny", "video: tiny, audio_seconds: 0.25")
    )
    manifest = media(60, ("image", "text", "audio"))
    options = ("--rounds", "1", *TWO_ROUNDS[2:])
    project.ok("rounds", "run", "--manifest", str(manifest), "--experiment", "a", *options)
    task, oracle = task_of(Experiment.of(project.path, "a"))
    assert {name: block.shape[1] for name, block in task.features.blocks.items()} == {
        "image": 3072, "text": 512, "audio": 200
    }
    results = list(simulate(task, oracle.label))
    assert [r.batch["sample_id"].tolist() for r in results[:-1]] == project.selections("a", 1)
    assert results[1].model is not None
    assert any(name.startswith("towers.") for name in results[1].model.tensors)
    written = Experiment.of(project.path, "a").path_of("round_01", "training_log")
    assert json.loads(written.read_text()) == results[1].model.log


@pytest.mark.gpu
def test_on_cuda_encoders_learn_in_bfloat16_what_they_learn_on_the_cpu():
    features, labels = media_task()
    train, held = half(labels, 0), half(labels, 1)
    config = TUNED.model_copy(update={"device": "cuda", "accumulate": 2})
    state = fit_fusion(features, train, config, seed=0)
    assert all(tensor.dtype != np.float16 for tensor in state.tensors.values())
    for device in ("cuda", "cpu"):
        where = config.model_copy(update={"device": device})
        p_NC = predict_fusion(state, features.take(held.sample_ids), where).probabilities_NC
        assert (p_NC.argmax(1) == held.y).mean() > 0.9

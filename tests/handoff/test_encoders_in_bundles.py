"""Encoders in a bundle are found again by another machine: no ``auto``, and local weights come along."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rlmba_pipelines.config import EncodersConfig, FusionConfig, MediaCaps, Parameters
from rlmba_pipelines.encoders import find_encoder
from rlmba_pipelines.handoff.bundle import portable
from rlmba_pipelines.handoff.facts import FORMAT, Facts, pinned_encoders
from rlmba_pipelines.learning.types import UserError


def facts_with(encoders: EncodersConfig, fingerprints: dict[str, str]) -> Facts:
    return Facts(
        format=FORMAT, version="0", experiment="a", stage="final", run_id="", n_labels=1, classes=("x",),
        modalities=tuple(fingerprints), encoders=encoders, fingerprints=fingerprints, caps=MediaCaps(),
        fusion=FusionConfig(), differences={},
    )


def test_a_model_in_a_folder_comes_along_and_nothing_else_of_the_folder(tmp_path: Path) -> None:
    weights = tmp_path / "my model"
    weights.mkdir()
    (weights / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (weights / "model.safetensors").write_bytes(b"weights")
    (weights / "optimizer.bin").write_bytes(b"huge")
    config = EncodersConfig(text=f"path:{weights}")
    fingerprint = find_encoder(config.text, "text", config).fingerprint
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    pinned = pinned_encoders(config, {"text": fingerprint}, bundle)
    assert pinned.text == "path:encoders/text"
    assert sorted(p.name for p in (bundle / "encoders/text").iterdir()) == ["config.json", "model.safetensors"]
    told = portable(Parameters(encoders=config), facts_with(pinned, {"text": fingerprint}))
    assert str(weights) not in json.dumps(told), "where it lay is nobody's business elsewhere"
    shutil.rmtree(weights)
    moved = bundle.rename(tmp_path / "elsewhere")
    located = facts_with(pinned, {"text": fingerprint}).located(moved)
    assert find_encoder(located.text, "text", located).fingerprint == fingerprint


def test_a_state_dict_comes_along(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"weights")
    config = EncodersConfig(image=f"torchvision:resnet18@{tmp_path / 'mine.pth'}")
    fingerprint = find_encoder(config.image, "image", config).fingerprint
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    pinned = pinned_encoders(config, {"image": fingerprint}, bundle)
    assert pinned.image == "torchvision:resnet18@encoders/image/mine.pth"
    (tmp_path / "mine.pth").unlink()
    located = facts_with(pinned, {"image": fingerprint}).located(bundle)
    assert find_encoder(located.image, "image", located).fingerprint == fingerprint


def test_auto_becomes_what_it_was(tmp_path: Path) -> None:
    config = EncodersConfig()
    tiny = find_encoder("tiny", "image", config).fingerprint
    assert pinned_encoders(config, {"image": tiny}, tmp_path).image == "tiny"
    grid = find_encoder("grid", "image", config).fingerprint
    assert pinned_encoders(config, {"image": grid}, tmp_path).image == "grid"
    with pytest.raises(UserError, match=r"were made by unheard-of, and encoders\.image = auto is another encoder here"):
        pinned_encoders(config, {"image": "unheard-of"}, tmp_path)

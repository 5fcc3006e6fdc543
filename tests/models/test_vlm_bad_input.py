"""A model that cannot be had, or that cannot see, is told of in one sentence."""

from pathlib import Path

import pytest
from vlm_families import text_only, tiny

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.models.vlm.backbone import Vlm, checked_vlm, load_vlm


def told(source):
    with pytest.raises(UserError) as caught:
        load_vlm(source, VlmConfig(device="cpu"))
    text = str(caught.value)
    assert text.startswith("vlm.model:")
    assert "\n" not in text
    assert "Traceback" not in text
    assert len(text) < 500
    return text


def test_a_folder_that_does_not_exist(tmp_path):
    source = str(tmp_path / "weights")
    assert told(source) == (
        f"vlm.model: there is no folder {source}; give a folder of saved weights, or a hub name."
    )
    assert "there is no folder ./nowhere" in told("./nowhere")
    assert f"there is no folder {Path.home()}/nowhere" in told("~/nowhere")


def test_a_folder_without_weights(tmp_path):
    assert f"no image-and-text model can be loaded from '{tmp_path}'" in told(str(tmp_path))


def test_a_hub_name_without_weights_here_when_offline():
    text = told("nobody/has-this-model")
    assert "no image-and-text model can be loaded from 'nobody/has-this-model'" in text
    assert "of which the weights are on this machine" in text


def test_a_model_that_reads_text_alone(tmp_path):
    text_only(tmp_path)
    assert "no image-and-text model can be loaded from" in told(str(tmp_path))


def test_weights_that_are_cut_short(tmp_path):
    vlm = tiny()
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "no image-and-text model can be loaded from" in told(str(tmp_path))


def test_a_model_without_image_tokens_and_a_processor_without_a_chat_template():
    vlm = tiny()
    vlm.processor.chat_template = None
    with pytest.raises(UserError, match="no tokenizer or no chat template"):
        checked_vlm(vlm, "here")
    vlm.model.config.image_token_id = None
    with pytest.raises(UserError, match="'here' is a LlavaForConditionalGeneration without image tokens"):
        checked_vlm(Vlm(vlm.model, tiny().processor), "here")


def test_a_package_that_a_processor_needs_is_named(monkeypatch, tmp_path):
    from transformers import AutoProcessor

    def needs(*args, **kwargs):
        raise ImportError("Package `num2words` is required to run SmolVLM processor.")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", needs)
    assert "num2words" in told(str(tmp_path))

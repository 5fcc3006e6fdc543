"""Low-rank adapters: of the language part alone, and all that is learned and packed."""

import io
import sys
from contextlib import redirect_stderr

import numpy as np
import pytest
import torch
from vlm_families import FAMILIES, questions, quick, tiny

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.models.vlm.adapters import adapted, rank_of
from rlmba_pipelines.models.vlm.backbone import Vlm, load_vlm
from rlmba_pipelines.models.vlm.base import freeze_vision
from rlmba_pipelines.models.vlm.fit import fit_vlm
from rlmba_pipelines.models.vlm.state import pack_vlm, unpack_vlm
from rlmba_pipelines.models.vlm.targets import targets_of


def logits(vlm, asked):
    batch = targets_of(vlm, asked, with_chain=True, longest=96)
    with torch.no_grad():
        return vlm.model(**batch.inputs).logits


@pytest.fixture(scope="module", params=["tiny", "llava", "idefics3", "qwen2_5_vl"])
def base(request, tmp_path_factory):
    pytest.importorskip("peft")
    if request.param == "tiny":
        return tiny()
    folder = tmp_path_factory.mktemp(request.param)
    with redirect_stderr(io.StringIO()):
        FAMILIES[request.param](folder)
    return freeze_vision(load_vlm(str(folder), VlmConfig(device="cpu")))


def test_adapters_alone_learn_and_are_packed_and_give_the_same_model(base):
    asked = questions(4)
    before = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    config = quick(lora_rank=2, min_steps=3, max_tokens=96, learning_rate=1e-2)
    taught, _ = fit_vlm(base, asked, config, seed=0)
    arrays, facts = pack_vlm(taught, ("yes", "no"))
    assert facts["lora_rank"] == 2
    assert arrays
    assert all(".lora_A." in name or ".lora_B." in name for name in arrays)
    assert not [name for name in arrays if "vision" in name or "visual" in name]
    assert sum(array.size for array in arrays.values()) < 0.2 * sum(p.numel() for p in before.values())
    for name, p in taught.model.named_parameters():  # what lies under the adapters is the base
        if ".lora_" not in name:
            assert torch.equal(p, before[name.replace(".base_layer", "")])
    again, _ = unpack_vlm((arrays, facts), base)
    assert torch.equal(logits(again, asked), logits(taught, asked))
    assert not torch.equal(logits(base, asked), logits(taught, asked))
    assert same_names(base, before)


def same_names(base, before):
    return {name for name, _ in base.model.named_parameters()} == set(before)


def test_every_language_layer_has_seven_adapters_and_the_vision_tower_none():
    pytest.importorskip("peft")
    vlm = tiny()
    model = adapted(vlm.model, 3)
    adapters = [name for name, _ in model.named_parameters() if ".lora_A." in name]
    assert len(adapters) == 7 * 3
    assert all("language_model" in name for name in adapters)
    assert rank_of(model) == 3
    assert rank_of(tiny().model) == 0


def test_fresh_adapters_change_nothing():
    pytest.importorskip("peft")
    asked, vlm = questions(3), tiny()
    expected = logits(vlm, asked)
    assert torch.equal(logits(Vlm(adapted(vlm.model, 4), vlm.processor), asked), expected)


def test_seed_and_samples_name_every_bit():
    pytest.importorskip("peft")
    base, asked, config = tiny(), questions(6), quick(lora_rank=2, min_steps=3)
    arrays = [pack_vlm(fit_vlm(base, part, config, seed=1)[0], ())[0] for part in (asked, asked[::-1])]
    assert all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0])
    other = pack_vlm(fit_vlm(base, asked, config, seed=2)[0], ())[0]
    assert not all(np.array_equal(arrays[0][name], other[name]) for name in other)


def test_the_loss_falls_with_adapters():
    pytest.importorskip("peft")
    _, log = fit_vlm(tiny(), questions(6), quick(lora_rank=8, min_steps=40, learning_rate=2e-2), seed=0)
    assert log["train_loss"][-1] < 0.7 * log["train_loss"][0]


def test_without_peft_it_is_said_in_one_sentence_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"vlm.lora_rank needs the package peft.*pip install 'rlmba_pipelines\[vlm\]'"):
        fit_vlm(tiny(), questions(2), quick(lora_rank=2), seed=0)


def test_without_a_rank_peft_is_not_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    _, log = fit_vlm(tiny(), questions(2), quick(min_steps=1), seed=0)
    assert len(log["train_loss"]) == 1


def test_a_model_without_layers_of_these_names_is_refused():
    pytest.importorskip("peft")
    with pytest.raises(UserError, match="Sequential has no language layers of the usual names"):
        adapted(torch.nn.Sequential(torch.nn.Linear(2, 2)), 2)


def test_adapters_are_float32_on_a_bfloat16_model_and_come_back_to_the_bit():
    pytest.importorskip("peft")
    base, asked = tiny(), questions(4)
    base.model.to(torch.bfloat16)
    taught, _ = fit_vlm(base, asked, quick(lora_rank=2, min_steps=3, attention=0.3), seed=0)
    kinds = {".lora_" in name: p.dtype for name, p in taught.model.named_parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}
    again, _ = unpack_vlm(pack_vlm(taught, ()), base)
    assert torch.equal(logits(again, asked), logits(taught, asked))

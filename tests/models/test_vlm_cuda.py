"""Visual questions on CUDA, checked against the CPU (``make test-gpu``)."""

import io
from contextlib import redirect_stderr
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from vlm_families import FAMILIES, questions, quick, tiny

from rlmba_pipelines.learning.vlm.chains import join_chain
from rlmba_pipelines.models.vlm.answers import answer_probabilities, answers_of
from rlmba_pipelines.models.vlm.backbone import Vlm, load_vlm
from rlmba_pipelines.models.vlm.base import freeze_vision
from rlmba_pipelines.models.vlm.fit import fit_vlm
from rlmba_pipelines.models.vlm.score import chain_of, say
from rlmba_pipelines.models.vlm.state import pack_vlm, unpack_vlm

pytestmark = pytest.mark.gpu
ANSWERS = ("yes", "no", "circle", "square", "left", "right", "1", "2", "3", "4", "5", "6")


def on(device):
    vlm = tiny()
    return Vlm(vlm.model.to(device), vlm.processor)


def answered(vlm, asked):
    chains = [chain_of(join_chain(one.chain, one.answer)) for one in asked]
    images, prompts, answers = [one.image for one in asked], vlm.prompts(asked), answers_of(vlm, ANSWERS)
    return answer_probabilities(vlm, images, prompts, chains, answers).answers_BC


def test_in_float32_both_devices_answer_alike():
    asked = questions(24)
    assert_allclose(answered(on("cuda"), asked), answered(on("cpu"), asked), atol=1e-4)


@pytest.mark.parametrize("amp", [False, True])
def test_a_question_that_has_no_other_reading_is_in_no_doubt_of_language(amp):
    texts = ("is red left ?", "is warm left ?")
    plain, vague = (replace(questions(1)[0], sample_id=text, question=text) for text in texts)
    said = say(on("cuda"), [plain, vague], ANSWERS, quick(amp=amp, chains=2), seed=5)
    assert said.language_N[0] == 0


@pytest.mark.parametrize("amp", [False, True])
def test_it_learns_on_cuda_what_it_learns_on_the_cpu_and_its_weights_stay_float32(amp):
    asked = questions(12)
    config = quick(min_steps=150, epochs=1, amp=amp, accumulate=2, attention=0.1)
    logs = {}
    for device in ("cpu", "cuda"):
        taught, logs[device] = fit_vlm(on(device), asked, config, seed=0)
        assert {p.dtype for p in taught.model.parameters()} == {torch.float32}
        assert taught.device.type == device
        assert logs[device]["train_loss"][-1] < 0.1 * logs[device]["train_loss"][0]
    assert logs["cuda"]["train_loss"][0] == pytest.approx(logs["cpu"]["train_loss"][0], rel=0.05)
    on_cpu, _ = unpack_vlm(pack_vlm(taught, ANSWERS), on("cpu"))
    found, expected = answered(on_cpu, asked), answered(taught, asked)
    assert_allclose(found, expected, atol=1e-3)
    assert (np.array(ANSWERS)[found.argmax(1)] == [one.answer for one in asked]).mean() > 0.9


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_adapters_learn_in_float32_over_a_base_in_bfloat16(family, tmp_path):
    pytest.importorskip("peft")
    with redirect_stderr(io.StringIO()):
        FAMILIES[family](tmp_path)
    config = quick(lora_rank=4, min_steps=40, max_tokens=96, learning_rate=1e-2, device="cuda", chains=2)
    base = freeze_vision(load_vlm(str(tmp_path), config))
    assert {p.dtype for p in base.model.parameters()} == {torch.bfloat16}
    asked = questions(6)
    taught, log = fit_vlm(base, asked, config, seed=0)
    assert {p.dtype for p in taught.model.parameters() if p.requires_grad} == {torch.float32}
    assert log["train_loss"][-1] < log["train_loss"][0] - 0.1
    said = say(taught, asked, ANSWERS, config, seed=0)
    assert np.isfinite([said.visual_N, said.language_N]).all()
    again, _ = unpack_vlm(pack_vlm(taught, ANSWERS), base)
    assert_allclose(answered(again, asked), answered(taught, asked), atol=1e-6)

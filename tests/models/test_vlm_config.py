"""One line of configuration is enough for weights of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from vlm_families import tiny

from rlmba_pipelines.config import Parameters, VlmConfig
from rlmba_pipelines.config.vlm import BY_MODEL
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.models.vlm.backbone import computing

BASE = Path(__file__).resolve().parents[2] / "conf" / "base" / "parameters_vlm.yml"


@pytest.mark.parametrize("told", [{}, yaml.safe_load(BASE.read_text())["vlm"]])
def test_the_model_decides_what_nobody_told(told) -> None:
    usual, own = VlmConfig(**told), VlmConfig(**told | {"model": "some/weights"})
    for name, (of_tiny, of_own) in BY_MODEL.items():
        assert (getattr(usual, name), getattr(own, name)) == (of_tiny, of_own)
    assert VlmConfig(**told | {"model": "some/weights", "lora_rank": 0, "epochs": 2}).lora_rank == 0
    assert Parameters(vlm=told).vlm == Parameters().vlm == usual


def test_a_full_gpu_is_told_in_one_sentence() -> None:
    told = r"memory is full; lower vlm.predict_batch_size \(256\), raise vlm.accumulate"
    with pytest.raises(UserError, match=told), computing(tiny(), VlmConfig()):
        raise torch.OutOfMemoryError("CUDA out of memory")

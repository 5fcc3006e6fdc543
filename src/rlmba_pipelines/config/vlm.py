"""The parameters of Active-VLM: many of them hang on the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from rlmba_pipelines.config.block import Block

# What hangs on the model, where nothing is told: of the tiny one, and of weights of one's own
BY_MODEL: Mapping[str, tuple[float, float]] = {
    "lora_rank": (0, 16),
    "epochs": (20.0, 4.0),
    "learning_rate": (2e-3, 1e-4),
    "weight_decay": (0.1, 0.0),
    "accumulate": (1, 16),
    "max_tokens": (48, 256),
    "predict_batch_size": (256, 8),
}


class VlmConfig(Block):
    """Active-VLM: the model that learns to answer, its losses, and how its doubt is measured."""

    @model_validator(mode="before")
    @classmethod
    def _by_model(cls, told: Any) -> Any:
        if not isinstance(told, Mapping):
            return told
        own = told.get("model", "tiny") != "tiny"
        return {**told, **{name: usual[own] for name, usual in BY_MODEL.items() if told.get(name) is None}}

    model: str = "tiny"  # tiny (made and taught captions here), or a folder or hub name of weights
    offline: bool = True  # never ask a hub
    device: Literal["auto", "cpu", "cuda"] = "auto"
    amp: bool = True  # bfloat16 on CUDA; weights that learn stay float32
    threads: int = Field(1, ge=1)
    base_steps: int = Field(2600, ge=1)  # of tiny: captions of generated scenes, once; the result is cached
    base_batch_size: int = Field(16, gt=0)
    base_learning_rate: float = Field(3e-3, gt=0)
    base_seed: int = Field(0, ge=0)
    lora_rank: int = Field(0, ge=0)  # above 0: low-rank adapters of the language part alone (extra [vlm])
    epochs: float = Field(20.0, gt=0)
    min_steps: int = Field(1200, gt=0)
    train_batch_size: int = Field(16, gt=0)
    accumulate: int = Field(1, ge=1)  # parts that a batch is cut into
    checkpoint_steps: int = Field(500, ge=0)  # after so many a training is kept, and gone on with if killed; 0: never
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    max_tokens: int = Field(48, gt=0)  # of chain and answer
    chain_of_thought: bool = True  # learn and write the chain before the answer
    rejection_sampling: bool = False  # learn sampled chains that reach the right answer too
    contrast_steps: int = Field(0, ge=0)  # of contrastive reasoning: right against wrong chains (DPO); 0: off
    contrast_beta: float = Field(2.0, gt=0)
    contrast_learning_rate: float = Field(0.01, gt=0)  # as a share of learning_rate
    reward_steps: int = Field(0, ge=0)  # of GRPO: sampled chains that end right are made likelier; 0: off
    reward_learning_rate: float = Field(0.03, gt=0)  # as a share of learning_rate
    attention: float = Field(0.0, ge=0, le=1)  # weight of the loss that shows one head where to look; 0: off
    attention_layer: int = -1
    attention_head: int = Field(0, ge=0)
    chains: int = Field(4, ge=2)  # sampled of each question
    temperature: float = Field(1.0, gt=0)
    predict_batch_size: int = Field(256, gt=0)

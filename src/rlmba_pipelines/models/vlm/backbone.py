"""One door to every vision-language model: prompts, batches, and where the image's tokens are.

The tiny model and a real one (LLaVA, SmolVLM, Qwen2.5-VL, …) take the same path: the Auto classes, the chat template of
the processor, left padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.learning.vlm.choices import lettered
from rlmba_pipelines.models.state import device_of, torch_threads
from rlmba_pipelines.precision import bfloat16_if

Region = Sequence[float]  # x, y, width, height in shares of the image


@dataclass(frozen=True)
class VisualQuestion:
    """A question about an image and, where it was bought, its answer.

    Attributes:
        chain: the steps that lead to the answer; empty where none was given.
        regions: of each step, where the image shows it; None where nothing does.
        choices: what to choose from, the answer is a letter; empty: open.
    """

    sample_id: str
    image: Image.Image
    question: str
    answer: str = ""
    chain: tuple[str, ...] = ()
    regions: tuple[Region | None, ...] = field(default=())
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vlm:
    """A model with its processor, on a device."""

    model: Any
    processor: Any

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def cuda_devices(self) -> list[torch.device]:
        """What ``torch.random.fork_rng`` is to keep besides the CPU."""
        return [self.device] if self.device.type == "cuda" else []

    @property
    def image_token_id(self) -> int:
        return int(self.model.config.image_token_id)

    def prompts(self, questions: Sequence[VisualQuestion]) -> list[str]:
        """What the model is to go on from, one text a question; an image's mark within it would ask for a second."""
        texts, mark = [], str(self.processor.tokenizer.convert_ids_to_tokens(self.image_token_id))
        for asked in questions:
            text = asked.question
            if asked.choices:
                text += f" {lettered(asked.choices)}"
            text = text.replace(mark, "").strip()
            turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
            prompt = self.processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
            texts.append(prompt.rstrip(" "))  # a space belongs to the word after it, where words are cut to pieces
        return texts

    def batch(self, images: Sequence[Image.Image], texts: Sequence[str]) -> dict[str, Tensor]:
        """Inputs of the model, padded on the left; each text holds one image."""
        start = self.processor.tokenizer.bos_token
        if getattr(self.processor.image_processor, "do_center_crop", False):
            images = [_squared(image) for image in images]
        inputs = self.processor(
            text=list(texts), images=[[image] for image in images], padding=True, return_tensors="pt",
            add_special_tokens=not (start and texts[0].startswith(start)),
        )
        return {name: value.to(self.device) for name, value in inputs.items()}

    def token_ends(self, texts: Sequence[str]) -> list[np.ndarray]:
        """int64[tokens] of each text: the character after each token, 0 for one that is not written in it."""
        if not texts:  # tokenizers refuse an empty list
            return []
        told = self.processor.tokenizer(list(texts), return_offsets_mapping=True)["offset_mapping"]
        return [np.array([end for _, end in offsets]) for offsets in told]

    def image_positions(self, inputs: dict[str, Tensor]) -> Tensor:
        """bool[B, T], the positions that hold the image."""
        return inputs["input_ids"] == self.image_token_id

    def grid(self, inputs: dict[str, Tensor], row: int) -> tuple[int, int]:
        """Rows and columns of the image tokens of one row of a batch; they follow each other row by row.

        Raises:
            UserError: the tokens of this model lie on no grid that is known.
        """
        if "image_grid_thw" in inputs:  # Qwen: 2 × 2 patches merged into a token
            merge = int(getattr(self.model.config.vision_config, "spatial_merge_size", 2))
            _, rows, columns = inputs["image_grid_thw"][row].tolist()
            return rows // merge, columns // merge
        n_tokens = int(self.image_positions(inputs)[row].sum())
        side = math.isqrt(n_tokens)
        if side * side != n_tokens:
            raise UserError(
                f"The {n_tokens} image tokens of {type(self.model).__name__} lie on no square grid, so its attention "
                "cannot be calibrated; set vlm.attention to 0."
            )
        return side, side


def _squared(image: Image.Image) -> Image.Image:
    """Squeezed to a square: a processor that crops would hide the sides, and regions would lie elsewhere."""
    side = max(image.size)
    return image if image.size == (side, side) else image.resize((side, side))


def gone_on(prompt: str, said: str) -> str:
    """What follows a prompt, set apart by one space or line."""
    return prompt + said if prompt[-1].isspace() else f"{prompt} {said}"


@contextmanager
def computing(vlm: Vlm, config: VlmConfig) -> Iterator[None]:
    """``threads`` threads inside, and bfloat16 on CUDA with ``amp``.

    Raises:
        UserError: the memory of the GPU is full.
    """
    try:
        with torch_threads(config.threads), bfloat16_if(is_reduced(vlm, config)):
            yield
    except torch.OutOfMemoryError:
        raise UserError(
            f"The GPU's memory is full; lower vlm.predict_batch_size ({config.predict_batch_size}), raise "
            f"vlm.accumulate ({config.accumulate}) up to vlm.train_batch_size, learn adapters (vlm.lora_rank), or "
            "take a smaller vlm.model."
        ) from None


def is_reduced(vlm: Vlm, config: VlmConfig) -> bool:
    """Whether it computes in bfloat16."""
    return config.amp and vlm.device.type == "cuda"


def load_vlm(source: str, config: VlmConfig) -> Vlm:
    """A model and its processor by path or hub name.

    On CUDA a model of which only adapters learn is kept in bfloat16; weights that learn themselves stay float32, since
    bfloat16 would round their small steps away.

    Raises:
        UserError: there are no weights of that name, or they are not of a model that answers about images.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()
    source = str(Path(source).expanduser()) if source.startswith("~") else source
    if source.startswith((".", "/")) and not Path(source).is_dir():
        raise UserError(f"vlm.model: there is no folder {source}; give a folder of saved weights, or a hub name.")
    place, offline = device_of(config.device), config.offline
    kept_small = config.amp and config.lora_rank > 0 and place.type == "cuda"
    try:
        processor = AutoProcessor.from_pretrained(source, local_files_only=offline)
        model: Any = AutoModelForImageTextToText.from_pretrained(
            source, local_files_only=offline, attn_implementation="eager",
            dtype=torch.bfloat16 if kept_small else torch.float32,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"vlm.model: no image-and-text model can be loaded from {source!r} ({reason[:200]}); give a folder that "
            "save_pretrained wrote, or a hub name of which the weights are on this machine"
            f"{'; vlm.offline: false fetches them' if offline else ''}."
        ) from None
    return checked_vlm(Vlm(model.to(place).eval(), processor), source)


def checked_vlm(vlm: Vlm, source: str) -> Vlm:
    """The model, if it takes images.

    Raises:
        UserError: it has no tokens for an image, or its processor none of the parts that are needed.
    """
    if getattr(vlm.model.config, "image_token_id", None) is None:
        raise UserError(
            f"vlm.model: {source!r} is a {type(vlm.model).__name__} without image tokens; choose a model that reads "
            "image and text in one sequence (llava, smolvlm, qwen2_5_vl, …)."
        )
    if getattr(vlm.processor, "tokenizer", None) is None or not getattr(vlm.processor, "chat_template", None):
        raise UserError(f"vlm.model: the processor of {source!r} has no tokenizer or no chat template.")
    if not vlm.processor.tokenizer.is_fast:
        raise UserError(f"vlm.model: the tokenizer of {source!r} cannot tell where tokens end (no tokenizer.json).")
    vlm.processor.tokenizer.padding_side = "left"
    if hasattr(vlm.processor.image_processor, "do_image_splitting"):
        vlm.processor.image_processor.do_image_splitting = False  # one image, one grid
    return vlm

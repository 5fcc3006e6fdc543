"""A taught model as plain arrays, and the base it starts from as a folder that is made once and found again."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.disk import replacing
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.models.state import PackedModel
from rlmba_pipelines.models.vlm.adapters import adapted, rank_of
from rlmba_pipelines.models.vlm.backbone import Vlm, load_vlm
from rlmba_pipelines.models.vlm.base import TINY, base_vlm, freeze_vision

REFERENCE = "reference.json"  # in the folder of a base whose weights lie elsewhere
RECIPE = 1  # raised when the way to make the tiny base changes, so that no old one is taken for it


def base_folder(config: VlmConfig, cache: Path) -> Path:
    """The folder of the base model, made where it is missing: the tiny one takes minutes, once."""
    made_of = {"model": config.model}
    if config.model == TINY:
        keys = ("base_steps", "base_batch_size", "base_learning_rate", "base_seed", "weight_decay")
        made_of |= {key: getattr(config, key) for key in keys} | {"recipe": RECIPE}
    folder = cache / hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    if folder.is_dir():
        return folder
    vlm = base_vlm(config)
    with replacing(folder) as temporary:
        temporary.mkdir()
        (temporary / "made_of.json").write_text(json.dumps(made_of, indent=1))
        if config.model == TINY:
            vlm.model.save_pretrained(temporary)
            vlm.processor.save_pretrained(temporary)
        else:
            (temporary / REFERENCE).write_text(json.dumps({"model": config.model}))
    return folder


def load_base(folder: Path, config: VlmConfig) -> Vlm:
    """The base model, its vision tower frozen."""
    reference = folder / REFERENCE
    source = json.loads(reference.read_text())["model"].removeprefix("hub:") if reference.exists() else str(folder)
    here = config.model_copy(update={"offline": config.offline or not reference.exists()})
    return freeze_vision(load_vlm(source, here))


def pack_vlm(vlm: Vlm, classes: tuple[str, ...]) -> PackedModel:
    """What was taught as float32 arrays (of a model with adapters these alone), and the classes; no base."""
    arrays = {
        name: p.detach().float().cpu().numpy() for name, p in vlm.model.named_parameters() if p.requires_grad
    }
    return arrays, {"classes": list(classes), "kind": type(vlm.model).__name__, "lora_rank": rank_of(vlm.model)}


def unpack_vlm(packed: PackedModel, base: Vlm) -> tuple[Vlm, tuple[str, ...]]:
    """The taught model on its base.

    Raises:
        UserError: it was taught on another base.
    """
    arrays, facts = packed
    model: Any = copy.deepcopy(base.model)
    if facts.get("lora_rank"):
        with torch.random.fork_rng(devices=base.cuda_devices):
            model = adapted(model, facts["lora_rank"])
    parameters = dict(model.named_parameters())
    for name, array in arrays.items():
        if name not in parameters or parameters[name].shape != array.shape:
            raise UserError(
                f"The model was taught on another base: this {type(model).__name__} has no {name} of shape "
                f"{array.shape}; set vlm.model to what it was when the round was trained."
            )
        with torch.no_grad():
            parameters[name].copy_(torch.from_numpy(array))
    return Vlm(model.eval(), base.processor), tuple(facts["classes"])

"""The base model that all learners of a run start from: saved weights, or the tiny one taught to describe scenes.

Concept  a vision-language model that already sees, as a stand-in for one that was pretrained on the web.
Chosen   first it tells two things of every object; then, given some colors, one thing of each in that order. The
         vision tower stays as it was drawn: trained along it forgets where things stand long before the language part
         could have used it (at most 53 % of the columns right in eight tries; frozen 100 % after 900 steps).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.vlm import captions, scenes
from rlmba_pipelines.models.state import device_of, torch_threads
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm, checked_vlm, load_vlm
from rlmba_pipelines.models.vlm.descend import descend
from rlmba_pipelines.models.vlm.losses import token_loss
from rlmba_pipelines.models.vlm.targets import targets_for
from rlmba_pipelines.models.vlm.tiny import tiny_vlm

TINY = "tiny"
LONGEST = 64
WHOLE = 0.4  # share of the steps with captions of everything


def base_vlm(config: VlmConfig) -> Vlm:
    """The model that ``vlm.model`` names; the tiny one is made and taught here.

    Raises:
        UserError: there are no such weights.
    """
    if config.model != TINY:
        return load_vlm(config.model.removeprefix("hub:"), config)
    with torch_threads(config.threads), torch.random.fork_rng():
        torch.manual_seed(config.base_seed)
        model, processor = tiny_vlm(scenes.words(), config.base_seed)
        vlm = freeze_vision(checked_vlm(Vlm(model.to(device_of(config.device)), processor), TINY))
        draw = np.random.default_rng([config.base_seed, 1])

        def loss_of(tell: Callable[[scenes.Scene], tuple[str, str]], rows: list[int]) -> torch.Tensor:
            drawn = [scenes.draw_scene(draw) for _ in rows]
            told = [tell(scene) for scene in drawn]
            asked = [
                VisualQuestion("", Image.fromarray(scenes.paint(scene)), text)
                for scene, (text, _) in zip(drawn, told, strict=True)
            ]
            batch = targets_for(vlm, asked, [caption for _, caption in told], longest=LONGEST)
            return token_loss(vlm.model(**batch.inputs, use_cache=False).logits, batch.labels_BT)[None]

        size, n_whole = config.base_batch_size, round(WHOLE * config.base_steps)
        for tell, steps in (
            (lambda scene: ("", captions.caption(scene, draw)), n_whole),
            (lambda scene: captions.asked_caption(scene, draw), config.base_steps - n_whole),
        ):
            loss = partial(loss_of, tell)
            rate, every = config.base_learning_rate, np.ones((size, 1))
            descend(vlm, every, loss, steps, config, draw, rate, size, "teach base")
        vlm.model.eval()
    return vlm


def freeze_vision(vlm: Vlm) -> Vlm:
    """The vision tower learns nothing."""
    for name, parameter in vlm.model.named_parameters():
        if "vision" in name or "visual" in name:
            parameter.requires_grad_(False)
    return vlm

"""Where a model looks while it writes a chain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm, computing
from rlmba_pipelines.models.vlm.regions import n_looks, where_to_look
from rlmba_pipelines.models.vlm.targets import targets_of


@torch.no_grad()
def looks_of(vlm: Vlm, asked: Sequence[VisualQuestion], config: VlmConfig) -> list[np.ndarray]:
    """float64[rows, columns] of each question, shares of the attention on the image while the chain is written.

    Mean over the tokens of chain and answer and over the heads of ``config.attention_layer``; the shares sum to 1.
    """
    found = []
    with computing(vlm, config):
        for start in range(0, len(asked), config.predict_batch_size):
            part = asked[start : start + config.predict_batch_size]
            batch = targets_of(vlm, part, with_chain=True, longest=4 * config.max_tokens)
            out = vlm.model(**batch.inputs, output_attentions=True, use_cache=False)
            layer_BTT = out.attentions[config.attention_layer].float().mean(1)
            image_BT = vlm.image_positions(batch.inputs)
            for b, n_target in enumerate(batch.n_target_B):
                look_P = layer_BTT[b, -int(n_target) :][:, image_BT[b]].mean(0).double().cpu().numpy()
                found.append((look_P / look_P.sum()).reshape(vlm.grid(batch.inputs, b)))
    return found


@torch.no_grad()
def attention_in_regions(vlm: Vlm, asked: Sequence[VisualQuestion], config: VlmConfig) -> dict[str, float]:
    """How well one head looks where the steps of given chains lie, mean over the tokens of these steps; {} without any.

    Returns:
        ``attention_in_region``, the share of the attention on the image that lies in the region, and ``pointing``, how
        often the patch that is looked at most is one of it. Both of ``config.attention_head``, the one that is
        calibrated where ``config.attention`` is on.
    """
    told = [one for one in asked if any(one.regions)]
    shown = [one for one, n in zip(told, n_looks(vlm, told), strict=True) if n]
    size = -(-config.train_batch_size // config.accumulate)  # attentions of all layers: what a training step can hold
    inside, hits = [], []
    with computing(vlm, config):
        for start in range(0, len(shown), size):
            part = shown[start : start + size]
            batch = targets_of(vlm, part, with_chain=True, longest=4 * config.max_tokens)
            image_BT, target_BTT = where_to_look(vlm, part, batch)
            out = vlm.model(**batch.inputs, output_attentions=True, use_cache=False)
            head_BTT = out.attentions[config.attention_layer][:, config.attention_head].float() * image_BT[:, None]
            of_step_BT = target_BTT.sum(-1) > 0
            looked_LT, region_LT = head_BTT[of_step_BT], target_BTT[of_step_BT] > 0
            inside.append((looked_LT * region_LT).sum(-1) / looked_LT.sum(-1).clamp(min=1e-9))
            hits.append(region_LT.gather(1, looked_LT.argmax(-1, keepdim=True))[:, 0])
    if not shown:
        return {}
    return {
        "attention_in_region": float(torch.cat(inside).double().mean()),
        "pointing": float(torch.cat(hits).double().mean()),
    }

"""Where a model looks while it writes a chain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm, computing, targets_of


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

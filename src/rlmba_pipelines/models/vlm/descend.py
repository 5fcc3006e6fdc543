"""Down a loss step by step, in batches and parts of them, with the way kept so that it can be gone on with."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.models.vlm.backbone import Vlm, computing
from rlmba_pipelines.models.vlm.unfinished import Progress, Unfinished

WARM_UP = 0.1  # share of the steps in which the learning rate rises
MAX_NORM = 1.0  # of the gradient


def descend(
    vlm: Vlm,
    counts_NL: np.ndarray,
    losses_of: Callable[[list[int]], Tensor],
    steps: int,
    config: VlmConfig,
    draw: np.random.Generator,
    learning_rate: float,
    batch_size: int | None = None,
    title: str = "learn to answer",
    kept: Unfinished | None = None,
) -> tuple[list[float], float]:
    """AdamW under a warm-up and a cosine; the mean losses of tenths of the way, and the last gradient norm.

    Args:
        counts_NL: over how much each of L losses is a mean: of every sample its tokens, say. A batch cut into parts
            then has the loss of the whole.
        losses_of: rows of samples -> float[L], the losses of these.
        kept: where it is kept how far this is, and gone on from.
    """
    n = len(counts_NL)
    learned = [p for p in vlm.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    vlm.model.train()
    size = min(batch_size or config.train_batch_size, n)
    far = kept.resume(vlm, optimizer, draw) if kept else Progress(np.array([], dtype=np.int64), [], 0.0)
    order, seen, norm = far.order, far.losses, far.norm
    for step in tqdm(range(far.steps, steps), desc=title, unit=" steps", disable=steps < 100):
        if len(order) < size:
            order = np.concatenate([order, draw.permutation(n)])
        rows, order = order[:size], order[size:]
        total = 0.0
        for part in np.array_split(rows, min(config.accumulate, size)):
            share_L = torch.from_numpy(counts_NL[part].sum(0) / np.maximum(counts_NL[rows].sum(0), 1))
            with computing(vlm, config):
                losses_L = losses_of(part.tolist())
            loss = (losses_L * share_L.to(losses_L)).sum()
            loss.backward()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise UserError(f"The training loss is not finite in step {step}; lower vlm.learning_rate.")
        norm = float(torch.nn.utils.clip_grad_norm_(learned, MAX_NORM))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _schedule((step + 1) / steps)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen.append(total)
        if kept and (step + 1) % kept.every == 0:
            kept.save(vlm, optimizer, draw, Progress(order, seen, norm))
    return [float(np.mean(part)) for part in np.array_split(seen, min(10, len(seen)))], norm


def _schedule(progress: float) -> float:
    if progress < WARM_UP:
        return progress / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))

"""Where the steps of a chain lie: in the tokens of the text, and by their regions in the tokens of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rlmba_pipelines.learning.vlm.chains import STEP_MARK, join_chain
from rlmba_pipelines.models.vlm.backbone import Region, VisualQuestion, Vlm, gone_on
from rlmba_pipelines.models.vlm.targets import Targets


def where_to_look(vlm: Vlm, asked: Sequence[VisualQuestion], batch: Targets) -> tuple[Tensor, Tensor]:
    """For :func:`attention_loss`: positions of the image, and of every text position the share of each image token
    that its step is about."""
    image_BT = vlm.image_positions(batch.inputs)
    n_all = image_BT.shape[1]
    target_BTT = torch.zeros(len(asked), n_all, n_all, device=vlm.device)
    for b, (one, spans) in enumerate(zip(asked, spans_of_steps(vlm, asked), strict=True)):
        start, grid = n_all - int(batch.n_target_B[b]), vlm.grid(batch.inputs, b)
        for region, (first, last) in zip(one.regions, spans, strict=False):
            if region is not None:
                patches_P = torch.from_numpy(patches_of(region, grid)).to(vlm.device)
                target_BTT[b, start + first : start + last, image_BT[b]] = patches_P
    return image_BT, target_BTT


def n_looks(vlm: Vlm, asked: Sequence[VisualQuestion]) -> np.ndarray:
    """int64[N], the text positions of each question of which the region is known."""
    return np.array(
        [
            sum(last - first for region, (first, last) in zip(one.regions, spans, strict=False) if _is_seen(region))
            for one, spans in zip(asked, spans_of_steps(vlm, asked), strict=True)
        ]
    )


def _is_seen(region: Region | None) -> bool:
    return region is not None and bool(patches_of(region, (1, 1)).any())


def spans_of_steps(vlm: Vlm, asked: Sequence[VisualQuestion]) -> list[list[tuple[int, int]]]:
    """Of every chain the token positions of its steps, counted from the first token of the target."""
    prompts = vlm.prompts(asked)
    texts = [gone_on(prompt, join_chain(one.chain, one.answer)) for one, prompt in zip(asked, prompts, strict=True)]
    found: list[list[tuple[int, int]]] = []
    for one, prompt, ends in zip(asked, prompts, vlm.token_ends(texts), strict=True):
        target, at, spans = np.argmax(ends > len(prompt)), len(gone_on(prompt, "")), []
        for step in one.chain:
            first, last = np.argmax(ends > at), np.argmax(ends >= at + len(step))
            spans.append((int(first - target), int(last + 1 - target)))
            at += len(step) + len(STEP_MARK)
        found.append(spans)
    return found


def patches_of(region: Sequence[float], grid: tuple[int, int]) -> np.ndarray:
    """float32[rows * columns], the share of a region (x, y, width, height) that lies in each patch; they sum to 1.

    >>> patches_of((0.25, 0.0, 0.5, 0.5), (2, 2)).tolist()
    [0.5, 0.5, 0.0, 0.0]
    """
    rows, columns = grid
    x, y, width, height = region

    def overlap(start: float, length: float, n: int) -> np.ndarray:
        edges = np.arange(n + 1) / n
        return np.clip(np.minimum(edges[1:], start + length) - np.maximum(edges[:-1], start), 0, None)

    area = overlap(y, height, rows)[:, None] * overlap(x, width, columns)[None, :]
    return (area / area.sum()).astype(np.float32).ravel() if area.sum() > 0 else area.astype(np.float32).ravel()

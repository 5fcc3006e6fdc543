"""Teach a vision-language model what was bought: answers and chains, where to look, and what sampled chains teach.

Every loss is a switch of ``VlmConfig``. The same seed, samples and weights give the same bits on a CPU, in whatever
order the samples come.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.models.state import torch_threads
from rlmba_pipelines.models.vlm.adapters import adapted
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm
from rlmba_pipelines.models.vlm.descend import descend
from rlmba_pipelines.models.vlm.losses import attention_loss, token_loss
from rlmba_pipelines.models.vlm.regions import n_looks, where_to_look
from rlmba_pipelines.models.vlm.sampled import Sample, learn_contrasts, learn_from_rewards, sorted_out
from rlmba_pipelines.models.vlm.targets import answers_in_full, fitting, targets_by_row, told_in_full
from rlmba_pipelines.models.vlm.unfinished import Unfinished


def fit_vlm(
    base: Vlm,
    bought: Sequence[VisualQuestion],
    config: VlmConfig,
    *,
    seed: int,
    sample: Sample | None = None,
    unfinished: Path | None = None,
) -> tuple[Vlm, dict[str, Any]]:
    """A model that has learned from ``bought``, starting from ``base``, which stays as it is.

    Args:
        bought: questions with answers; chain and regions where they were given.
        seed: names minibatches, dropout and sampled chains.
        sample: ``(model, questions, seed) -> texts of sampled answers of each``; what rejection sampling, contrasts and
            rewards are made from. None: none of them.
        unfinished: file that holds what was learned so far of the answers, every ``config.checkpoint_steps`` steps, so
            that the same training goes on from there, to the same bits; removed at the end. None: no such file.

    Returns:
        The model, and its log: ``train_loss`` (mean over a tenth of the steps each), ``gradient_norm`` at the end,
        ``sampled_right`` (share of sampled chains that reach the right answer), ``contrasts`` (how many), ``rewards``
        (mean over a tenth of the steps each).

    Raises:
        UserError: nothing to learn from, a chain too long, or a loss that is not finite.
    """
    if not bought:
        raise UserError("There is no answer to train on yet: answer more of the batch, or buy a larger start batch.")
    ordered = sorted(bought, key=lambda one: one.sample_id)
    with torch_threads(config.threads), torch.random.fork_rng(devices=base.cuda_devices):
        torch.manual_seed(seed)
        model = copy.deepcopy(base.model)
        vlm = Vlm(adapted(model, config.lora_rank) if config.lora_rank else model, base.processor)
        draw = np.random.default_rng(seed)
        steps = max(config.min_steps, math.ceil(config.epochs * len(ordered) / config.train_batch_size))
        kept = Unfinished(unfinished, vlm, ordered, config, seed) if unfinished and config.checkpoint_steps else None
        losses, norm = _learn_answers(vlm, ordered, steps, config, draw, kept)
        log: dict[str, Any] = {}
        if sample and (config.rejection_sampling or config.contrast_steps):
            vlm.model.eval()
            tried = sample(vlm, ordered, seed)
            right, contrasts, log["sampled_right"] = sorted_out(ordered, tried, with_chain=config.chain_of_thought)
            if config.rejection_sampling and (more_to_learn := fitting(vlm, right, longest=config.max_tokens)):
                more, norm = _learn_answers(vlm, [*ordered, *more_to_learn], max(1, steps // 4), config, draw)
                losses += more
            if config.contrast_steps and contrasts:
                log["contrasts"] = len(contrasts)
                losses += learn_contrasts(vlm, contrasts, config, draw)
        if sample and config.reward_steps:
            more, log["rewards"] = learn_from_rewards(vlm, ordered, sample, config, draw)
            losses += more
        log |= {"train_loss": losses, "gradient_norm": norm}
        vlm.model.eval()
    if kept:
        kept.remove()
    return vlm, log


def _check_head(vlm: Vlm, config: VlmConfig) -> None:
    text = vlm.model.config.get_text_config()
    n_layers, n_heads = text.num_hidden_layers, text.num_attention_heads
    if not (-n_layers <= config.attention_layer < n_layers and config.attention_head < n_heads):
        raise UserError(
            f"There is no vlm.attention_head {config.attention_head} in vlm.attention_layer {config.attention_layer} "
            f"of {type(vlm.model).__name__}, which has {n_layers} layers of {n_heads} heads; both count from 0."
        )


def _learn_answers(
    vlm: Vlm,
    bought: Sequence[VisualQuestion],
    steps: int,
    config: VlmConfig,
    draw: np.random.Generator,
    kept: Unfinished | None = None,
) -> tuple[list[float], float]:
    said = answers_in_full(bought, with_chain=config.chain_of_thought)
    _, n_tokens_N = told_in_full(vlm, bought, said, longest=config.max_tokens)
    targets = targets_by_row(vlm, bought, said, longest=config.max_tokens)
    looks = config.attention > 0 and config.chain_of_thought
    if looks:
        _check_head(vlm, config)
    n_looks_N = n_looks(vlm, bought) if looks else np.zeros(len(bought))

    def losses_of(rows: list[int]) -> Tensor:
        batch = targets(rows)
        shown = bool(n_looks_N[rows].any())
        out = vlm.model(**batch.inputs, output_attentions=shown, use_cache=False)
        loss = token_loss(out.logits, batch.labels_BT)
        if not shown:
            return torch.stack([loss, loss.new_zeros(())])
        layer = out.attentions[config.attention_layer][:, config.attention_head]
        where = where_to_look(vlm, [bought[row] for row in rows], batch)
        return torch.stack([loss, config.attention * attention_loss(layer, *where)])

    counts_NL = np.stack([n_tokens_N, n_looks_N], axis=1)
    return descend(vlm, counts_NL, losses_of, steps, config, draw, config.learning_rate, kept=kept)

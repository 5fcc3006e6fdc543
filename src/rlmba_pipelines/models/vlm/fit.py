"""Teach a vision-language model what was bought: answers and chains, contrasts of chains, where to look.

Every loss is a switch of ``VlmConfig``. The same seed, samples and weights give the same bits on a CPU, in whatever
order the samples come.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.learning.vlm.chains import join_chain, split_chain
from rlmba_pipelines.models.state import torch_threads
from rlmba_pipelines.models.vlm.adapters import adapted
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm, computing, targets_by_row, told_in_full
from rlmba_pipelines.models.vlm.descend import descend
from rlmba_pipelines.models.vlm.losses import attention_loss, contrast_loss, sequence_log_probability, token_loss
from rlmba_pipelines.models.vlm.regions import n_looks, where_to_look
from rlmba_pipelines.models.vlm.unfinished import Unfinished


@dataclass(frozen=True)
class Contrast:
    """A right and a wrong way to answer a question, as the model would write them."""

    question: VisualQuestion
    right: str
    wrong: str


def fit_vlm(
    base: Vlm,
    bought: Sequence[VisualQuestion],
    config: VlmConfig,
    *,
    seed: int,
    sample: Callable[[Vlm, Sequence[VisualQuestion], int], list[list[str]]] | None = None,
    unfinished: Path | None = None,
) -> tuple[Vlm, dict[str, Any]]:
    """A model that has learned from ``bought``, starting from ``base``, which stays as it is.

    Args:
        bought: questions with answers; chain and regions where they were given.
        seed: names minibatches, dropout and sampled chains.
        sample: ``(model, questions, seed) -> texts of sampled answers of each``; what rejection sampling and contrasts
            are made from. None: neither.
        unfinished: file that holds what was learned so far of the answers, every ``config.checkpoint_steps`` steps, so
            that the same training goes on from there, to the same bits; removed at the end. None: no such file.

    Returns:
        The model, and its log: ``train_loss`` (mean over a tenth of the steps each), ``gradient_norm`` at the end,
        ``sampled_right`` (share of sampled chains that reach the right answer), ``contrasts`` (how many).

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
            tried = sample(vlm, ordered, seed)
            right, contrasts, log["sampled_right"] = sorted_out(ordered, tried)
            if config.rejection_sampling and right:
                more, norm = _learn_answers(vlm, [*ordered, *right], max(1, steps // 4), config, draw)
                losses += more
            if config.contrast_steps and contrasts:
                log["contrasts"] = len(contrasts)
                losses += _learn_contrasts(vlm, contrasts, config, draw)
        log |= {"train_loss": losses, "gradient_norm": norm}
        vlm.model.eval()
    if kept:
        kept.remove()
    return vlm, log


def sorted_out(
    bought: Sequence[VisualQuestion], tried: Sequence[Sequence[str]]
) -> tuple[list[VisualQuestion], list[Contrast], float]:
    """What sampled chains are good for.

    Returns:
        The questions again with sampled chains that reach the right answer and are not the given one; pairs of the
        given chain and a sampled one that ends wrong; the share of samples that end right.
    """
    right, contrasts, n_right, n = [], [], 0, 0
    for asked, texts in zip(bought, tried, strict=True):
        given = join_chain(asked.chain, asked.answer)
        new: set[tuple[str, ...]] = set()
        wrong: set[str] = set()
        for text in texts:
            steps, answer = split_chain(text)
            n, n_right = n + 1, n_right + (answer == asked.answer)
            if answer != asked.answer:
                wrong.add(text)
            elif tuple(steps) != asked.chain and steps:
                new.add(tuple(steps))
        # regions belong to the given chain; another one has none
        right += [replace(asked, chain=steps, regions=()) for steps in sorted(new)]
        contrasts += [Contrast(asked, given, text) for text in sorted(wrong)]
    return right, contrasts, n_right / max(n, 1)


def _learn_answers(
    vlm: Vlm,
    bought: Sequence[VisualQuestion],
    steps: int,
    config: VlmConfig,
    draw: np.random.Generator,
    kept: Unfinished | None = None,
) -> tuple[list[float], float]:
    said = [join_chain(one.chain if config.chain_of_thought else (), one.answer) for one in bought]
    _, n_tokens_N = told_in_full(vlm, bought, said, longest=config.max_tokens)
    targets = targets_by_row(vlm, bought, said, longest=config.max_tokens)
    looks = config.attention > 0 and config.chain_of_thought
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


def _learn_contrasts(
    vlm: Vlm, contrasts: Sequence[Contrast], config: VlmConfig, draw: np.random.Generator
) -> list[float]:
    """Direct preference optimization (Rafailov et al. 2023, 2305.18290), length-normalised as in SimPO (2405.14734),
    with the loss of the right answer kept beside: without it the probability of right answers falls too."""

    asked, longest = [one.question for one in contrasts], 2 * config.max_tokens
    targets = {
        side: targets_by_row(vlm, asked, [getattr(one, side) for one in contrasts], longest=longest)
        for side in ("right", "wrong")
    }

    def log_probabilities(rows: Sequence[int], side: str) -> tuple[Tensor, Tensor]:
        batch = targets[side](rows)
        logits = vlm.model(**batch.inputs, use_cache=False).logits
        return sequence_log_probability(logits, batch.labels_BT), token_loss(logits, batch.labels_BT)

    before = np.zeros((len(contrasts), 2))
    with torch.no_grad(), computing(vlm, config):
        vlm.model.eval()
        for start in range(0, len(contrasts), config.predict_batch_size):
            rows = range(start, min(start + config.predict_batch_size, len(contrasts)))
            before[rows] = np.stack([log_probabilities(rows, side)[0].cpu() for side in ("right", "wrong")], axis=1)

    def losses_of(rows: list[int]) -> Tensor:
        right, answer_loss = log_probabilities(rows, "right")
        wrong, _ = log_probabilities(rows, "wrong")
        reference = torch.from_numpy(before[list(rows)]).to(right)
        gained = contrast_loss(right - reference[:, 0], wrong - reference[:, 1], config.contrast_beta)
        return torch.stack([gained, answer_loss])

    _, n_tokens_N = told_in_full(vlm, asked, [one.right for one in contrasts], longest=longest)
    counts_NL = np.stack([np.ones(len(contrasts)), n_tokens_N], axis=1)
    rate = config.learning_rate * config.contrast_learning_rate
    return descend(vlm, counts_NL, losses_of, config.contrast_steps, config, draw, rate)[0]

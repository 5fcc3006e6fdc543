"""What sampled chains teach: those that reach the right answer, contrasts of right and wrong ones, and rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rlmba_pipelines.config import VlmConfig
from rlmba_pipelines.learning.vlm.chains import is_chain, join_chain, split_chain
from rlmba_pipelines.models.vlm.backbone import VisualQuestion, Vlm, computing
from rlmba_pipelines.models.vlm.descend import descend
from rlmba_pipelines.models.vlm.losses import contrast_loss, reward_loss, sequence_log_probability, token_loss
from rlmba_pipelines.models.vlm.targets import answers_in_full, targets_by_row, targets_for, told_in_full

Sample = Callable[[Vlm, Sequence[VisualQuestion], int], list[list[str]]]


@dataclass(frozen=True)
class Contrast:
    """A right and a wrong way to answer a question, as the model would write them."""

    question: VisualQuestion
    right: str
    wrong: str


def sorted_out(
    bought: Sequence[VisualQuestion], tried: Sequence[Sequence[str]], *, with_chain: bool
) -> tuple[list[VisualQuestion], list[Contrast], float]:
    """What sampled chains are good for.

    Whether the steps of a chain are true nobody can say who has but the answer; one that is no chain, because it does
    not end or says "so" twice, is taken for neither.

    Args:
        with_chain: whether a chain is written before the answer.

    Returns:
        The questions again with sampled chains that reach the right answer and are not the given one; pairs of the
        given chain, or where none was given the first sampled one that ends right, and a sampled one that ends wrong;
        the share of samples that end right.
    """
    right, contrasts, n_right, n = [], [], 0, 0
    for asked, texts in zip(bought, tried, strict=True):
        given = asked.chain if with_chain else ()
        new: set[tuple[str, ...]] = set()
        wrong: set[str] = set()
        for text in texts:
            steps, answer = split_chain(text)
            n, n_right = n + 1, n_right + (answer == asked.answer)
            if not is_chain(text):
                continue
            if answer != asked.answer:
                wrong.add(text)
            elif with_chain and tuple(steps) != given and steps:
                new.add(tuple(steps))
        # regions belong to the given chain; another one has none
        right += [replace(asked, chain=steps, regions=()) for steps in sorted(new)]
        ends_right = [given] if given or not with_chain else sorted(new)[:1]
        contrasts += [
            Contrast(asked, join_chain(steps, asked.answer), text) for steps in ends_right for text in sorted(wrong)
        ]
    return right, contrasts, n_right / max(n, 1)


def learn_contrasts(
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


def learn_from_rewards(
    vlm: Vlm, bought: Sequence[VisualQuestion], sample: Sample, config: VlmConfig, draw: np.random.Generator
) -> tuple[list[float], list[float]]:
    """Group-relative policy optimization (GRPO, Shao et al. 2024, 2402.03300) without its biases of length and spread
    (Liu et al. 2025, 2503.20783): a chain drawn just now is worth 1 where it ends in the right answer, else 0, and is
    made likelier by as much as it is worth more than the others of its question. Every group is drawn from the weights
    that learn from it, so no ratio is clipped; the loss of the given chain holds the model where it was, in place of
    a distance to a copy.

    Returns:
        Losses, and rewards; means over tenths of the steps each.
    """
    said = answers_in_full(bought, with_chain=config.chain_of_thought)
    _, n_tokens_N = told_in_full(vlm, bought, said, longest=config.max_tokens)
    given = targets_by_row(vlm, bought, said, longest=config.max_tokens)
    rewards: list[float] = []

    def losses_of(rows: list[int]) -> Tensor:
        asked = [bought[row] for row in rows]
        vlm.model.eval()
        drawn = sample(vlm, asked, int(draw.integers(2**31)))
        vlm.model.train()
        torch.clear_autocast_cache()  # before torch 2.10 it kept weights that were cast without a gradient
        ends_BK = np.array([[split_chain(text)[1] if is_chain(text) else "" for text in texts] for texts in drawn])
        worth_BK = (ends_BK == np.array([one.answer for one in asked])[:, None]).astype(float)
        rewards.append(float(worth_BK.mean()))
        batch = given(rows)
        answer_loss = token_loss(vlm.model(**batch.inputs, use_cache=False).logits, batch.labels_BT)
        better_BK = worth_BK - worth_BK.mean(axis=1, keepdims=True)
        at_row, at_chain = np.nonzero(better_BK)  # where all of a group are right or all are wrong, nothing is learned
        if not len(at_row):
            return torch.stack([answer_loss.new_zeros(()), answer_loss])
        texts = [drawn[row][k] for row, k in zip(at_row, at_chain, strict=True)]
        tried = targets_for(vlm, [asked[row] for row in at_row], texts, longest=2 * config.max_tokens)
        logits = vlm.model(**tried.inputs, use_cache=False).logits / config.temperature  # as they were drawn
        # one that was cut off never drew the end that stands behind it here
        better = torch.from_numpy(better_BK[at_row, at_chain] * (tried.n_target_B <= config.max_tokens)).to(answer_loss)
        gained = reward_loss(logits, tried.labels_BT, better) / (worth_BK.size * config.max_tokens)
        return torch.stack([gained, answer_loss])

    counts_NL = np.stack([np.ones(len(bought)), n_tokens_N], axis=1)
    rate = config.learning_rate * config.reward_learning_rate
    losses, _ = descend(
        vlm, counts_NL, losses_of, config.reward_steps, config, draw, rate, title="learn from rewards"
    )
    return losses, [float(np.mean(part)) for part in np.array_split(rewards, min(10, len(rewards)))]

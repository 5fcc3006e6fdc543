"""The losses of the vision-language learner, pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from rlmba_pipelines.models.vlm.targets import IGNORED


def token_loss(logits_BTV: Tensor, labels_BT: Tensor) -> Tensor:
    """Mean nats a target token; position t predicts token t + 1."""
    return cross_entropy(logits_BTV[:, :-1].float().flatten(0, 1), labels_BT[:, 1:].flatten(), ignore_index=IGNORED)


def sequence_log_probability(logits_BTV: Tensor, labels_BT: Tensor) -> Tensor:
    """float32[B], mean log-probability of the target tokens of each row: long and short chains compare."""
    wanted_BT = labels_BT[:, 1:]
    counts_BT = wanted_BT != IGNORED
    log_p_BT = torch.log_softmax(logits_BTV[:, :-1].float(), -1)
    log_p_BT = log_p_BT.gather(-1, wanted_BT.clamp(min=0)[..., None])[..., 0]
    return (log_p_BT * counts_BT).sum(1) / counts_BT.sum(1).clamp(min=1)


def contrast_loss(right_B: Tensor, wrong_B: Tensor, beta: float) -> Tensor:
    """Direct preference optimization: how much more the right chain has gained on the reference than the wrong one."""
    return -logsigmoid(beta * (right_B - wrong_B)).mean()


def reward_loss(logits_BTV: Tensor, labels_BT: Tensor, better_B: Tensor) -> Tensor:
    """Policy gradient of drawn texts, a sum over them: of its gradient, expected over the draws, minus the gradient of
    the expected reward is left, (K − 1) / K of it where ``better_B`` is reward minus the mean of K draws.

    Args:
        better_B: by how much each is better than the others of its question.
    """
    wanted_BT = labels_BT[:, 1:]
    log_p = -cross_entropy(
        logits_BTV[:, :-1].float().flatten(0, 1), wanted_BT.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return -(better_B * log_p.view_as(wanted_BT).sum(1)).sum()


def attention_loss(attention_BTT: Tensor, image_BT: Tensor, target_BTT: Tensor) -> Tensor:
    """Kullback-Leibler divergence from where a step's region lies to where the model looks, nats, mean over positions.

    Only what is looked at within the image counts.

    Args:
        attention_BTT: of one head, [query, key].
        image_BT: bool, the key positions of the image.
        target_BTT: [query, key], of each query position the share of each image token in the region of its step; a
            position without any does not count, and 0 is returned where none has.
    """
    looks_BT = target_BTT.sum(-1) > 0
    if not looks_BT.any():
        return attention_BTT.sum() * 0
    on_image = (attention_BTT.float() * image_BT[:, None])[looks_BT]
    target = target_BTT[looks_BT]
    looked = on_image / on_image.sum(-1, keepdim=True).clamp(min=1e-9)
    # xlogy(target, target / looked) has no gradient where the target is 0
    return (torch.special.xlogy(target, target) - target * looked.clamp(min=1e-9).log()).sum(-1).mean()

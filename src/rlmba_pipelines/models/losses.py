"""Losses of the head ensemble: cross-entropy, and evidential deep learning.

Concept  a head states a class (cross-entropy) or how much evidence there is for each (EDL).
Source   Sensoy et al. 2018 (arXiv 1806.01768), eq. 4 (digamma form) and the KL term; Pandey and Yu 2023 (arXiv
         2306.11113) for correct evidence.
Stated   sum_c y_c (psi(S) - psi(alpha_c)) + lambda_t KL(Dir(alpha~) || Dir(1)), lambda_t = min(1, epoch / T), with
         alpha~ = (alpha - 1)(1 - y) + 1. Where a sample has no evidence at all its gradient is zero, so it is never
         learned: - u log(alpha_y - 1), u = C / S the vacuity held constant, gives it one.
Chosen   evidence = softplus(logits); T is half of the training, so that the penalty is whole in the second half;
         correct evidence has a weight, 0 by default.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """``-log softmax(logits)[y]`` in nats, float32[H, K, B].

    Args:
        logits: float32[H, K, B, C].
        y: int64[K, B], or float32[K, B, C], the probability of each class; then ``-sum_c y_c log softmax(logits)_c``.

    >>> cross_entropy(torch.zeros(1, 1, 1, 4), torch.tensor([[2]])).exp()
    tensor([[[4.]]])
    """
    if y.is_floating_point():
        return -(y * logits.log_softmax(-1)).sum(-1)
    target = y.expand(logits.shape[:-1])
    return functional.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none").view(target.shape)


def evidential(logits: Tensor, y: Tensor, *, annealing: float, correct_evidence: float = 0.0) -> Tensor:
    """Evidential loss of ``alpha = softplus(logits) + 1``, float32[H, K, B].

    Args:
        logits: float32[H, K, B, C].
        y: int64[K, B].
        annealing: weight in [0, 1] of the penalty on evidence for wrong classes.
        correct_evidence: weight >= 0 of the reward for evidence of the true class where there is little of any.

    >>> right, ignorant = torch.tensor([9.0, -99]), torch.tensor([-99.0, -99])
    >>> evidential(torch.stack([right, ignorant])[None, None], torch.tensor([[0, 0]]), annealing=1.0)  # 1 / 10, 1 / 1
    tensor([[[0.1000, 1.0000]]])
    """
    alpha = functional.softplus(logits) + 1
    right = functional.one_hot(y, alpha.shape[-1]).to(alpha.dtype)
    misfit = torch.digamma(alpha.sum(-1)) - torch.digamma((alpha * right).sum(-1))
    loss = misfit + annealing * _divergence_from_ignorance(alpha * (1 - right) + right)
    return loss + correct_evidence * missing_evidence(logits, y) if correct_evidence else loss


def missing_evidence(logits: Tensor, y: Tensor) -> Tensor:
    """Correct-evidence regularizer ``-u log(evidence of y)``, vacuity ``u = C / S`` held constant, float32[H, K, B].

    Its gradient on the true logit is -u sigmoid / softplus, which tends to -1 where evidence vanishes, not to 0.

    Args:
        logits: float32[H, K, B, C].
        y: int64[K, B].

    >>> missing_evidence(torch.tensor([[[[-100.0, -100]]]]), torch.tensor([[0]]))  # u = 1, log evidence = -100
    tensor([[[100.]]])
    """
    alpha = functional.softplus(logits) + 1
    vacuity = (alpha.shape[-1] / alpha.sum(-1)).detach()
    true_logit = logits.gather(-1, y.expand(logits.shape[:-1])[..., None])[..., 0]
    return -vacuity * _log_softplus(true_logit)


def _log_softplus(logits: Tensor) -> Tensor:
    """``log softplus(x)``, which is x to float precision below -20, where softplus itself would run out of digits."""
    return torch.where(logits < -20, logits, functional.softplus(logits.clamp_min(-20)).log())


def _divergence_from_ignorance(alpha: Tensor) -> Tensor:
    """KL(Dir(alpha) || Dir(1)) over the last axis."""
    strength = alpha.sum(-1, keepdim=True)
    ignorance = torch.lgamma(torch.tensor(float(alpha.shape[-1])))
    spread = (alpha - 1) * (torch.digamma(alpha) - torch.digamma(strength))
    return torch.lgamma(strength[..., 0]) - ignorance - torch.lgamma(alpha).sum(-1) + spread.sum(-1)

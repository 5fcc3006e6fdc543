"""Losses of the head ensemble: cross-entropy, and evidential deep learning.

Concept  a head states a class (cross-entropy) or how much evidence there is for each (EDL).
Source   Sensoy et al. 2018 (arXiv 1806.01768), eq. 4 (digamma form) and the KL term.
Stated   sum_c y_c (psi(S) - psi(alpha_c)) + lambda_t KL(Dir(alpha~) || Dir(1)), lambda_t = min(1, epoch / T).
Chosen   evidence = softplus(logits); T is half of the training, so that the penalty is whole in the second half.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """``-log softmax(logits)[y]`` in nats, float32[H, K, B].

    Args:
        logits: float32[H, K, B, C].
        y: int64[K, B].

    >>> cross_entropy(torch.zeros(1, 1, 1, 4), torch.tensor([[2]])).exp()
    tensor([[[4.]]])
    """
    target = y.expand(logits.shape[:-1])
    return functional.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none").view(target.shape)


def evidential(logits: Tensor, y: Tensor, *, annealing: float) -> Tensor:
    """Evidential loss of ``alpha = softplus(logits) + 1``, float32[H, K, B].

    Args:
        logits: float32[H, K, B, C].
        y: int64[K, B].
        annealing: weight in [0, 1] of the penalty on evidence for wrong classes.

    >>> right, ignorant = torch.tensor([9.0, -99]), torch.tensor([-99.0, -99])
    >>> evidential(torch.stack([right, ignorant])[None, None], torch.tensor([[0, 0]]), annealing=1.0)  # 1 / 10, 1 / 1
    tensor([[[0.1000, 1.0000]]])
    """
    alpha = functional.softplus(logits) + 1
    right = functional.one_hot(y, alpha.shape[-1]).to(alpha.dtype)
    misfit = torch.digamma(alpha.sum(-1)) - torch.digamma((alpha * right).sum(-1))
    return misfit + annealing * _divergence_from_ignorance(alpha * (1 - right) + right)


def _divergence_from_ignorance(alpha: Tensor) -> Tensor:
    """KL(Dir(alpha) || Dir(1)) over the last axis."""
    strength = alpha.sum(-1, keepdim=True)
    ignorance = torch.lgamma(torch.tensor(float(alpha.shape[-1])))
    spread = (alpha - 1) * (torch.digamma(alpha) - torch.digamma(strength))
    return torch.lgamma(strength[..., 0]) - ignorance - torch.lgamma(alpha).sum(-1) + spread.sum(-1)

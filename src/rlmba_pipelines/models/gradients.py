"""Gradient balancing: what each modality's trunk is told, where one modality or one loss would drown out another.

Concept  a modality that is ahead stops the others from learning (OGM-GE); the fused loss and a modality's own loss may
         pull one trunk in opposite directions (MMPareto).
Source   Peng et al. 2022 (arXiv 2203.15332), eq. 8 to 10, and the authors' code; Wei and Hu 2024 (arXiv 2405.17730),
         alg. 1, and the authors' code.
Stated   OGM: k_u = 1 - tanh(a relu(rho_u)) where rho_u > 1, else 1; rho_u = s_u / s_other for two modalities, s_u the
         sum of the probabilities that the fused head gives the true classes by u alone. GE: Gaussian noise of the
         spread of the gradient. MMPareto: the plain sum of both gradients of a trunk unless their cosine is negative;
         then twice their min-norm combination, made at least as long as the plain sum, times gamma.
Chosen   rho_u = s_u / mean of the other modalities' s, which is the paper's for two and serves any number; s_u is a
         mean over the samples that have u, so that absence is no weakness, and a softmax whatever the loss. The fused
         bias counts whole, not halved. A trunk is its matrix, its bias and, when fine-tuned, its encoder; its gradient
         of all losses is scaled, and the noise has the spread of the entries of each of these gradients before that,
         as in the code. In MMPareto a trunk meets two losses whatever the number of modalities, so the min-norm problem
         is always the one of two gradients and has a closed form. gamma = 1, so that without conflict nothing changes,
         to the bit. Gradients that cancel exactly leave no common direction, and the trunk rests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rlmba_pipelines.models.fusion import FusionNetwork, Heads

ROUNDING = 1e-6  # k jumps at rho = 1, so modalities that are equal but for rounding must count as equal
LEAST_SPREAD = 1e-8  # of the noise, as in the authors' code
CANCELED = 1e-6  # a combination shorter than this share of the two gradients is rounding, not a direction


def ogm_coefficients(score_M: Tensor, alpha: float) -> Tensor:
    """How much of its gradient each modality keeps, float32[M] in [0, 1].

    Args:
        score_M: float32[M], mean probability of the true class by each modality alone; NaN where no sample has it.
        alpha: >= 0, how hard the leading modalities are held back.

    A modality without samples, or without a rival, keeps all; so do all where every score is 0.

    >>> ogm_coefficients(torch.tensor([0.8, 0.4]), alpha=0.5)  # rho = 2 and 1/2; 1 - tanh(1)
    tensor([0.2384, 1.0000])
    """
    seen_M = score_M.isfinite()
    score_M = score_M.nan_to_num(0.0)
    rivals_M = (score_M.sum() - score_M) / (seen_M.sum() - seen_M.to(score_M)).clamp_min(1)
    ratio_M = torch.where(rivals_M > 0, score_M / rivals_M.clamp_min(torch.finfo(score_M.dtype).tiny), 1.0)
    return torch.where(ratio_M > 1 + ROUNDING, 1 - torch.tanh(alpha * ratio_M), 1.0)


def min_norm_share(one: Tensor, other: Tensor) -> float:
    """The share a in [0, 1] for which ``a one + (1 - a) other`` is shortest (Desideri 2012, for two gradients).

    Args:
        one, other: float32[P]; equal gradients give 1/2.

    >>> min_norm_share(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0]))  # the foot lies near the shorter one
    0.2
    """
    between = one - other
    length = float(between @ between)
    return 0.5 if length == 0 else min(1.0, max(0.0, float(-between @ other) / length))


def pareto_direction(fused: Tensor, own: Tensor) -> Tensor | None:
    """What a trunk follows when its two gradients conflict, float32[P]; None where they do not.

    Neither loss rises along its negative: the direction has a nonnegative product with both gradients.

    Args:
        fused, own: float32[P], gradients of the fused loss and of the modality's own loss.

    >>> pareto_direction(torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 2.0]))  # min-norm (.5, .5), as long as (0, 2)
    tensor([1.4142, 1.4142])
    >>> pareto_direction(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 2.0])) is None
    True
    """
    if float(fused @ own) >= 0:
        return None
    share = min_norm_share(fused, own)
    direction = 2 * share * fused + 2 * (1 - share) * own
    length, plain = float(direction.norm()), float((fused + own).norm())
    if length <= CANCELED * float(fused.norm() + own.norm()):
        return torch.zeros_like(direction)
    return direction * max(1.0, plain / length)


def alone_scores(network: FusionNetwork, heads: Heads, y: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of the true class by the fused head with one modality alone: its sum, and how many samples have it.

    Args:
        heads: of the batch.
        y: int64[K, B].
        present: float32[M, K, B].

    Returns:
        float32[M], float32[M].
    """
    with torch.no_grad():
        sums = []
        for m in range(len(present)):
            alone = torch.zeros_like(present)
            alone[m] = present[m]
            features = heads.modality_embedding * alone[..., None]
            p_KB = network.fused_logits(network.fuse(features, alone)).float().softmax(-1).gather(-1, y[..., None])
            sums.append((p_KB[..., 0] * present[m]).sum())
        return torch.stack(sums), present.sum((1, 2))


class GradientBalance:
    """Changes the gradients of the trunks between ``backward`` and the step of the optimizer.

    ``watch`` is called before every ``backward`` of a step (one for each micro-batch), ``apply`` once after them.
    """

    def __init__(self, network: FusionNetwork, method: str, alpha: float, draw: torch.Generator) -> None:
        self.network, self.method, self.alpha, self.draw = network, method, alpha, draw
        self.named = {name: p for name, p in network.named_parameters() if of_trunks(name)}
        self._forget()

    def _forget(self) -> None:
        self._scores: list[tuple[Tensor, Tensor]] = []
        self._fused: dict[str, Tensor] = {}

    def watch(self, heads: Heads, y: Tensor, present: Tensor, fused_loss: Tensor) -> None:
        """Remember what the method needs of a batch; ``fused_loss`` is the part of the loss that the fused head has."""
        if self.method == "ogm_ge":
            self._scores.append(alone_scores(self.network, heads, y, present))
            return
        found = torch.autograd.grad(fused_loss, list(self.named.values()), retain_graph=True, allow_unused=True)
        for (name, parameter), gradient in zip(self.named.items(), found, strict=True):
            new = torch.zeros_like(parameter) if gradient is None else gradient
            self._fused[name] = self._fused[name] + new if name in self._fused else new

    @torch.no_grad()
    def apply(self) -> None:
        """Change the gradients in place, and forget the step."""
        total = {name: p.grad for name, p in self.named.items() if p.grad is not None}
        n_modalities = len(self.network.trunks)
        if self.method == "ogm_ge" and n_modalities > 1:
            score_M, count_M = (torch.stack(parts).sum(0) for parts in zip(*self._scores, strict=True))
            for m, share in enumerate(ogm_coefficients(score_M / count_M, self.alpha).tolist()):
                self._soften(gradients_of(total, m), share)
        elif self.method == "mmpareto":
            for m in range(n_modalities):
                whole = gradients_of(total, m)
                flat, fused = _flat(whole), _flat(gradients_of(self._fused, m))
                direction = pareto_direction(fused, flat - fused)
                if direction is not None:
                    for part, new in zip(whole, direction.split([part.numel() for part in whole]), strict=True):
                        part.copy_(new.view_as(part))
        self._forget()

    def _soften(self, gradients: Sequence[Tensor], share: float) -> None:
        for gradient in gradients:
            noise = torch.randn(gradient.shape, generator=self.draw).to(gradient)
            spread = gradient.std(correction=0) + LEAST_SPREAD
            gradient.mul_(share).add_(noise * spread)


def of_trunks(name: str) -> bool:
    """Whether a parameter belongs to the trunk or the encoder of a modality."""
    return name == "trunk_bias" or name.startswith(("trunks.", "towers."))


def gradients_of(gradients: Mapping[str, Tensor], m: int) -> list[Tensor]:
    """The gradients of modality ``m``; that of its bias is a view of the one that all share."""
    own = [g for name, g in gradients.items() if name == f"trunks.{m}" or name.startswith(f"towers.{m}.")]
    return [*own, gradients["trunk_bias"][m]]


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])

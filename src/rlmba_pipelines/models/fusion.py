"""The fusion network: one trunk a modality, one head ensemble a modality, one on their fusion.

Concept  multimodal fusion with unimodal heads, the learner of every strategy (RL-MBA, arXiv 2603.25107).
Source   the abstract; the convex fusion f = sum_m w_m f_m is second-hand.
Stated   modalities are fused under weights that follow their contribution.
Chosen   LayerNorm, Linear, GELU, Dropout a modality; K linear heads in one matrix; masks for absent modalities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALLEST_WEIGHT = 1e-12


def normalized(block: Tensor) -> Tensor:
    """The LayerNorm of a trunk, float32[B, D]; the Linear after it makes a gain and a bias of its own redundant.

    >>> normalized(torch.tensor([[1.0, 3.0]]))
    tensor([[-1.0000,  1.0000]])
    """
    return functional.layer_norm(block, block.shape[1:])


class Heads(NamedTuple):
    """What the network says about B samples.

    Attributes:
        logits: float32[M + 1, B, K, C]; the last plane is the fused one.
        modality_embedding: float32[M, B, W], zeros where absent.
        embedding: float32[B, E], the fused representation (E is M * W for ``concat``, else W).
    """

    logits: Tensor
    modality_embedding: Tensor
    embedding: Tensor


class FusionNetwork(nn.Module):
    """Per modality a trunk f_m, on top of it K linear heads, and K linear heads on the fusion.

    Args:
        dims: modality -> D_m, in the order of every M axis.
        fusion: ``concat`` lays ``M w_m f_m`` side by side; ``convex`` is ``sum_m w_m f_m`` with ``w`` renormalized over
            what is present; ``gated`` is the same with ``w_m`` multiplied by a learned gate of the sample.
        weights_M: float32[M] on the simplex.
        generator: draws every initial weight, so that a seed names one network.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        n_classes: int,
        width: int,
        n_heads: int,
        fusion: str,
        weights_M: Tensor,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.fusion, self.n_heads, self.n_classes = fusion, n_heads, n_classes
        n_modalities, fused_width = len(dims), width * (len(dims) if fusion == "concat" else 1)

        def drawn(*shape: int, fan_in: int) -> nn.Parameter:
            bound = fan_in**-0.5
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))

        self.trunks = nn.ParameterList(drawn(width, dim, fan_in=dim) for dim in dims.values())
        self.trunk_bias = nn.Parameter(torch.zeros(n_modalities, width))
        self.head_weight = drawn(n_modalities, width, n_heads * n_classes, fan_in=width)
        self.head_bias = nn.Parameter(torch.zeros(n_modalities, 1, n_heads * n_classes))
        self.fused_weight = drawn(fused_width, n_heads * n_classes, fan_in=fused_width)
        self.fused_bias = nn.Parameter(torch.zeros(n_heads * n_classes))
        self.gate = nn.Parameter(torch.zeros(n_modalities, width, 1)) if fusion == "gated" else None
        self.weights_M: Tensor
        self.register_buffer("weights_M", weights_M)

    def forward(
        self,
        blocks: Sequence[Tensor],
        present: Tensor,
        *,
        keep: Tensor | None = None,
        fused_present: Tensor | None = None,
    ) -> Heads:
        """Logits of every head.

        Args:
            blocks: M tensors float32[B, D_m], each through ``normalized``; rows of absent modalities must be finite.
            present: float32[B, M], 1 where the sample has the modality.
            keep: float32[M, B, W], dropout mask scaled to mean 1; None when predicting.
            fused_present: float32[B, M], what the fused head may see (modality dropout); None = ``present``.
        """
        hidden = [
            functional.linear(block, trunk, bias)
            for block, trunk, bias in zip(blocks, self.trunks, self.trunk_bias, strict=True)
        ]
        features = functional.gelu(torch.stack(hidden)) * present.T[..., None]
        if keep is not None:
            features = features * keep
        unimodal = torch.baddbmm(self.head_bias, features, self.head_weight)
        embedding = self.fuse(features, present if fused_present is None else fused_present)
        fused = torch.addmm(self.fused_bias, embedding, self.fused_weight)
        logits = torch.cat([unimodal, fused[None]]).unflatten(-1, (self.n_heads, self.n_classes))
        return Heads(logits, features, embedding)

    def fuse(self, features: Tensor, present: Tensor) -> Tensor:
        """Fused representation float32[B, E] of features float32[M, B, W] under the mask ``present`` float32[B, M]."""
        mask = present.T[..., None]
        if self.fusion == "concat":
            scaled = features * (mask * (len(features) * self.weights_M)[:, None, None])
            return scaled.transpose(0, 1).flatten(1)
        weights = mask * self.weights_M[:, None, None]
        if self.gate is not None:
            weights = weights * torch.exp(torch.tanh(torch.bmm(features, self.gate)))
        return (features * (weights / weights.sum(0).clamp_min(SMALLEST_WEIGHT))).sum(0)

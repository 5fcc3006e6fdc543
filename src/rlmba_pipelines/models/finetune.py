"""Small encoders that are trained together with the fusion network (``fusion.mode: finetune``).

Concept  where no frozen encoder fits the data, the labels that are bought teach one from scratch, end to end.
Source   strided convolutions (LeCun et al. 1989) for pictures and spectra; a bag of hashed n-grams times an embedding
         matrix (Joulin et al. 2016, arXiv 1607.01759) for text.
Stated   the loss of the heads reaches every weight of the encoders.
Chosen   three 3 x 3 convolutions of stride 2 (16, 32, 64 channels, GELU), averages over a few cells, one matrix to the
         width of the trunk, LayerNorm. Blocks of ``Features`` hold decoded media on a small grid
         (``encoders/grids.py``), so a fine-tuned model is predicted with, packed and measured as every other. Encoders
         have their own learning rate; on CUDA they compute in bfloat16 while they are trained. Video is the mean
         picture and the spread of the pictures, six channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlmba_pipelines.config import GRID_BANDS, GRID_PIXELS
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.models.fusion import FusionNetwork, normalized
from rlmba_pipelines.precision import bfloat16_if

TOWERS = "towers."  # how the names of encoder weights start
CHANNELS = (16, 32, 64)
IMAGE_CELLS, AUDIO_CELLS = (2, 2), (5, 1)  # where in a picture, and how high a sound is, matters; when, does not


class ConvTower(nn.Module):
    """Convolutions over grids of ``channels`` x rows x columns; weights are drawn by ``draw_weights``."""

    def __init__(self, grid: tuple[int, int, int], cells: tuple[int, int], width: int) -> None:
        super().__init__()
        self.grid, self.cells = grid, cells
        sizes = (grid[0], *CHANNELS)
        self.kernels = nn.ParameterList(torch.empty(o, i, 3, 3) for i, o in zip(sizes, CHANNELS, strict=False))
        self.shifts = nn.ParameterList(torch.zeros(o) for o in CHANNELS)
        self.matrix = nn.Parameter(torch.empty(CHANNELS[-1] * math.prod(cells), width))

    def forward(self, block: Tensor) -> Tensor:
        """float32[..., D] to [..., W]."""
        hidden = block.reshape(-1, *self.grid)
        for kernel, shift in zip(self.kernels, self.shifts, strict=True):
            hidden = functional.gelu(functional.conv2d(hidden, kernel, shift, stride=2, padding=1))
        pooled = functional.adaptive_avg_pool2d(hidden, self.cells).flatten(1)
        return (pooled @ self.matrix).reshape(*block.shape[:-1], -1)


class BagTower(nn.Module):
    """The sum of the embeddings of what a text holds, from its counts."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.empty(dim, width))

    def forward(self, block: Tensor) -> Tensor:
        """float32[..., D] to [..., W]."""
        return block @ self.matrix


class EndToEndNetwork(FusionNetwork):
    """A fusion network with an encoder below each trunk.

    Args:
        dims: modality -> D_m of the decoded media; text, audio, image and video are known.
        width: W, of encoders and trunks.
        options: the other arguments of ``FusionNetwork``.
    """

    def __init__(self, dims: Mapping[str, int], *, width: int, **options: Any) -> None:
        super().__init__(dict.fromkeys(dims, width), width=width, **options)
        self.towers = nn.ModuleList(tower_of(name, dim, width) for name, dim in dims.items())

    def draw_weights(self, generator: torch.Generator) -> None:
        super().draw_weights(generator)
        for parameter in self.towers.parameters():
            if parameter.dim() > 1:  # shifts start at 0
                fan_in = parameter.shape[0] if parameter.dim() == 2 else math.prod(parameter.shape[1:])
                with torch.no_grad():
                    parameter.normal_(0, (2 / fan_in) ** 0.5, generator=generator)

    def embed(self, blocks: Sequence[Tensor]) -> Tensor:
        encoded = []
        for block, tower in zip(blocks, self.towers, strict=True):
            with bfloat16_if(self.training and block.is_cuda):
                rows = tower(block)
            encoded.append(normalized(rows.to(self.weights_M)))  # bfloat16 ends here
        return super().embed(encoded)


def tower_of(modality: str, dim: int, width: int) -> nn.Module:
    """The encoder for a block of decoded media that is ``dim`` wide.

    Raises:
        UserError: the block does not hold the decoded media of this modality.
    """
    if modality == "text":
        return BagTower(dim, width)
    channels, pixels_left = divmod(dim, GRID_PIXELS**2)
    frames, bands_left = divmod(dim, GRID_BANDS)
    if modality == "audio" and frames and not bands_left:
        return ConvTower((1, GRID_BANDS, frames), AUDIO_CELLS, width)
    if modality in ("image", "video") and channels and not pixels_left:
        return ConvTower((channels, GRID_PIXELS, GRID_PIXELS), IMAGE_CELLS, width)
    raise UserError(
        f"fusion.mode is 'finetune', but the features of {modality!r} ({dim} wide) are no decoded media; start a new "
        "experiment with this mode from its first round."
    )


def new_network(mode: str, dims: Mapping[str, int], **options: Any) -> FusionNetwork:
    """The network of a mode, its weights not set yet."""
    return EndToEndNetwork(dims, **options) if mode == "finetune" else FusionNetwork(dims, **options)

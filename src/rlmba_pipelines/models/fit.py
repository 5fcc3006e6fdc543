"""Fit the fusion network on the labels bought so far.

The same seed, labels and features give the same bits on a CPU, in whatever order the labels come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlmba_pipelines.config import FusionConfig
from rlmba_pipelines.learning.types import Features, Labels, UserError
from rlmba_pipelines.models.adamw import AdamW
from rlmba_pipelines.models.early_stopping import BestModel
from rlmba_pipelines.models.finetune import TOWERS, new_network
from rlmba_pipelines.models.fusion import FusionNetwork
from rlmba_pipelines.models.gradients import GradientBalance
from rlmba_pipelines.models.losses import cross_entropy, evidential
from rlmba_pipelines.models.state import FREQUENCY, FusionState, device_of, tensors_of, torch_threads


class Taught(NamedTuple):
    """What a teacher says of samples without a label.

    Attributes:
        sample_ids: str[U], sorted.
        probabilities_UC: float64[U, C].
    """

    sample_ids: np.ndarray
    probabilities_UC: np.ndarray


def fit_fusion(
    features: Features,
    labels: Labels,
    config: FusionConfig,
    *,
    seed: int,
    weights_M: np.ndarray | None = None,
    validation: Labels | None = None,
    taught: Taught | None = None,
) -> FusionState:
    """Train the fusion network from scratch on ``labels``.

    Every member of the head ensemble walks through the labels in minibatches of its own, from initial weights of its
    own; the trunks learn from all of them. (A bootstrap of the labels cost up to 3 points of accuracy on emoji
    and is left out.) AdamW, cosine schedule: ``epochs`` passes of each member, and at least ``min_steps`` steps.

    Args:
        features: of at least the labeled samples, those of ``validation`` included.
        labels: at least one; classes without a label are allowed.
        seed: names initial weights, minibatches and dropout.
        weights_M: float64[M] on the simplex; None is uniform.
        validation: with ``config.early_stopping``, the weights kept are those with the least NLL on these; None or no
            label keeps the last weights.
        taught: samples to learn from besides, each as much as a labeled one.

    Raises:
        UserError: no label at all, or features or a loss that are not finite; the samples are named.
    """
    if not len(labels):
        raise UserError("There is no label to train on yet: answer more of the batch, or buy a larger start batch.")
    with torch_threads(config.threads):
        return _fit(features, labels, config, seed, weights_M, validation, taught)


def _fit(
    features: Features,
    labels: Labels,
    config: FusionConfig,
    seed: int,
    weights_M: np.ndarray | None,
    validation: Labels | None,
    taught: Taught | None,
) -> FusionState:
    order = np.argsort(labels.sample_ids)
    sample_ids = labels.sample_ids[order]
    if taught is not None:
        sample_ids = np.concatenate([sample_ids, taught.sample_ids])
    taken = features.take(sample_ids)
    n_samples, n_modalities, n_classes = len(taken), len(taken.modalities), len(labels.classes)
    device, draw = device_of(config.device), torch.Generator().manual_seed(seed)
    blocks, present_MN = tensors_of(taken, device)
    y_N = torch.from_numpy(labels.y[order].astype(np.int64)).to(device)
    if taught is not None:
        told = torch.from_numpy(taught.probabilities_UC.astype(np.float32)).to(device)
        y_N = torch.cat([torch.nn.functional.one_hot(y_N, n_classes).float(), told])

    weights = np.full(n_modalities, 1 / n_modalities) if weights_M is None else np.asarray(weights_M)
    dims = {name: block.shape[1] for name, block in taken.blocks.items()}
    network = new_network(
        config.mode, dims, n_classes=n_classes, width=config.width, n_heads=config.n_heads, fusion=config.fusion,
        activation=config.activation, weights_M=torch.from_numpy(weights.astype(np.float32)),
    )
    network.draw_weights(draw)
    network.to(device)
    batch_size = min(config.train_batch_size, n_samples)
    steps_per_epoch = n_samples // batch_size
    steps = max(config.min_steps, config.epochs * steps_per_epoch)
    optimizers = _optimizers(network, config)
    balance = None if config.gradient == "none" else GradientBalance(network, config.gradient, config.ogm_alpha, draw)
    losses: list[float] = []

    def state(**log: object) -> FusionState:
        tensors = {name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()}
        tensors[FREQUENCY] = np.bincount(labels.y, minlength=n_classes) / len(labels)
        return FusionState(
            tensors=tensors, modalities=taken.modalities, classes=labels.classes, dims=dims, fusion=config.fusion,
            activation=config.activation, loss=config.loss, width=config.width, n_heads=config.n_heads, log=log,
            mode=config.mode, fingerprints=dict(taken.fingerprints),
        )

    best = BestModel(features, validation, config, steps) if config.early_stopping and validation else None
    for epoch in range(math.ceil(steps / steps_per_epoch)):
        total = torch.zeros((), device=device)
        order_KN = torch.rand(config.n_heads, n_samples, generator=draw).argsort(1).to(device)
        steps_now = min(steps_per_epoch, steps - epoch * steps_per_epoch)
        for step in range(steps_now):
            progress = (epoch * steps_per_epoch + step) / steps
            rows_KB = order_KN[:, step * batch_size : (step + 1) * batch_size]
            loss_KB = _descend(network, blocks, present_MN, y_N, rows_KB, config, progress, draw, balance)
            for optimizer, learning_rate in optimizers:
                optimizer.step(learning_rate * 0.5 * (1 + math.cos(math.pi * progress)))
            total += loss_KB.mean()
            if best is not None:
                best.look(epoch * steps_per_epoch + step + 1, state)
        losses.append(float(total) / steps_now)
        if not math.isfinite(losses[-1]):
            bad = sample_ids[rows_KB[~torch.isfinite(loss_KB)].unique().cpu().numpy()][:3]
            raise UserError(f"The training loss is not finite in epoch {epoch} (samples {', '.join(map(str, bad))}"
                            " …); the model before stays, lower fusion.learning_rate.")
    log = {"train_loss": losses, "gradient_norm": optimizers[0][0].gradient_norm()}
    return state(**log) if best is None else best.kept(log)


def _descend(
    network: FusionNetwork,
    blocks: Sequence[Tensor],
    present_MN: Tensor,
    y_N: Tensor,
    rows_KB: Tensor,
    config: FusionConfig,
    progress: float,
    draw: torch.Generator,
    balance: GradientBalance | None,
) -> Tensor:
    """Leave the gradient of a batch at the parameters, gathered over ``config.accumulate`` parts of it.

    Returns:
        float32[K, B], the loss of every sample, detached.
    """
    parts = []
    for rows in rows_KB.chunk(config.accumulate, 1):
        present, y, flat = present_MN[:, rows], y_N[rows], rows.flatten()
        heads = network(
            [block.index_select(0, flat).view(*rows.shape, -1) for block in blocks], present,
            keep=_kept((*present.shape, config.width), config.dropout, draw, present.device),
            fused_present=_modality_dropout(present, config.modality_dropout, draw),
        )
        loss_HKB = _loss_by_head(heads.logits, y, config, progress)
        share = rows.shape[1] / rows_KB.shape[1]
        if balance is not None:
            fused_share = share / (1 + config.unimodal_loss * len(present))
            balance.watch(heads, y, present, loss_HKB[-1].mean() * fused_share)
        loss_HKB.backward(_slope_of_joint_loss(present, config, share))
        parts.append(_joint_loss(loss_HKB.detach(), present, config))
    if balance is not None:
        balance.apply()
    return torch.cat(parts, 1)


def _optimizers(network: FusionNetwork, config: FusionConfig) -> list[tuple[AdamW, float]]:
    """Every optimizer with its learning rate: encoders that are trained along take smaller steps than the rest."""
    towers: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in network.named_parameters():
        (towers if name.startswith(TOWERS) else rest).append(parameter)
    found = [(AdamW(rest, weight_decay=config.weight_decay), config.learning_rate)]
    if towers:
        found.append((AdamW(towers, weight_decay=config.weight_decay), config.encoder_learning_rate))
    return found


def _loss_by_head(logits: Tensor, y: Tensor, config: FusionConfig, progress: float) -> Tensor:
    """Loss of every head on each sample of each member, float32[M + 1, K, B]; the last plane is the fused head's."""
    if config.loss == "edl":
        annealing = min(1.0, 2 * progress)
        return evidential(logits, y, annealing=annealing, correct_evidence=config.correct_evidence)
    return cross_entropy(logits, y)


def _joint_loss(loss_HKB: Tensor, present: Tensor, config: FusionConfig) -> Tensor:
    """Loss of each sample of each member, float32[K, B]: the mean over the fused head and, with weight
    ``unimodal_loss``, the heads of the present modalities."""
    unimodal = config.unimodal_loss * (loss_HKB[:-1] * present).sum(0)
    return (loss_HKB[-1] + unimodal) / (1 + config.unimodal_loss * len(present))


def _slope_of_joint_loss(present: Tensor, config: FusionConfig, share: float) -> Tensor:
    """What ``share`` of the mean of :func:`_joint_loss` gains by the loss of each head, float32[M + 1, K, B].

    Autograd finds the same bits, in a dozen steps over tiny tensors that take several percent of a fit.
    """
    fused = torch.full_like(present[:1], share) / present[0].numel() / (1 + config.unimodal_loss * len(present))
    return torch.cat([fused * config.unimodal_loss * present, fused])


def _kept(shape: tuple[int, ...], dropout: float, draw: torch.Generator, device: torch.device) -> Tensor | None:
    """Which entries survive dropout, scaled to mean 1. One draw of 64 bits serves 8 entries, so the share that is
    dropped is a multiple of 1/256."""
    dropped = round(256 * dropout)
    if not dropped:
        return None
    n = math.prod(shape)
    words = torch.empty((n + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=draw)
    kept = words.numpy().view(np.uint8)[:n] >= dropped  # numpy compares bytes many times faster than torch
    return torch.from_numpy(np.multiply(kept, 256 / (256 - dropped), dtype=np.float32).reshape(shape)).to(device)


def _modality_dropout(present: Tensor, share: float, draw: torch.Generator) -> Tensor:
    """Hide each modality from the fused head with probability ``share``, but never all that a sample has."""
    if not share:
        return present
    seen = present * (torch.rand(present.shape, generator=draw) >= share).to(present)
    return torch.where(seen.any(0), seen, present)

"""Fit the fusion network on the labels bought so far, and predict with it.

The same seed, labels and features give the same bits on a CPU, in whatever order the labels come; a prediction
depends on its own sample only, because every batch has the same shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rlmba_pipelines.config import FusionConfig
from rlmba_pipelines.learning.types import Features, Labels, Predictions, UserError
from rlmba_pipelines.models.fusion import FusionNetwork, normalized
from rlmba_pipelines.models.losses import cross_entropy, evidential
from rlmba_pipelines.models.reduce import check_finite_rows

FREQUENCY = "class_frequency_C"
PackedModel = tuple[dict[str, np.ndarray], dict[str, Any]]  # arrays for safetensors, facts for JSON


@dataclass(frozen=True)
class FusionState:
    """A fitted network as plain arrays.

    Attributes:
        tensors: name -> array, ready for safetensors: the network's float32 weights and ``class_frequency_C``, float64.
        modalities: M names, order of the M axis.
        classes: C names.
        dims: modality -> D_m.
        fusion, loss, width, n_heads: what is needed to build the network again.
        log: ``train_loss`` (mean by epoch) and ``gradient_norm`` (of the last step).
    """

    tensors: Mapping[str, np.ndarray]
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    dims: Mapping[str, int]
    fusion: str
    loss: str
    width: int
    n_heads: int
    log: Mapping[str, Any]

    def pack(self) -> PackedModel:
        """Arrays and JSON-able facts; ``unpack`` gives the same state back."""
        facts = {name: value for name, value in vars(self).items() if name not in ("tensors", "dims")}
        return dict(self.tensors), {**facts, "dims": list(self.dims.values())}

    @classmethod
    def unpack(cls, packed: PackedModel) -> FusionState:
        """The state that ``pack`` described, also after a trip through JSON."""
        arrays, facts = packed
        modalities = tuple(facts["modalities"])
        dims = dict(zip(modalities, facts["dims"], strict=True))
        return cls(**{**facts, "tensors": arrays, "modalities": modalities, "classes": tuple(facts["classes"]), "dims": dims})


def fit_fusion(
    features: Features, labels: Labels, config: FusionConfig, *, seed: int, weights_M: np.ndarray | None = None
) -> FusionState:
    """Train the fusion network from scratch on ``labels``.

    Members of the head ensemble differ by their initial weights and by a Poisson(1) weight for every sample (the online
    bootstrap); the trunks are shared. AdamW, cosine schedule, at least ``min_steps`` steps.

    Args:
        features: of at least the labeled samples.
        labels: of at least two classes; classes without a label are allowed.
        seed: names initial weights, bootstrap, minibatches and dropout.
        weights_M: float64[M] on the simplex; None is uniform.

    Raises:
        UserError: labels of fewer than two classes.
        ValueError: features or a loss that are not finite; the samples are named.
    """
    present_classes = np.unique(labels.y)
    if len(present_classes) < 2:
        raise UserError(f"Training needs labels of at least two classes; the {len(labels)} labels bought so far have "
                        f"{len(present_classes)}. Buy a larger start batch (experiment.start_size).")
    with torch_threads(config.threads):
        return _fit(features, labels, config, seed, weights_M)


def _fit(
    features: Features, labels: Labels, config: FusionConfig, seed: int, weights_M: np.ndarray | None
) -> FusionState:
    order = np.argsort(labels.sample_ids)
    sample_ids, y_N = labels.sample_ids[order], torch.from_numpy(labels.y[order].astype(np.int64))
    taken = features.take(sample_ids)
    n_samples, n_modalities, n_classes = len(taken), len(taken.modalities), len(labels.classes)
    device = _device(config.device)
    draw = torch.Generator().manual_seed(seed)

    weights = np.full(n_modalities, 1 / n_modalities) if weights_M is None else np.asarray(weights_M)
    dims = {name: block.shape[1] for name, block in taken.blocks.items()}
    network = FusionNetwork(
        dims, n_classes=n_classes, width=config.width, n_heads=config.n_heads, fusion=config.fusion,
        weights_M=torch.from_numpy(weights.astype(np.float32)), generator=draw,
    ).to(device)
    bootstrap_NK = torch.poisson(torch.ones(n_samples, config.n_heads), generator=draw)
    if config.n_heads == 1:
        bootstrap_NK.fill_(1.0)

    blocks, present_NM = _tensors(taken, device)
    y_N, bootstrap_NK = y_N.to(device), bootstrap_NK.to(device)
    batch_size = min(config.train_batch_size, n_samples)
    steps_per_epoch = math.ceil(n_samples / batch_size)
    epochs = max(config.epochs, math.ceil(config.min_steps / steps_per_epoch))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True, betas=(0.9, 0.99)
    )
    losses: list[float] = []
    for epoch in range(epochs):
        total = torch.zeros((), device=device)
        for i, rows in enumerate(torch.randperm(n_samples, generator=draw).to(device).split(batch_size)):
            progress = (epoch * steps_per_epoch + i) / (epochs * steps_per_epoch)
            optimizer.param_groups[0]["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
            present = present_NM[rows]
            heads = network(
                [block[rows] for block in blocks], present,
                keep=_kept((n_modalities, len(rows), config.width), config.dropout, draw, device),
                fused_present=_modality_dropout(present, config.modality_dropout, draw),
            )
            loss_B = _loss(heads.logits, y_N[rows], present, bootstrap_NK[rows], config, (epoch + 1) / epochs)
            loss = loss_B.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss_B.detach().sum()
        losses.append(float(total) / n_samples)
        if not math.isfinite(losses[-1]):
            bad = sample_ids[rows[~torch.isfinite(loss_B)].cpu().numpy()][:3]
            raise ValueError(f"Training loss is not finite in epoch {epoch} (first samples: {', '.join(map(str, bad))})"
                             "; lower fusion.learning_rate.")
    gradient = [p.grad.norm() for p in network.parameters() if p.grad is not None]
    tensors = {name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()}
    frequency_C = np.bincount(labels.y, minlength=n_classes) / n_samples
    return FusionState(
        tensors={**tensors, FREQUENCY: frequency_C},
        modalities=taken.modalities, classes=labels.classes, dims=dims,
        fusion=config.fusion, loss=config.loss, width=config.width, n_heads=config.n_heads,
        log={"train_loss": losses, "gradient_norm": float(torch.stack(gradient).norm())},
    )


def _loss(
    logits: Tensor, y_B: Tensor, present: Tensor, bootstrap: Tensor, config: FusionConfig, progress: float
) -> Tensor:
    """Loss of each sample, float32[B]: mean over the fused head and ``unimodal_loss`` times each present one."""
    if config.loss == "edl":
        loss_HBK = evidential(logits, y_B, annealing=min(1.0, 2 * progress))
    else:
        loss_HBK = cross_entropy(logits, y_B)
    loss_HB = (loss_HBK * bootstrap).mean(-1)
    share_HB = torch.cat([config.unimodal_loss * present.T, torch.ones_like(loss_HB[:1])])
    return (loss_HB * share_HB).sum(0) / (1 + config.unimodal_loss * present.shape[1])


def _kept(shape: tuple[int, ...], dropout: float, draw: torch.Generator, device: torch.device) -> Tensor | None:
    if not dropout:
        return None
    return ((torch.rand(shape, generator=draw) >= dropout).float() / (1 - dropout)).to(device)


def _modality_dropout(present: Tensor, share: float, draw: torch.Generator) -> Tensor:
    """Hide each modality of the fused head with probability ``share``, but never all that a sample has."""
    if not share:
        return present
    seen = present * (torch.rand(present.shape, generator=draw) >= share).to(present)
    return torch.where(seen.any(1, keepdim=True), seen, present)


def predict_fusion(
    state: FusionState, features: Features, config: FusionConfig, *, only: Sequence[str] | frozenset[str] | None = None
) -> Predictions:
    """What a fitted network says about every sample of ``features``.

    Args:
        only: mask every other modality (for Shapley values). A sample that has nothing left gets the class
            frequencies of the training labels, the best that can be said without looking.

    Raises:
        ValueError: modalities other than those of the fit, or features that are not finite.
    """
    if features.modalities != state.modalities:
        raise ValueError(f"The model knows the modalities {state.modalities}, the features have {features.modalities}")
    with torch_threads(config.threads):
        return _predict(state, features, config, only)


def _predict(
    state: FusionState, features: Features, config: FusionConfig, only: Sequence[str] | frozenset[str] | None
) -> Predictions:
    device = _device(config.device)
    network = _network(state).to(device)
    blocks, present_NM = _tensors(features, device)
    if only is not None:
        present_NM = present_NM * torch.tensor([float(name in only) for name in state.modalities], device=device)
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(features), config.predict_batch_size):
        batch = slice(start, start + config.predict_batch_size)
        present = present_NM[batch]
        padding = (0, 0, 0, config.predict_batch_size - len(present))
        with torch.inference_mode():
            padded = [functional.pad(block[batch], padding) for block in blocks]
            heads = network(padded, functional.pad(present, padding))
        for name, array in _opinions(heads.logits[:, : len(present)], present, state).items():
            parts.setdefault(name, []).append(array)
        parts.setdefault("embedding_ND", []).append(heads.embedding[: len(present)].cpu().numpy())
        by_sample = heads.modality_embedding[:, : len(present)].transpose(0, 1)
        parts.setdefault("modality_embedding_NMD", []).append(by_sample.cpu().numpy())
    return Predictions(
        sample_ids=features.sample_ids, modalities=state.modalities, present_NM=present_NM.cpu().numpy() > 0,
        **{name: np.concatenate(arrays) for name, arrays in parts.items()},
    )


def _opinions(logits: Tensor, present: Tensor, state: FusionState) -> dict[str, np.ndarray]:
    """Probabilities (and, of an evidential model, evidence) of B samples, from logits float32[M + 1, B, K, C]."""
    logits = logits.double()
    if state.loss == "edl":
        evidence = functional.softplus(logits)
        draws = (evidence + 1) / (evidence + 1).sum(-1, keepdim=True)
        alpha = evidence.mean(2) + 1
        means = alpha / alpha.sum(-1, keepdim=True)
    else:
        draws = logits.softmax(-1)
        means = draws.mean(2)
    absent = present == 0
    draws[:-1][absent.T] = 1 / len(state.classes)
    means[:-1][absent.T] = 1 / len(state.classes)
    nothing = absent.all(1)
    frequency = torch.from_numpy(state.tensors[FREQUENCY]).to(means)
    draws[-1][nothing], means[-1][nothing] = frequency, frequency
    found = {
        "probabilities_NC": means[-1], "unimodal_NMC": means[:-1].transpose(0, 1),
        "draws_NKC": draws[-1], "unimodal_draws_NMKC": draws[:-1].transpose(0, 1),
    }
    if state.loss == "edl":
        found["evidence_NMC"] = (alpha[:-1] - 1).masked_fill(absent.T[..., None], 0.0).transpose(0, 1)
    return {name: value.cpu().numpy() for name, value in found.items()}


def _network(state: FusionState) -> FusionNetwork:
    network = FusionNetwork(
        state.dims, n_classes=len(state.classes), width=state.width, n_heads=state.n_heads, fusion=state.fusion,
        weights_M=torch.from_numpy(state.tensors["weights_M"]),
    )
    weights = {name: torch.from_numpy(value) for name, value in state.tensors.items() if name != FREQUENCY}
    network.load_state_dict(weights)
    return network.eval()


def _tensors(features: Features, device: torch.device) -> tuple[list[Tensor], Tensor]:
    """Normalized blocks with zeros where absent, and the presence mask as float32[N, M]."""
    blocks = []
    for column, (name, block) in enumerate(features.blocks.items()):
        present_N = features.present_NM[:, column]
        check_finite_rows(block, present_N, features.sample_ids, name)
        finite = np.where(present_N[:, None], block, np.float32(0)).astype(np.float32, copy=False)
        blocks.append(normalized(torch.from_numpy(finite).to(device)))
    return blocks, torch.from_numpy(features.present_NM.astype(np.float32)).to(device)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Use ``threads`` threads inside, and whatever was set before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)

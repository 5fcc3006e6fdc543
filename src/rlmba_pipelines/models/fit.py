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
from rlmba_pipelines.models.adamw import AdamW
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
        fusion, activation, loss, width, n_heads: what is needed to build the network again.
        log: ``train_loss`` (mean by epoch) and ``gradient_norm`` (running mean at the end).
    """

    tensors: Mapping[str, np.ndarray]
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    dims: Mapping[str, int]
    fusion: str
    activation: str
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
        named = {"tensors": arrays, "modalities": modalities, "classes": tuple(facts["classes"]), "dims": dims}
        return cls(**{**facts, **named})


def fit_fusion(
    features: Features, labels: Labels, config: FusionConfig, *, seed: int, weights_M: np.ndarray | None = None
) -> FusionState:
    """Train the fusion network from scratch on ``labels``.

    Every member of the head ensemble walks through the labels in minibatches of its own, from initial weights of its
    own; the trunks learn from all of them. (A bootstrap of the labels cost up to 3 points of accuracy on emoji
    and is left out.) AdamW, cosine schedule: ``epochs`` passes of each member, and at least ``min_steps`` steps.

    Args:
        features: of at least the labeled samples.
        labels: of at least two classes; classes without a label are allowed.
        seed: names initial weights, minibatches and dropout.
        weights_M: float64[M] on the simplex; None is uniform.

    Raises:
        UserError: labels of fewer than two classes.
        ValueError: features or a loss that are not finite; the samples are named.
    """
    n_known = len(np.unique(labels.y))
    if n_known < 2:
        raise UserError(f"Training needs labels of at least two classes; the {len(labels)} labels bought so far have "
                        f"{n_known}. Buy a larger start batch (rounds.start_size).")
    with torch_threads(config.threads):
        return _fit(features, labels, config, seed, weights_M)


def _fit(
    features: Features, labels: Labels, config: FusionConfig, seed: int, weights_M: np.ndarray | None
) -> FusionState:
    order = np.argsort(labels.sample_ids)
    sample_ids = labels.sample_ids[order]
    taken = features.take(sample_ids)
    n_samples, n_modalities, n_classes = len(taken), len(taken.modalities), len(labels.classes)
    device, draw = _device(config.device), torch.Generator().manual_seed(seed)
    blocks, present_MN = _tensors(taken, device)
    y_N = torch.from_numpy(labels.y[order].astype(np.int64)).to(device)

    weights = np.full(n_modalities, 1 / n_modalities) if weights_M is None else np.asarray(weights_M)
    dims = {name: block.shape[1] for name, block in taken.blocks.items()}
    network = FusionNetwork(
        dims, n_classes=n_classes, width=config.width, n_heads=config.n_heads, fusion=config.fusion,
        activation=config.activation, weights_M=torch.from_numpy(weights.astype(np.float32)), generator=draw,
    ).to(device)
    batch_size = min(config.train_batch_size, n_samples)
    steps_per_epoch = n_samples // batch_size
    steps = max(config.min_steps, config.epochs * steps_per_epoch)
    optimizer = AdamW(network.parameters(), weight_decay=config.weight_decay)
    losses: list[float] = []
    for epoch in range(math.ceil(steps / steps_per_epoch)):
        total = torch.zeros((), device=device)
        order_KN = torch.rand(config.n_heads, n_samples, generator=draw).argsort(1).to(device)
        steps_now = min(steps_per_epoch, steps - epoch * steps_per_epoch)
        for step in range(steps_now):
            progress = (epoch * steps_per_epoch + step) / steps
            rows_KB = order_KN[:, step * batch_size : (step + 1) * batch_size]
            present = present_MN[:, rows_KB]
            heads = network(
                [block[rows_KB] for block in blocks], present,
                keep=_kept((*present.shape, config.width), config.dropout, draw, device),
                fused_present=_modality_dropout(present, config.modality_dropout, draw),
            )
            loss_KB = _loss(heads.logits, y_N[rows_KB], present, config, progress)
            loss = loss_KB.mean()
            loss.backward()
            optimizer.step(config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress)))
            total += loss.detach()
        losses.append(float(total) / steps_now)
        if not math.isfinite(losses[-1]):
            bad = sample_ids[rows_KB[~torch.isfinite(loss_KB)].unique().cpu().numpy()][:3]
            raise ValueError(f"The training loss is not finite in epoch {epoch} (samples {', '.join(map(str, bad))}"
                             " …); lower fusion.learning_rate.")
    tensors = {name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()}
    tensors[FREQUENCY] = np.bincount(labels.y, minlength=n_classes) / n_samples
    return FusionState(
        tensors=tensors, modalities=taken.modalities, classes=labels.classes, dims=dims, fusion=config.fusion,
        activation=config.activation, loss=config.loss, width=config.width, n_heads=config.n_heads,
        log={"train_loss": losses, "gradient_norm": optimizer.gradient_norm()},
    )


def _loss(logits: Tensor, y: Tensor, present: Tensor, config: FusionConfig, progress: float) -> Tensor:
    """Loss of each sample of each member, float32[K, B]: the mean over the fused head and, with weight
    ``unimodal_loss``, the heads of the present modalities."""
    if config.loss == "edl":
        loss_HKB = evidential(logits, y, annealing=min(1.0, 2 * progress))
    else:
        loss_HKB = cross_entropy(logits, y)
    unimodal = config.unimodal_loss * (loss_HKB[:-1] * present).sum(0)
    return (loss_HKB[-1] + unimodal) / (1 + config.unimodal_loss * len(present))


def _kept(shape: tuple[int, ...], dropout: float, draw: torch.Generator, device: torch.device) -> Tensor | None:
    """Which entries survive dropout, scaled to mean 1. One draw of 64 bits serves 8 entries, so the share that is
    dropped is a multiple of 1/256."""
    dropped = round(256 * dropout)
    if not dropped:
        return None
    n = math.prod(shape)
    words = torch.empty((n + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=draw)
    return (words.view(torch.uint8)[:n].view(shape) >= dropped).to(device, torch.float32).mul_(256 / (256 - dropped))


def _modality_dropout(present: Tensor, share: float, draw: torch.Generator) -> Tensor:
    """Hide each modality from the fused head with probability ``share``, but never all that a sample has."""
    if not share:
        return present
    seen = present * (torch.rand(present.shape, generator=draw) >= share).to(present)
    return torch.where(seen.any(0), seen, present)


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
    blocks, present_MN = _tensors(features, device)
    if only is not None:
        seen_M = torch.tensor([float(name in only) for name in state.modalities], device=device)
        present_MN = present_MN * seen_M[:, None]
    parts: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(features), config.predict_batch_size):
        batch = slice(start, start + config.predict_batch_size)
        present = present_MN[:, batch]
        n = present.shape[1]
        missing = config.predict_batch_size - n
        with torch.inference_mode():
            padded = [functional.pad(block[batch], (0, 0, 0, missing))[None] for block in blocks]
            heads = network(padded, functional.pad(present, (0, missing))[:, None])
            found = _opinions(heads.logits[:, :, :n], present, state)
            found["embedding_ND"] = heads.embedding[0, :n]
            found["modality_embedding_NMD"] = heads.modality_embedding[:, 0, :n].transpose(0, 1)
        for name, value in found.items():
            parts.setdefault(name, []).append(value.cpu().numpy())
    return Predictions(
        sample_ids=features.sample_ids, modalities=state.modalities, present_NM=present_MN.T.cpu().numpy() > 0,
        **{name: np.concatenate(arrays) for name, arrays in parts.items()},
    )


def predict_subset(
    state: FusionState, features: Features, config: FusionConfig, only: frozenset[str]
) -> np.ndarray:
    """The fused prediction with only some modalities seen: ``predict_fusion(..., only=only)`` without all the rest.

    Returns:
        float64[N, C]; what ``predict_fusion`` calls ``probabilities_NC``.
    """
    with torch_threads(config.threads), torch.inference_mode():
        device = _device(config.device)
        network = _network(state).to(device)
        blocks, present_MN = _tensors(features, device)
        seen_M = torch.tensor([float(name in only) for name in state.modalities], device=device)
        present_MN = present_MN * seen_M[:, None]
        parts = []
        for start in range(0, len(features), config.predict_batch_size):
            batch = slice(start, start + config.predict_batch_size)
            present = present_MN[:, batch]
            n = present.shape[1]
            missing = config.predict_batch_size - n
            padded = [functional.pad(block[batch], (0, 0, 0, missing))[None] for block in blocks]
            mask = functional.pad(present, (0, missing))[:, None]
            logits = network.fused_logits(network.fuse(network.embed(padded) * mask[..., None], mask))
            parts.append(_opinions(logits[None, :, :n], present, state)["probabilities_NC"].cpu().numpy())
    return np.concatenate(parts)


def _opinions(logits: Tensor, present: Tensor, state: FusionState) -> dict[str, Tensor]:
    """Probabilities (and, of an evidential model, evidence) of B samples, from logits float32[M + 1, K, B, C].

    Without the planes of single modalities, float32[1, K, B, C], only what is fused is found.
    """
    logits = logits.double()
    if state.loss == "edl":
        evidence = functional.softplus(logits)
        draws = (evidence + 1) / (evidence + 1).sum(-1, keepdim=True)
        alpha = evidence.mean(1) + 1
        means = alpha / alpha.sum(-1, keepdim=True)
    else:
        draws = logits.softmax(-1)
        means = draws.mean(1)
    nothing, absent = (present == 0).all(0), present[: len(logits) - 1] == 0
    frequency = torch.from_numpy(state.tensors[FREQUENCY]).to(means)
    draws[:-1].masked_fill_(absent[:, None, :, None], 1 / len(state.classes))
    means[:-1].masked_fill_(absent[..., None], 1 / len(state.classes))
    draws[-1, :, nothing], means[-1, nothing] = frequency, frequency
    found = {
        "probabilities_NC": means[-1],
        "unimodal_NMC": means[:-1].transpose(0, 1),
        "draws_NKC": draws[-1].transpose(0, 1),
        "unimodal_draws_NMKC": draws[:-1].permute(2, 0, 1, 3),
    }
    if state.loss == "edl":
        found["evidence_NMC"] = (alpha[:-1] - 1).masked_fill(absent[..., None], 0.0).transpose(0, 1)
    return found


def _network(state: FusionState) -> FusionNetwork:
    network = FusionNetwork(
        state.dims, n_classes=len(state.classes), width=state.width, n_heads=state.n_heads, fusion=state.fusion,
        activation=state.activation, weights_M=torch.from_numpy(state.tensors["weights_M"]),
        generator=torch.Generator().manual_seed(0),  # overwritten below; only keeps the global generator untouched
    )
    weights = {name: torch.from_numpy(value) for name, value in state.tensors.items() if name != FREQUENCY}
    network.load_state_dict(weights)
    return network.eval()


def _tensors(features: Features, device: torch.device) -> tuple[list[Tensor], Tensor]:
    """Normalized blocks with zeros where absent, and the presence mask as float32[M, N]."""
    blocks = []
    for column, (name, block) in enumerate(features.blocks.items()):
        present_N = features.present_NM[:, column]
        check_finite_rows(block, present_N, features.sample_ids, name)
        finite = np.where(present_N[:, None], block, 0).astype(np.float32)
        blocks.append(normalized(torch.from_numpy(finite).to(device)))
    return blocks, torch.from_numpy(features.present_NM.T.astype(np.float32)).to(device)


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

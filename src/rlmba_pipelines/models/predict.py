"""Predict with a fitted fusion network.

A prediction depends on its own sample only, because every batch has the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rlmba_pipelines.config import FusionConfig
from rlmba_pipelines.learning.types import Features, Predictions
from rlmba_pipelines.learning.types.ids import check_finite
from rlmba_pipelines.models.state import FREQUENCY, FusionState, device_of, network_of, tensors_of, torch_threads


def predict_fusion(
    state: FusionState, features: Features, config: FusionConfig, *, only: Sequence[str] | frozenset[str] | None = None
) -> Predictions:
    """What a fitted network says about every sample of ``features``.

    Args:
        only: mask every other modality (for Shapley values). A sample that has nothing left gets the class
            frequencies of the training labels, the best that can be said without looking.

    Raises:
        ValueError: modalities other than those of the fit.
        UserError: features, or what the network makes of them, are not finite; the samples are named.
    """
    if features.modalities != state.modalities:
        raise ValueError(f"The model knows the modalities {state.modalities}, the features have {features.modalities}")
    with torch_threads(config.threads):
        return _predict(state, features, config, only)


def _predict(
    state: FusionState, features: Features, config: FusionConfig, only: Sequence[str] | frozenset[str] | None
) -> Predictions:
    device = device_of(config.device)
    network = network_of(state).to(device)
    seen_M = _seen(state, state.modalities if only is None else only).to(device)
    parts: dict[str, list[np.ndarray]] = {}
    for blocks, had, n in _batches(features, config, device):
        present = had * seen_M[:, None, None]
        with torch.inference_mode():
            heads = network(blocks, present)
            found = _opinions(heads.logits, present[:, 0], state)
            found["embedding_ND"] = heads.embedding[0]
            found["modality_embedding_NMD"] = heads.modality_embedding[:, 0].transpose(0, 1)
        for name, value in found.items():
            parts.setdefault(name, []).append(value[:n].cpu().numpy())
    whole = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    for name in ("unimodal_NMC", "embedding_ND", "modality_embedding_NMD"):  # what is fused is checked by the noun
        check_finite(whole[name], f"Predictions.{name}", features.sample_ids)
    return Predictions(
        sample_ids=features.sample_ids, modalities=state.modalities,
        present_NM=features.present_NM & (seen_M.cpu().numpy() > 0), **whole,
    )


def subset_predictor(
    state: FusionState, features: Features, config: FusionConfig
) -> Callable[[frozenset[str]], np.ndarray]:
    """The fused prediction with only some modalities seen; trunks are run once, whatever the number of subsets.

    Returns:
        modalities -> float64[N, C], bit for bit what ``predict_fusion(..., only=modalities)`` calls
        ``probabilities_NC``.
    """
    with torch_threads(config.threads), torch.inference_mode():
        device = device_of(config.device)
        network = network_of(state).to(device)
        embedded = [(network.embed(blocks), had, n) for blocks, had, n in _batches(features, config, device)]

    def predict(only: frozenset[str]) -> np.ndarray:
        if not only:
            return np.tile(state.tensors[FREQUENCY].astype(np.float64), (len(features), 1))
        seen_M = _seen(state, only).to(device)
        parts = []
        with torch_threads(config.threads), torch.inference_mode():
            for embedding, had, n in embedded:
                present = had * seen_M[:, None, None]
                logits = network.fused_logits(network.fuse(embedding * present[..., None], present))
                parts.append(_opinions(logits[None], present[:, 0], state)["probabilities_NC"][:n])
        return torch.cat(parts).cpu().numpy()

    return predict


def _batches(
    features: Features, config: FusionConfig, device: torch.device
) -> Iterator[tuple[list[Tensor], Tensor, int]]:
    """Blocks float32[1, B, D_m], presence float32[M, 1, B] and the number of samples; the last batch is filled up."""
    blocks, present_MN = tensors_of(features, device)
    size = config.predict_batch_size
    for start in range(0, len(features), size):
        batch = slice(start, start + size)
        n = present_MN[:, batch].shape[1]
        padded = [functional.pad(block[batch], (0, 0, 0, size - n))[None] for block in blocks]
        yield padded, functional.pad(present_MN[:, batch], (0, size - n))[:, None], n


def _seen(state: FusionState, only: Sequence[str] | frozenset[str]) -> Tensor:
    """float32[M]: 1 for the modalities that may be looked at."""
    return torch.tensor([float(name in only) for name in state.modalities])


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

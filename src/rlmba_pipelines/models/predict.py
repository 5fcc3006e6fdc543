"""Predict with a fitted fusion network.

A prediction depends on its own sample only, because every batch has the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rlmba_pipelines.config import FusionConfig
from rlmba_pipelines.learning.types import Features, Predictions
from rlmba_pipelines.models.state import FREQUENCY, FusionState, device_of, network_of, tensors_of, torch_threads


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
    device = device_of(config.device)
    network = network_of(state).to(device)
    blocks, present_MN = tensors_of(features, device)
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
        device = device_of(config.device)
        network = network_of(state).to(device)
        blocks, present_MN = tensors_of(features, device)
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

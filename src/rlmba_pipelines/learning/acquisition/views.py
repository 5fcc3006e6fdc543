"""Views to try strategies on: synthetic samples, rows in any order, some rows of a view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rlmba_pipelines.learning.types import UNLABELED, Action, PoolView, Predictions, Terms


def make_view(
    n: int,
    n_labeled: int,
    modalities: Sequence[str] = ("image", "text"),
    n_classes: int = 4,
    seed: int = 0,
    missing: float = 0.0,
    dtype: Any = np.float32,
) -> PoolView:
    """A complete view of ``n`` synthetic samples in class clusters; the same seed gives the same numbers in any dtype.

    Args:
        missing: share of (sample, modality) cells that are absent; every sample keeps at least one modality.
        dtype: of features and embeddings.

    >>> view = make_view(5, n_labeled=2, missing=0.5)
    >>> len(view.sample_ids), view.labeled_N.sum().item(), bool(view.present_NM.any(axis=1).all())
    (5, 2, True)
    """
    rng = np.random.default_rng([seed, n, n_labeled])
    n_modalities, n_draws, width = len(modalities), 3, 5
    sample_ids = np.array([f"s{i:06d}" for i in range(n)])
    labeled_N = np.zeros(n, dtype=bool)
    labeled_N[rng.permutation(n)[:n_labeled]] = True
    present_NM = rng.random((n, n_modalities)) >= missing
    present_NM[np.arange(n), rng.integers(n_modalities, size=n)] = True
    y = rng.integers(n_classes, size=n)

    features, embedding_NMD = {}, np.zeros((n, n_modalities, width))
    for m, modality in enumerate(modalities):
        dim = 6 + 2 * m
        centers_CD = rng.normal(size=(n_classes, dim))
        block_ND = np.where(present_NM[:, m : m + 1], centers_CD[y] + rng.normal(size=(n, dim)), 0.0)
        features[modality] = block_ND.astype(dtype)
        embedding_NMD[:, m] = block_ND @ rng.normal(size=(dim, width))
    unimodal_logits_NMKC = rng.normal(size=(n, n_modalities, n_draws, n_classes))
    unimodal_logits_NMKC += 2 * np.eye(n_classes)[y][:, None, None]
    unimodal_draws_NMKC = _softmax(np.where(present_NM[:, :, None, None], unimodal_logits_NMKC, 0.0))
    draws_NKC = _softmax(unimodal_logits_NMKC.mean(axis=1))
    predictions = Predictions(
        sample_ids=sample_ids,
        modalities=tuple(modalities),
        present_NM=present_NM,
        probabilities_NC=draws_NKC.mean(axis=1),
        unimodal_NMC=unimodal_draws_NMKC.mean(axis=2),
        draws_NKC=draws_NKC,
        unimodal_draws_NMKC=unimodal_draws_NMKC,
        embedding_ND=embedding_NMD.mean(axis=1).astype(dtype),
        modality_embedding_NMD=embedding_NMD.astype(dtype),
    )
    names = ("margin", "entropy", "vacuity", "dissonance", "conflict")
    terms = Terms(sample_ids, {name: rng.random(n) for name in names})
    return PoolView(
        sample_ids=sample_ids,
        labeled_N=labeled_N,
        modalities=tuple(modalities),
        present_NM=present_NM,
        features=features,
        predictions=predictions,
        terms=terms,
        y=np.where(labeled_N, y, UNLABELED),
        arm_N=np.where(labeled_N, np.arange(n) % 3, UNLABELED),
        weights_M=np.arange(1.0, n_modalities + 1) / np.arange(1.0, n_modalities + 1).sum(),
        action=Action(fused_kernel=0.2, balanced_kernel=0.4, raw_kernel=0.4),
        policy={"name": "fixed"},
    )


def view_of(
    sample_ids: np.ndarray,
    labeled_N: np.ndarray,
    *,
    features: Mapping[str, np.ndarray] | None = None,
    predictions: Predictions | None = None,
    terms: Terms | None = None,
    **rest: Any,
) -> PoolView:
    """A view from rows in any order: sorted by id, parts with ids of their own looked up by id.

    >>> view_of(np.array(["b", "a"]), np.array([True, False])).labeled_N.tolist()
    [False, True]
    """
    order = np.argsort(sample_ids, kind="stable")
    sorted_ids = sample_ids[order]
    by_row = {k: rest.pop(k)[order] for k in ("present_NM", "y", "arm_N", "price_N") if rest.get(k) is not None}
    return PoolView(
        sample_ids=sorted_ids,
        labeled_N=labeled_N[order],
        features={name: block[order] for name, block in features.items()} if features is not None else None,
        predictions=predictions.take(sorted_ids) if predictions is not None else None,
        terms=terms.take(sorted_ids) if terms is not None else None,
        **by_row,
        **rest,
    )


def take(view: PoolView, rows: np.ndarray) -> PoolView:
    """The view of some of its rows, given in any order; a row asked for twice gets an id of its own each time."""
    copy = np.array([int((rows[:i] == row).sum()) for i, row in enumerate(rows)])
    ids = np.array([f"{view.sample_ids[row]}+{c}" for row, c in zip(rows, copy, strict=True)])
    predictions = view.predictions
    if predictions is not None:
        arrays = {k: v[rows] for k, v in vars(predictions).items() if isinstance(v, np.ndarray)}
        predictions = replace(predictions, **{**arrays, "sample_ids": ids})
    return view_of(
        ids,
        view.labeled_N[rows],
        modalities=view.modalities,
        present_NM=view.present_NM[rows] if view.present_NM is not None else None,
        features={k: v[rows] for k, v in view.features.items()} if view.features is not None else None,
        predictions=predictions,
        terms=Terms(ids, {k: v[rows] for k, v in view.terms.columns.items()}) if view.terms else None,
        y=view.y[rows] if view.y is not None else None,
        arm_N=view.arm_N[rows] if view.arm_N is not None else None,
        price_N=view.price_N[rows] if view.price_N is not None else None,
        weights_M=view.weights_M,
        action=view.action,
        policy=view.policy,
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)

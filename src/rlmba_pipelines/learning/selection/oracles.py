"""Brute force in float64: what the fast selectors must agree with, pick for pick. For tests; slow on purpose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlmba_pipelines.learning.selection.herding import TIE as HERDING_TIE
from rlmba_pipelines.learning.selection.k_center import TIE as K_CENTER_TIE
from rlmba_pipelines.learning.selection.kernels import Kernel
from rlmba_pipelines.learning.types import PoolView


def plain_k_center(view: PoolView, embedding_ND: np.ndarray, query_size: int) -> list[str]:
    """Farthest-first with every distance measured at every pick; ids in order of choice."""
    points_ND = embedding_ND.astype(np.float64)
    squared_NN = np.square(points_ND[:, None] - points_ND[None]).sum(axis=-1)
    tie = K_CENTER_TIE * np.square(points_ND).sum(axis=1).max()
    free = view.candidate_rows.tolist()
    centers = view.labeled_rows.tolist()
    picks: list[int] = []
    while free and len(picks) < query_size:
        if centers:
            distance = squared_NN[np.ix_(free, centers)].min(axis=1)
        else:
            distance = np.square(points_ND[free] - points_ND[free].mean(axis=0)).sum(axis=1)
        row = free[int(np.flatnonzero(distance >= distance.max() - tie)[0])]
        picks.append(row)
        centers.append(row)
        free.remove(row)
    return view.sample_ids[picks].tolist()


def similarity_of(kernels: Sequence[Kernel]) -> np.ndarray:
    """The mixture of Gaussian kernels between all rows, float64[N, N]."""
    total = sum(kernel.weight for kernel in kernels)
    parts = []
    for weight, embedding_ND, bandwidth in kernels:
        points_ND = np.asarray(embedding_ND, dtype=np.float64)
        squared_NN = np.square(points_ND[:, None] - points_ND[None]).sum(axis=-1)
        parts.append(weight / total * np.exp(-squared_NN / bandwidth**2))
    return np.sum(parts, axis=0)


def coverage_of(view: PoolView, utility_N: np.ndarray, kernels: Sequence[Kernel], rows: Sequence[int]) -> float:
    """F(rows) = Σ_x u(x) max over labeled and chosen rows of k(x, ·), u normalised to 1 over the candidates."""
    centers = [*view.labeled_rows.tolist(), *rows]
    targets = view.candidate_rows
    if not centers:
        return 0.0
    worth = utility_N[targets] if utility_N[targets].sum() > 0 else np.ones(len(targets))
    return float(similarity_of(kernels)[np.ix_(targets, centers)].max(axis=1) @ worth / worth.sum())


def plain_herding(
    view: PoolView, utility_N: np.ndarray, kernels: Sequence[Kernel], query_size: int
) -> tuple[list[str], list[float]]:
    """Greedy F with every gain computed at every pick; ids in order of choice, and their gains."""
    candidates = view.candidate_rows
    worth = utility_N[candidates] if utility_N[candidates].sum() > 0 else np.ones(len(candidates))
    worth = worth / worth.sum()
    similarity_NN = similarity_of(kernels)
    covered = similarity_NN[np.ix_(candidates, view.labeled_rows)].max(axis=1, initial=0.0)
    free, picks, gains = list(candidates), list[int](), list[float]()
    while free and len(picks) < query_size:
        new = np.maximum(similarity_NN[np.ix_(free, candidates)] - covered, 0) @ worth
        best = int(np.flatnonzero(new >= new.max() * (1 - HERDING_TIE))[0])
        picks.append(free.pop(best))
        gains.append(float(new[best]))
        covered = np.maximum(covered, similarity_NN[picks[-1], candidates])
    return view.sample_ids[picks].tolist(), gains


def plain_kmeans_pp(
    view: PoolView, embedding_ND: np.ndarray, query_size: int, rng: np.random.Generator
) -> list[str]:
    """The exact_stream contract on written-out embeddings: argmax of the norm, then one uniform a pick."""
    candidates = view.candidate_rows
    points_UD = embedding_ND[candidates].astype(np.float64)
    picks = [int(np.square(points_UD).sum(axis=1).argmax())]
    while len(picks) < min(query_size, len(candidates)):
        squared_UQ = np.square(points_UD[:, None] - points_UD[None, picks]).sum(axis=-1)
        distance_U = squared_UQ.min(axis=1)
        distance_U[picks] = 0
        cumulative_U = np.cumsum(distance_U)
        picks.append(int(np.argmax(cumulative_U > rng.random() * cumulative_U[-1])))
    return view.sample_ids[candidates[picks]].tolist()

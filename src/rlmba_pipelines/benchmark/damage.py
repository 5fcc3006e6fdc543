"""What controls do to the data of a run: shuffled labels, a long tail, missing modalities, noisy labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from rlmba_pipelines.benchmark.protocol import Damage
from rlmba_pipelines.learning.types import Features
from rlmba_pipelines.simulation.round import Task


def damaged(
    task: Task, hidden: pd.DataFrame, damage: Damage, best_modality: str, rng: np.random.Generator
) -> tuple[Task, pd.DataFrame]:
    """The task and its hidden labels under a control.

    Args:
        hidden: ``sample_id, label`` of the pool.
        best_modality: which one goes missing, where one does.
    """
    hidden = hidden.sort_values("sample_id", ignore_index=True)
    if damage.long_tail > 1:
        hidden = hidden[tail_kept(hidden["label"].to_numpy(dtype=str), damage.long_tail, rng)]
        in_pool = task.samples["split"] == "pool"
        kept = ~in_pool | task.samples["sample_id"].isin(set(hidden["sample_id"]))
        task = replace(task, samples=task.samples[kept].reset_index(drop=True))
    if damage.shuffled:
        hidden = hidden.assign(label=rng.permutation(hidden["label"].to_numpy(dtype=object)))
    if damage.label_noise:
        hidden = hidden.assign(label=noisy(hidden["label"].to_numpy(dtype=object), damage.label_noise, rng))
    if damage.missing:
        task = replace(task, features=_without(task, best_modality, damage.missing, rng))
    return task, hidden


def tail_kept(labels_N: np.ndarray, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """bool[N]: rows to keep so that class sizes fall geometrically by ``ratio`` in all, the largest class first.

    As many are kept as that allows; where two classes are equally large, chance says which is the rarer one.

    >>> y = np.repeat(["a", "b", "c"], [300, 90, 100])
    >>> np.unique(y[tail_kept(y, 4, np.random.default_rng(0))], return_counts=True)[1].tolist()
    [200, 50, 100]
    """
    y_N = np.unique(labels_N, return_inverse=True)[1]
    sizes_C = np.bincount(y_N)
    shrinking_C = ratio ** -np.linspace(0, 1, len(sizes_C))
    order = rng.permutation(len(sizes_C))
    order = order[np.argsort(-sizes_C[order], kind="stable")]
    wanted_C = np.round((sizes_C[order] / shrinking_C).min() * shrinking_C).astype(int)
    kept_N = np.zeros(len(labels_N), dtype=bool)
    for c, wanted in zip(order, wanted_C, strict=True):
        kept_N[rng.permutation(np.flatnonzero(y_N == c))[: max(1, wanted)]] = True
    return kept_N


def noisy(labels_N: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """object[N]: ``share`` of the labels are another class, drawn evenly."""
    classes, y_N = np.unique(labels_N.astype(str), return_inverse=True)
    wrong = rng.permutation(len(labels_N))[: round(share * len(labels_N))]
    y_N[wrong] = (y_N[wrong] + rng.integers(1, len(classes), size=len(wrong))) % len(classes)
    return classes[y_N].astype(object)


def _without(task: Task, modality: str, share: float, rng: np.random.Generator) -> Features:
    features = task.features
    column = features.modalities.index(modality)
    present_NM = features.present_NM.copy()
    can_lose = np.flatnonzero(present_NM[:, column] & (present_NM.sum(axis=1) > 1))
    present_NM[rng.permutation(can_lose)[: round(share * len(can_lose))], column] = False
    return replace(features, present_NM=present_NM)

"""A small task that every modality tells a part of: to try an environment, a policy or a notebook on, in seconds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rlmba_pipelines.config import FusionConfig, Parameters, RoundsConfig
from rlmba_pipelines.learning.types import Features
from rlmba_pipelines.simulation.round import Task
from rlmba_pipelines.simulation.tables import Answer

N_POOL, N_VALIDATION, WIDTH = 90, 30, 6


def toy_task(
    rng: np.random.Generator,
    *,
    modalities: tuple[str, ...] = ("image", "text"),
    classes: tuple[str, ...] = ("blue", "green", "red"),
    rounds: RoundsConfig | None = None,
) -> tuple[Task, Answer]:
    """Gaussian clusters in every modality, and who answers. No test split: nothing is to be tuned on one.

    >>> task, answer = toy_task(np.random.default_rng(0))
    >>> len(task.pool_ids), task.features.modalities
    (90, ('image', 'text'))
    """
    n = N_POOL + N_VALIDATION
    y = rng.integers(len(classes), size=n)
    blocks = {
        name: (rng.normal(size=(len(classes), WIDTH))[y] + rng.normal(size=(n, WIDTH))).astype(np.float32)
        for name in modalities
    }
    parameters = Parameters(
        rounds=rounds or RoundsConfig(rounds=3, start_size=12, query_size=8),
        fusion=FusionConfig(width=8, min_steps=20, predict_batch_size=128, device="cpu"),
    )
    return task_of_arrays(blocks, y, classes, N_POOL, parameters)


def task_of_arrays(
    blocks: Mapping[str, np.ndarray], y_N: np.ndarray, classes: tuple[str, ...], n_pool: int, parameters: Parameters
) -> tuple[Task, Answer]:
    """A task of features and classes in memory, and who answers: the first ``n_pool`` rows are the pool, the rest
    validation.

    Args:
        blocks: modality -> float32[N, D_m].
        y_N: int64[N], places in ``classes``.
    """
    n = len(y_N)
    sample_ids = np.array([f"s{i:0{len(str(n))}d}" for i in range(n)])
    split = np.where(np.arange(n) < n_pool, "pool", "validation")
    labels = pd.DataFrame({"sample_id": sample_ids, "label": [classes[c] for c in y_N]})
    truth = dict(zip(labels["sample_id"], labels["label"], strict=True))
    task = Task(
        features=Features(sample_ids, dict(blocks), np.ones((n, len(blocks)), dtype=bool)),
        samples=pd.DataFrame({"sample_id": sample_ids, "split": split, "cost": 1.0}),
        validation=labels[split == "validation"],
        test=labels[:0],
        classes=classes,
        parameters=parameters,
    )

    def answer(batch: pd.DataFrame) -> pd.DataFrame:
        columns = batch[["sample_id", "purpose", "round", "cost"]]
        return columns.assign(label=batch["sample_id"].map(truth), annotator="simulated")

    return task, answer

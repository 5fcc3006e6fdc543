"""A small task that every modality tells a part of: to try an environment, a policy or a notebook on, in seconds."""

from __future__ import annotations

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
    sample_ids = np.array([f"s{i:03d}" for i in range(n)])
    y = rng.integers(len(classes), size=n)
    blocks = {
        name: (rng.normal(size=(len(classes), WIDTH))[y] + rng.normal(size=(n, WIDTH))).astype(np.float32)
        for name in modalities
    }
    split = np.where(np.arange(n) < N_POOL, "pool", "validation")
    labels = pd.DataFrame({"sample_id": sample_ids, "label": [classes[c] for c in y]})
    truth = dict(zip(labels["sample_id"], labels["label"], strict=True))
    task = Task(
        features=Features(sample_ids, blocks, np.ones((n, len(modalities)), dtype=bool)),
        samples=pd.DataFrame({"sample_id": sample_ids, "split": split, "cost": 1.0}),
        validation=labels[split == "validation"],
        test=labels[:0],
        classes=classes,
        parameters=Parameters(
            rounds=rounds or RoundsConfig(rounds=3, start_size=12, query_size=8),
            fusion=FusionConfig(width=8, min_steps=20, predict_batch_size=128, device="cpu"),
        ),
    )

    def answer(batch: pd.DataFrame) -> pd.DataFrame:
        columns = batch[["sample_id", "purpose", "round", "cost"]]
        return columns.assign(label=batch["sample_id"].map(truth), annotator="simulated")

    return task, answer

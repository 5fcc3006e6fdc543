"""Every registered strategy through whole rounds in memory; no label that was not bought reaches any of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rlmba_pipelines.config import FusionConfig, Parameters, RoundsConfig
from rlmba_pipelines.learning.acquisition import strategy_names
from rlmba_pipelines.learning.types import Features
from rlmba_pipelines.simulation import simulate
from rlmba_pipelines.simulation.round import Task

N_POOL, N_VALIDATION, CLASSES = 90, 20, ("red", "green", "blue")
IDS = np.array([f"s{i:03d}" for i in range(N_POOL + N_VALIDATION)])
TRUTH = np.random.default_rng(0).integers(len(CLASSES), size=len(IDS))
CONTROLS = ("unimodal:image:margin", "unimodal:text:badge")


def task(strategy: str) -> Task:
    rng = np.random.default_rng(1)
    centers = {name: rng.normal(size=(len(CLASSES), 6)) for name in ("image", "text")}
    blocks = {
        name: (center[TRUTH] + rng.normal(size=(len(IDS), 6))).astype(np.float32) for name, center in centers.items()
    }
    present_NM = np.ones((len(IDS), 2), dtype=bool)
    present_NM[::7, 0] = False
    split = np.where(np.arange(len(IDS)) < N_POOL, "pool", "validation")
    labels = pd.DataFrame({"sample_id": IDS, "label": [CLASSES[c] for c in TRUTH]})
    return Task(
        features=Features(IDS, blocks, present_NM),
        samples=pd.DataFrame({"sample_id": IDS, "split": split, "cost": 1.0}),
        validation=labels[split == "validation"],
        test=labels[:0],
        classes=CLASSES,
        parameters=Parameters(
            rounds=RoundsConfig(strategy=strategy, rounds=2, start_size=15, query_size=10),
            fusion=FusionConfig(width=8, min_steps=20, predict_batch_size=64, device="cpu"),
        ),
    )


def answers(truth: np.ndarray, asked: list[str]):
    def answer(batch: pd.DataFrame) -> pd.DataFrame:
        asked.extend(batch["sample_id"])
        label = dict(zip(IDS, (CLASSES[c] for c in truth), strict=True))
        return pd.DataFrame(
            {
                "sample_id": batch["sample_id"],
                "label": batch["sample_id"].map(label),
                "purpose": batch["purpose"],
                "round": batch["round"],
                "annotator": "oracle",
                "cost": batch["cost"],
            }
        )

    return answer


@pytest.mark.parametrize("strategy", [*strategy_names(), *CONTROLS])
def test_a_strategy_runs_whole_rounds_and_sees_no_label_that_was_not_bought(strategy: str) -> None:
    asked: list[str] = []
    results = list(simulate(task(strategy), answers(TRUTH, asked)))
    assert [len(r.batch) for r in results] == [15, 10, 10, 0]
    assert len(set(asked)) == 35

    poisoned = np.where(np.isin(IDS, asked), TRUTH, (TRUTH + 1) % len(CLASSES))
    again = list(simulate(task(strategy), answers(poisoned, [])))
    assert [r.batch["sample_id"].tolist() for r in again] == [r.batch["sample_id"].tolist() for r in results]

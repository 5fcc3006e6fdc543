"""The learning curve as a table: one row a stage, of the run and of its reference."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rlmba_pipelines.learning.metrics.statistics import wilson
from rlmba_pipelines.ledger import NOT_LABELS
from rlmba_pipelines.simulation.tables import GIVEN, n_bought, n_training

TRAINING_NODES = ("train_fusion", "train_vlm")


def curve_row(
    strategy: str,
    stage: int,
    labels: pd.DataFrame,
    n_validation: int,
    validation: dict[str, Any],
    test: dict[str, Any],
    weights: dict[str, float],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """One point of the curve, measured on test, or on validation where there is no test split.

    The forecast looks at ``validation_accuracy`` alone, since people stop buying by it.
    """
    measured = test or validation
    has_label = ~labels["label"].isin(NOT_LABELS)
    low, high = wilson(int(measured["n_correct"]), int(measured["n"]))
    return {
        "strategy": strategy,
        "stage": stage,
        "labels": n_training(labels),
        "labels_total": int(has_label.sum()) + n_validation,
        "labels_given": n_training(labels[labels["annotator"] == GIVEN]),
        "unlabeled": n_bought(labels[~has_label]),
        "measured_on": "test" if test else "validation",
        "n_measured": measured["n"],
        "validation_accuracy": validation.get("accuracy", float("nan")),
        "n_validation": validation.get("n", 0),
        "accuracy_low": low,
        "accuracy_high": high,
        **{name: value for name, value in measured.items() if name not in {"n", "n_correct", "n_classes"}},
        **{f"weight_{name}": weight for name, weight in weights.items()},
        "seconds_train": next((seconds[name] for name in TRAINING_NODES if name in seconds), float("nan")),
        "seconds_select": seconds.get("choose_batch", float("nan")),
    }


def curve_of(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The table of a run; a stage that bought nothing (a stop rule had fired) is the same point again and left out."""
    frame = pd.DataFrame(rows)
    paid_for = ["labels", "labels_total", "unlabeled"]
    return frame.drop_duplicates(paid_for, keep="first", ignore_index=True) if len(frame) else frame


def seconds_by_node(lineage: Path) -> dict[str, float]:
    """Seconds of the latest run of every node, from the lineage log."""
    if not lineage.exists():
        return {}
    found: dict[str, float] = {}
    for text in lineage.read_text().split("\n"):
        with contextlib.suppress(ValueError):  # a line that a power cut tore tells nothing
            line = json.loads(text)
            found[line["node"]] = line["seconds"]
    return found

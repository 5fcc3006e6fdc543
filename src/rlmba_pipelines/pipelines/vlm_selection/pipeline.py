"""Last step of a round of Active-VLM: as in RL-MBA, and each question goes out with a proposed chain."""

from __future__ import annotations

import json
from functools import wraps
from typing import Any

import pandas as pd
from kedro.pipeline import Pipeline, node

from rlmba_pipelines.labeling import sheet_of
from rlmba_pipelines.learning.types import Predictions
from rlmba_pipelines.pipelines.policy_selection import nodes
from rlmba_pipelines.pipelines.policy_selection.pipeline import create_with
from rlmba_pipelines.simulation import tables


def request_labels(
    selection: pd.DataFrame,
    samples: pd.DataFrame,
    predictions: Predictions,
    proposals: pd.DataFrame,
    labels: pd.DataFrame,
    setup: dict[str, Any],
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The batch with the model's guess and the chain it would give: for the machine, for tools, for people."""
    batch = tables.annotation_batch(selection, samples, predictions, tables.known_classes(setup["classes"], labels))
    chain = proposals.set_index("sample_id")["chain"].map(lambda text: "; ".join(json.loads(text)))
    batch["proposed_chain"] = batch["sample_id"].map(chain)
    sheet = sheet_of(batch, explained=True)
    return batch, sheet, sheet


@wraps(nodes.adapt_policy)  # Kedro reads from its types what parameters are
def adapt_policy(*inputs: Any) -> dict[str, Any]:
    """As in RL-MBA, but labels spent are a share of the pool, of which a round looks at a small part."""
    return nodes.adapt_policy(*inputs, share_of_pool=True)


def create_pipeline() -> Pipeline:
    return create_with(
        node(
            request_labels,
            ["selection", "samples", "predictions", "proposals", "labels", "setup"],
            ["annotation_batch", "annotation_tasks", "annotation_sheet"],
            name="request_labels",
        ),
        adapt_policy,
    )

"""Last step of a round: adapt, choose, ask, buy. The start batch has no model to ask, so it has a form of its own."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Pipeline, node
from kedro.pipeline.node import Node

from rlmba_pipelines.pipelines.policy_selection import nodes


def _buy(state: str) -> list:
    return [
        node(
            nodes.buy_labels,
            ["annotation_batch", "answers", "labels", state, "setup", "params:labeling"],
            ["purchases", "labels_next"],
            name="buy_labels",
        ),
        node(nodes.close_round, [state, "annotation_batch"], "round_state_next", name="close_round"),
    ]


def create_pipeline() -> Pipeline:
    """Adapt to validation, choose a batch, ask for labels, buy them."""
    asking = node(
        nodes.request_labels,
        ["selection", "samples", "predictions", "labels", "setup"],
        ["annotation_batch", "annotation_tasks", "annotation_sheet"],
        name="request_labels",
    )
    return create_with(asking)


def create_with(asking: Node, adapt_policy: Callable[..., dict[str, Any]] = nodes.adapt_policy) -> Pipeline:
    """The same with a way of one's own to put the batch before annotators: ``asking`` is named ``request_labels``."""
    return Pipeline(
        [
            node(
                adapt_policy,
                [
                    "round_state",
                    "validation_metrics",
                    "training_log",
                    "predictions",
                    "terms",
                    "labels",
                    "setup",
                    "params:balance",
                    "params:rounds",
                    "params:policy",
                ],
                "adapted_state",
                name="adapt_policy",
            ),
            node(
                nodes.choose_batch,
                [
                    "features",
                    "predictions",
                    "terms",
                    "samples",
                    "labels",
                    "setup",
                    "adapted_state",
                    "params:rounds",
                    "params:balance",
                    "params:labeling",
                ],
                "selection",
                name="choose_batch",
            ),
            asking,
            *_buy("adapted_state"),
        ]
    )


def create_start() -> Pipeline:
    """Round 0: a start batch without a model."""
    return Pipeline(
        [
            node(nodes.open_run, ["setup", "params:rounds", "params:policy"], "round_state", name="open_run"),
            node(
                nodes.choose_start,
                ["features", "samples", "labels", "setup", "round_state", "params:rounds", "params:labeling"],
                "selection",
                name="choose_start",
            ),
            node(
                nodes.request_start_labels,
                ["selection", "samples", "setup"],
                ["annotation_batch", "annotation_tasks", "annotation_sheet"],
                name="request_labels",
            ),
            *_buy("round_state"),
        ]
    )

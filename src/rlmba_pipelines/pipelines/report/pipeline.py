"""After the rounds: the learning curve, the reference, the gallery, one page."""

from collections.abc import Sequence

from kedro.pipeline import Pipeline, node
from kedro.pipeline.node import Node

from rlmba_pipelines.pipelines.report import nodes


def create_pipeline(
    stages: Sequence[str] = ("round_00", "round_01"), final: str = "final", *, questions: bool = False
) -> Pipeline:
    """The report over ``stages`` (round 0 first) and the closing measurement ``final``.

    Args:
        questions: of visual questions: chains and where the model looks, and no other strategy run beside.
    """
    start, rounds = stages[0], stages[1:]
    last = stages[-1]
    roles = ("validation_metrics", "test_metrics", "adapted_state")
    measured = [
        name
        for before, k in zip(stages, rounds, strict=False)
        for name in (f"{before}.labels_next", *(f"{k}.{role}" for role in roles))
    ]
    closing = [f"{last}.labels_next", f"{final}.validation_metrics", f"{final}.test_metrics"]
    bought = [f"{k}.{role}" for k in rounds for role in ("annotation_batch", "terms")]
    return Pipeline(
        [
            node(
                nodes.collect_history,
                ["lineage", "setup", "params:rounds", *measured, *closing],
                "history",
                name="collect_history",
            ),
            node(nodes.no_reference, ["history"], "reference_history", name="no_reference")
            if questions
            else node(
                nodes.simulate_reference,
                [
                    "features",
                    "samples",
                    "validation_labels",
                    "test_labels",
                    "answers",
                    "setup",
                    f"{start}.labels_next",
                    "history",
                    "params:rounds",
                    "params:fusion",
                    "params:evidence",
                    "params:difficulty",
                    "params:balance",
                    "params:policy",
                ],
                "reference_history",
                name="simulate_reference",
            ),
            node(nodes.join_curves, ["history", "reference_history"], "curves", name="join_curves"),
            node(
                nodes.state_facts,
                [
                    "manifest",
                    "setup",
                    "features",
                    "history",
                    "reference_history",
                    "lineage",
                    f"{last}.round_state_next",
                    f"{last}.labels_next",
                    "samples",
                    f"{last}.purchases",
                    "params:rounds",
                    "params:labeling",
                    "params:report",
                ],
                "facts",
                name="state_facts",
            ),
            node(
                nodes.draw_figures,
                ["curves", "facts"],
                ["learning_curve", "modality_accuracy", "modality_weights"],
                name="draw_figures",
            ),
            node(
                nodes.collect_gallery,
                [
                    "samples",
                    "manifest",
                    "setup",
                    "params:ingest",
                    "params:report",
                    f"{last}.labels_next",
                    f"{start}.annotation_batch",
                    *bought,
                ],
                "bought_samples" if questions else "gallery",
                name="collect_gallery",
            ),
            *([_chains(rounds, last)] if questions else []),
            node(
                nodes.write_report,
                ["curves", "facts", "gallery", "quarantine"],
                ["report", "latest_report"],
                name="write_report",
            ),
        ]
    )


def _chains(rounds: Sequence[str], last: str) -> Node:
    """What the model thought of each bought question, and where it looked."""
    told = [f"{k}.{role}" for k in rounds for role in ("proposals", "model")]
    return node(
        nodes.show_chains,
        ["bought_samples", "base", "samples", "manifest", "params:ingest", "params:vlm", f"{last}.labels_next", *told],
        "gallery",
        name="show_chains",
    )

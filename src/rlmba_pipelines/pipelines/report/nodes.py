"""The report: what the rounds came to, beside a reference that was simulated on the same start."""

from __future__ import annotations

import json
import shlex
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from rlmba_pipelines.config import (
    BalanceConfig,
    DifficultyConfig,
    EvidenceConfig,
    FusionConfig,
    IngestConfig,
    LabelingConfig,
    Parameters,
    PolicyConfig,
    ReportConfig,
    RoundsConfig,
    VlmConfig,
)
from rlmba_pipelines.datasets import Answers
from rlmba_pipelines.labeling import SimulatedOracle, annotator_table, krippendorff_alpha, resolve
from rlmba_pipelines.learning.acquisition import get_strategy
from rlmba_pipelines.learning.types import Features
from rlmba_pipelines.models.vlm.state import load_base
from rlmba_pipelines.pipelines.ingest.nodes import media_root
from rlmba_pipelines.pipelines.report.chains import shown_chains
from rlmba_pipelines.pipelines.report.gallery import bought_samples
from rlmba_pipelines.pipelines.report.history import curve_of, curve_row, seconds_by_node
from rlmba_pipelines.pipelines.vlm_ingest.nodes import reader
from rlmba_pipelines.reporting import figures
from rlmba_pipelines.reporting.data import BoughtSample, Facts, ReportData
from rlmba_pipelines.reporting.outlook import forecast_words, rule_words
from rlmba_pipelines.reporting.report import render_report
from rlmba_pipelines.simulation import simulate
from rlmba_pipelines.simulation.budget import outlook_of, why_stop
from rlmba_pipelines.simulation.round import Task

REPORTED_PACKAGES = ("rlmba_pipelines", "kedro", "torch", "numpy", "scikit-learn", "pandas")


def collect_history(lineage: Path, setup: dict[str, Any], rounds: RoundsConfig, *stages: Any) -> pd.DataFrame:
    """The learning curve of the run.

    Args:
        stages: labels that went in, validation metrics, test metrics and adapted state of every round, then the first
            three of ``final``.
    """
    seconds = seconds_by_node(lineage)
    rows = []
    for k, first in enumerate(range(0, len(stages), 4)):
        labels, validation, test, state = (*stages[first : first + 4], None)[:4]
        stage = f"round_{k + 1:02d}" if state else "final"
        weights = dict(zip(setup["modalities"], state["weights_M"], strict=True)) if state else {}
        spent = {name.removeprefix(f"{stage}."): s for name, s in seconds.items() if name.startswith(f"{stage}.")}
        rows.append(curve_row(rounds.strategy, k, labels, setup["n_validation"], validation, test, weights, spent))
    return curve_of(rows)


def simulate_reference(
    features: Features,
    samples: pd.DataFrame,
    validation_labels: pd.DataFrame,
    test_labels: pd.DataFrame,
    answers: Answers,
    setup: dict[str, Any],
    start_labels: pd.DataFrame,
    history: pd.DataFrame,
    rounds: RoundsConfig,
    fusion: FusionConfig,
    evidence: EvidenceConfig,
    difficulty: DifficultyConfig,
    balance: BalanceConfig,
    policy: PolicyConfig,
) -> pd.DataFrame:
    """The curve of the reference strategy from the same start batch; empty where not all labels are known."""
    if setup["annotator"] != "simulated" or not rounds.reference or rounds.reference == rounds.strategy:
        return history.iloc[0:0]
    asked = rounds.model_copy(
        update={
            "strategy": rounds.reference,
            "strategy_options": {},
            "rounds": len(history) - 1,
            "target_accuracy": None,
            "plateau": None,
        }
    )
    follows_theta = "action" in get_strategy(rounds.reference).requires  # no other one looks at difficulty
    learned = difficulty.model_copy(update={"enabled": difficulty.enabled and follows_theta})
    task = Task(
        features,
        samples,
        validation_labels,
        test_labels,
        tuple(setup["classes"]),
        Parameters(
            rounds=asked, fusion=fusion, evidence=evidence, difficulty=learned, balance=balance, policy=policy
        ),
    )
    results = simulate(task, SimulatedOracle(answers.hidden_labels).label, start=start_labels)
    return curve_of(
        [
            curve_row(
                rounds.reference, stage, result.labels, len(validation_labels), result.validation, result.test, {}, {}
            )
            for stage, result in enumerate(results)
        ]
    )


def no_reference(history: pd.DataFrame) -> pd.DataFrame:
    """The empty curve where nothing can be simulated beside the run."""
    return history.iloc[0:0]


def join_curves(history: pd.DataFrame, reference_history: pd.DataFrame) -> pd.DataFrame:
    """Both curves in one table."""
    return pd.concat([history, reference_history], ignore_index=True) if len(reference_history) else history


def state_facts(
    manifest: Path,
    setup: dict[str, Any],
    features: Features,
    history: pd.DataFrame,
    reference_history: pd.DataFrame,
    lineage: Path,
    last_state: dict[str, Any],
    labels: pd.DataFrame,
    samples: pd.DataFrame,
    purchases: pd.DataFrame,
    rounds: RoundsConfig,
    labeling: LabelingConfig,
    report: ReportConfig,
) -> Facts:
    """What the report says about the experiment as a whole."""
    people = purchases if setup["annotator"] != "simulated" else purchases[:0]
    last = history.iloc[-1]
    known = history[history["validation_accuracy"].notna()]
    measured = list(zip(known["labels"], known["validation_accuracy"], known["n_validation"], strict=True))
    outlook = outlook_of(measured, labels, samples, setup, rounds, labeling)
    kind = (
        "test split"
        if last["measured_on"] == "test"
        else ("validation split" if setup["n_validation"] else "random validation slice")
    )
    committed = manifest.parent.name == "emoji"
    source = "" if committed else f" --manifest {shlex.quote(manifest.name)}"
    asked = f"--strategy {rounds.strategy} --rounds {len(history) - 1} --seed {rounds.seed}{source}"
    return Facts(
        experiment=lineage.parent.name,
        title=report.title,
        strategy=rounds.strategy,
        strategy_sentence=get_strategy(rounds.strategy).idea,
        reference=str(reference_history["strategy"].iloc[0]) if len(reference_history) else None,
        seed=rounds.seed,
        dataset=manifest.parent.name or manifest.name,
        pool_size=setup["n_pool"],
        validation_size=setup["n_validation"],
        test_size=setup["n_test"],
        n_classes=len(setup["classes"]) or int(last.get("n_classes", 0)),
        modalities=tuple(setup["modalities"]),
        encoders={name: features.fingerprints.get(name, "") for name in setup["modalities"]},
        annotator="simulated" if setup["annotator"] == "simulated" else "people",
        measured_on=f"{kind} ({int(last['n_measured']):,} samples)",
        stop_reason=why_stop(last_state["accuracies"], labels, samples, setup, rounds, labeling) or "",
        seconds=sum(seconds_by_node(lineage).values()),
        versions={name: version(name) for name in REPORTED_PACKAGES},
        created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        command=f"kedro rounds run{_environment(lineage)} {asked}",
        forecast=forecast_words(outlook),
        rules=tuple(rule_words(outlook, rounds)),
        next_labels=outlook.next_labels,
        target_accuracy=rounds.target_accuracy,
        annotators=tuple(annotator_table(people, resolve(people, labeling, open_round=last_state["round_idx"]))),
        alpha=krippendorff_alpha(people),
        paid=float(purchases["cost"].sum()),
    )


def _environment(lineage: Path) -> str:
    """The option that names the configuration that the experiment was asked for with, where it did."""
    try:
        env = json.loads((lineage.parent / "request.json").read_text())["env"]
    except (OSError, ValueError, LookupError, TypeError):  # none, or a damaged one: 'kedro rounds' tells that
        return ""
    return f" --env {env}" if env else ""


def draw_figures(curves: pd.DataFrame, facts: Facts) -> tuple[Figure, Figure, Figure]:
    """The figures that kedro-viz shows; the report draws the same ones."""
    return (
        figures.learning_curve(curves, facts),
        figures.modality_accuracy(curves, facts),
        figures.modality_weights(curves, facts),
    )


def collect_gallery(
    samples: pd.DataFrame,
    manifest: Path,
    setup: dict[str, Any],
    ingest: IngestConfig,
    report: ReportConfig,
    labels: pd.DataFrame,
    *rounds: pd.DataFrame,
) -> tuple[BoughtSample, ...]:
    """Every bought sample with its media and reasons.

    Args:
        labels: everything bought.
        rounds: the annotation batch of round 0, then batch and terms of every later round.
    """
    read = partial(media_root(manifest, ingest).read, max_bytes=ingest.caps.max_bytes)
    answers = dict(zip(labels["sample_id"], labels["label"], strict=True))
    pairs = [(rounds[0], None), *zip(rounds[1::2], rounds[2::2], strict=True)]
    found: list[BoughtSample] = []
    for batch, terms in pairs:
        if len(batch):
            found += bought_samples(
                batch, answers, terms, tuple(setup["modalities"]), read, ingest.caps, report.gallery_per_round
            )
    return tuple(found)


def show_chains(
    bought: tuple[BoughtSample, ...],
    base: Path,
    samples: pd.DataFrame,
    manifest: Path,
    ingest: IngestConfig,
    vlm: VlmConfig,
    labels: pd.DataFrame,
    *rounds: Any,
) -> tuple[BoughtSample, ...]:
    """Bought questions with the chains the model wrote, where the answer lies, and where the model looked.

    Args:
        rounds: proposals and model of every round after the start.
    """
    return shown_chains(
        bought, load_base(base, vlm), samples, reader(manifest, ingest), vlm, labels,
        list(zip(rounds[::2], rounds[1::2], strict=True)),
    )


def write_report(
    curves: pd.DataFrame, facts: Facts, gallery: tuple[BoughtSample, ...], quarantine: pd.DataFrame
) -> tuple[str, str]:
    """One self-contained page, under the experiment's name and as the latest."""
    page = render_report(ReportData(facts, curves, gallery, quarantine))
    return page, page

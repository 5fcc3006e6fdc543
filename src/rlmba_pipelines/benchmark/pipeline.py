"""The pipeline ``benchmark``: runs, tables, figures, page. ``make bench`` prepares the sets and calls it.

Every ``kedro`` command imports this module for the registry; what is heavy (scipy.stats) waits for a run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.pipeline import Pipeline, node
from matplotlib.figure import Figure

from rlmba_pipelines.benchmark.protocol import MAIN, Cell, Protocol
from rlmba_pipelines.config import BenchmarkConfig
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.commits import PREPARED, Experiment, read_object, read_table
from rlmba_pipelines.rounds.current import current


def run_benchmark(protocol: dict[str, Any], folder: Path, benchmark: BenchmarkConfig) -> pd.DataFrame:
    """Every run that is asked for, on the sets that are prepared; one row a measured round.

    What else of the full plan is on file in all its seeds comes along.

    Raises:
        UserError: no set is prepared, or one that was asked for is not.
    """
    from rlmba_pipelines.benchmark.runs import on_file, rows_of, run_all, whole_parts

    asked, project = Protocol(**protocol), current.project_path
    cells, everything = cells_of(project, asked, benchmark)
    runs = run_all(project, asked, cells, folder, benchmark.workers)
    if benchmark.plan == "smoke":
        return runs
    chosen = set(cells)
    found = on_file(project, asked, [cell for cell in everything if cell not in chosen], folder)
    beside = [cell for cell in whole_parts({*chosen, *found}, everything) if cell in found]
    return pd.concat([runs, rows_of({cell: found[cell] for cell in beside})], ignore_index=True)


def cells_of(project: Path, asked: Protocol, benchmark: BenchmarkConfig) -> tuple[list[Cell], list[Cell]]:
    """The runs that are asked for, and all of the full plan on the same sets.

    Raises:
        UserError: no set is prepared, or one that was asked for is not, or has nothing to measure on; nothing is of
            that name.
    """
    from rlmba_pipelines.benchmark.runs import experiment_name

    wanted = benchmark.sets or tuple(asked.sets if benchmark.plan == "full" else asked.standard_sets)
    ready = {name: Experiment.of(project, experiment_name(name)) for name in wanted if name in asked.sets}
    for name in wanted:
        if name not in ready or not ready[name].is_done(PREPARED):
            raise UserError(
                f"The set {name!r} of conf/benchmark/protocol.yml is not prepared; 'make bench' does that for every "
                "set whose manifest is there, or give --params benchmark.sets=[NAME,…]."
            )
        if read_table(ready[name].path_of(PREPARED, "test_labels")).empty:
            raise UserError(
                f"No sample of the set {name!r} has the split 'test', on which strategies are measured: mark some in "
                f"{asked.sets[name].manifest}, or leave out the column 'split', which draws them, and give the set "
                "another name, as this one has been read."
            )
    modalities = {name: tuple(read_object(e.path_of(PREPARED, "setup"))["modalities"]) for name, e in ready.items()}
    everything = asked.cells("full", wanted, modalities)
    cells = asked.cells(benchmark.plan, wanted, modalities)
    if benchmark.conditions or benchmark.strategies:
        cells = [cell for cell in everything if _is_chosen(cell, benchmark)]
        if not cells:
            raise UserError(
                f"Nothing in conf/benchmark/protocol.yml is of the conditions {list(benchmark.conditions)} and the "
                f"strategies {list(benchmark.strategies)}; its names stand under 'controls' ('{MAIN}' besides) and "
                "'strategies'."
            )
    return cells, everything


def _is_chosen(cell: Cell, benchmark: BenchmarkConfig) -> bool:
    return (not benchmark.conditions or cell.condition in benchmark.conditions) and (
        not benchmark.strategies or cell.strategy in benchmark.strategies
    )


def compare(
    protocol: dict[str, Any], runs: pd.DataFrame, benchmark: BenchmarkConfig
) -> tuple[dict[str, Any], str, Figure, Figure, Figure, Figure, Figure]:
    """Figures for machines, the page, and the pictures.

    Raises:
        UserError: no strategy can be compared with the reference.
    """
    from rlmba_pipelines.benchmark import figures, tables
    from rlmba_pipelines.benchmark.page import machine, page

    asked = Protocol(**protocol)
    values = tables.areas(runs)
    against_reference = tables.comparison(values, asked.reference) if len(values) else values
    if "difference" not in against_reference or not (against_reference["condition"] == MAIN).any():
        raise UserError(
            f"The runs are on file, but docs/benchmarks.md stays as it was: it holds strategies against "
            f"{asked.reference!r} under the condition {MAIN!r}, which takes runs of both with two seeds at least."
        )
    against_candidate = tables.comparison(values, asked.candidate)
    needed = tables.labels_needed(runs, asked.reference)
    shown = [s for s in dict.fromkeys(against_reference["strategy"]) if not s.startswith("unimodal:")]
    matrix = tables.penalty_matrix(runs, shown)
    mean_rank, critical, friedman = tables.ranks(values[values["strategy"].isin(shown)])
    facts = {
        "command": _command(benchmark),
        "critical": critical,
        "friedman": friedman,
        **machine(),
    }
    found = {
        "about": facts,
        "against_reference": _records(against_reference),
        "against_candidate": _records(against_candidate),
        "labels_needed": _records(needed),
        "penalties": matrix.to_dict(),
        "mean_rank": mean_rank.to_dict(),
    }
    return (
        found,
        page(asked, runs, values, against_reference, needed, facts),
        figures.learning_curves(runs, shown, asked.candidate, asked.reference),
        figures.forest(against_reference, asked.candidate),
        figures.penalties(matrix),
        figures.critical_difference(mean_rank, critical, asked.candidate),
        figures.pareto(runs, asked.candidate, asked.reference),
    )


def _command(benchmark: BenchmarkConfig) -> str:
    chosen = {"sets": benchmark.sets, "conditions": benchmark.conditions, "strategies": benchmark.strategies}
    asked = "".join(f" --{name} {' '.join(names)}" for name, names in chosen.items() if names)
    return f"python scripts/bench.py --plan {benchmark.plan}{asked}"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return records


def create_pipeline() -> Pipeline:
    pictures = [f"benchmark_{name}" for name in ("curves", "forest", "penalties", "ranks", "pareto")]
    return Pipeline(
        [
            node(
                run_benchmark,
                ["benchmark_protocol", "benchmark_folder", "params:benchmark"],
                "benchmark_runs",
                name="run_benchmark",
            ),
            node(
                compare,
                ["benchmark_protocol", "benchmark_runs", "params:benchmark"],
                ["benchmark_figures", "benchmark_page", *pictures],
                name="compare_strategies",
            ),
        ]
    )

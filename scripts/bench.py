"""``make bench``: the figures of the first version, into docs/benchmarks.md and docs/benchmarks.json.

1. Default strategy and baselines minus random, area under the learning curve on the committed data, paired over seeds.
2. What Kedro, lineage and writing cost, against the same rounds in memory, side by side in one process.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from kedro.framework.startup import bootstrap_project

from rlmba_pipelines.learning.metrics.learning_curve import area_under_curve
from rlmba_pipelines.learning.metrics.statistics import paired_difference
from rlmba_pipelines.rounds.commits import PREPARED, Experiment
from rlmba_pipelines.rounds.driver import Request, Runner, quiet, run_rounds
from rlmba_pipelines.rounds.replay import task_of
from rlmba_pipelines.rounds.unroll import stage_name
from rlmba_pipelines.simulation import simulate
from rlmba_pipelines.simulation.tables import TRAINING

ROOT = Path(__file__).resolve().parents[1]
STRATEGIES = ("random", "herding", "margin", "entropy", "badge", "core_set")
REPORTED_SEEDS = tuple(range(10))  # tuning used 100 and up
BASE = "bench"


def curve(strategy: str, seed: int) -> tuple[str, int, float, float]:
    """Area under the curve and final accuracy of one run, in memory, one thread."""
    torch.set_num_threads(1)
    task, oracle = task_of(Experiment.of(ROOT, BASE))
    rounds = task.parameters.rounds.model_copy(update={"strategy": strategy, "seed": seed, "rounds": 5})
    asked = replace(task, parameters=task.parameters.model_copy(update={"rounds": rounds}))
    points = [
        (int((r.labels["purpose"] == TRAINING).sum()), r.test["accuracy"])
        for r in simulate(asked, oracle.label)
        if r.test
    ]
    labels, accuracy = np.array(points).T
    return strategy, seed, area_under_curve(labels, accuracy), float(accuracy[-1])


def compare(workers: int) -> list[dict[str, float | str]]:
    """Every strategy minus random, paired over the reported seeds, in points."""
    jobs = [(strategy, seed) for seed in REPORTED_SEEDS for strategy in STRATEGIES]
    area: dict[str, list[float]] = {}
    final: dict[str, list[float]] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for n, (strategy, seed, under, last) in enumerate(pool.map(curve, *zip(*jobs, strict=True)), 1):
            print(f"  {n}/{len(jobs)} {strategy} seed {seed}: {100 * under:.2f}", flush=True)
            area.setdefault(strategy, []).append(100 * under)
            final.setdefault(strategy, []).append(100 * last)
    rows: list[dict[str, float | str]] = []
    for strategy in STRATEGIES:
        row: dict[str, float | str] = {
            "strategy": strategy,
            "area": statistics.mean(area[strategy]),
            "final accuracy": statistics.mean(final[strategy]),
        }
        if strategy != "random":
            found = paired_difference(np.array(area[strategy]), np.array(area["random"]))
            row |= {"minus random": found.mean, "low": found.low, "high": found.high, "p": found.p}
        rows.append(row)
    return rows


def overhead(repeats: int) -> dict[str, float]:
    """Seconds a round under Kedro and in memory: the same rounds, turn by turn in one process, medians and paired.

    The machine's pace drifts by more than what is measured, so every round is compared with its twin
    beside it, now the one first and now the other.
    """
    pairs: list[tuple[float, float]] = []
    task, oracle = task_of(Experiment.of(ROOT, BASE))
    with quiet():
        for repeat in range(repeats + 1):
            name = f"bench-overhead-{os.getpid()}-{repeat}"
            run = Runner(Request(ROOT, None, {"experiment": name, "rounds": {"rounds": 5}}))
            run("ingest", "feature_extraction", rounds=5)
            run(stage_name(0), rounds=5)
            results = simulate(task, oracle.label)
            next(results)
            for k in range(1, 6):
                turns: list[Callable[[], object]] = [partial(run, stage_name(k), rounds=5), partial(next, results)]
                seconds = [0.0, 0.0]
                for turn in (0, 1) if k % 2 else (1, 0):  # the second finds warmer caches
                    started = time.perf_counter()
                    turns[turn]()
                    seconds[turn] = time.perf_counter() - started
                if repeat:  # the first is a warm-up
                    pairs.append((seconds[0], seconds[1]))
    kedro, memory = zip(*pairs, strict=True)
    return {
        "kedro": statistics.median(kedro),
        "memory": statistics.median(memory),
        "overhead": statistics.median((a - b) / a for a, b in pairs),
        "rounds": len(pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["compare", "overhead"])
    options = parser.parse_args()
    logging.getLogger("kedro").setLevel(logging.WARNING)
    bootstrap_project(ROOT)
    if not Experiment.of(ROOT, BASE).is_done(PREPARED):
        run_rounds(Request(ROOT, None, {"experiment": BASE, "rounds": {"rounds": 5}}), print)
    path = ROOT / "docs" / "benchmarks.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    if options.only != "compare":
        found["overhead"] = overhead(options.repeats)
        print(found["overhead"])
    if options.only != "overhead":
        found["comparison"] = compare(options.workers)
    found["machine"] = {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        **{name: version(name) for name in ("rlmba_pipelines", "torch", "numpy", "kedro")},
    }
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as stream:
        json.dump(found, stream, indent=1)
    os.replace(stream.name, path)
    path.chmod(0o644)
    (ROOT / "docs" / "benchmarks.md").write_text(page(found))


def page(found: dict) -> str:
    """The figures as Markdown."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; the same figures for machines are in [benchmarks.json](benchmarks.json). "
        f"{found['machine']['cores']} cores, torch {found['machine']['torch']}, one thread a process.",
        "",
    ]
    if "comparison" in found:
        lines += [
            "## Accuracy per label, committed emoji data",
            "",
            "67 classes, pool of 4,021, start 200, five rounds of 200, seeds "
            f"{REPORTED_SEEDS[0]}–{REPORTED_SEEDS[-1]} (tuning used other seeds), the same learner and start batch for "
            "every strategy. Area under the learning curve on the test split in points of accuracy; difference to "
            "random paired over seeds, 95 % interval (paired t).",
            "",
            "| strategy | area | minus random | 95 % interval | p | final accuracy |",
            "|---|---|---|---|---|---|",
        ]
        for row in found["comparison"]:
            gap = (
                f"{row['minus random']:+.2f} | {row['low']:+.2f} to {row['high']:+.2f} | {row['p']:.1e}"
                if "low" in row
                else "| |"
            )
            lines.append(f"| {row['strategy']} | {row['area']:.2f} | {gap} | {row['final accuracy']:.2f} |")
        lines.append("")
    if "overhead" in found:
        cost = found["overhead"]
        lines += [
            "## What Kedro costs",
            "",
            f"A round under Kedro, with lineage, checksums and fsynced writes, takes {cost['kedro']:.2f} s; the same "
            f"round in memory {cost['memory']:.2f} s: {100 * cost['overhead']:.0f} % of a round is overhead (medians, "
            "alternating in one process, one thread).",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

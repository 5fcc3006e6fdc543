"""``make bench``: the figures of the first version, into docs/benchmarks.md and docs/benchmarks.json.

1. Default strategy and baselines minus random, area under the learning curve on the committed data, paired over seeds.
2. What Kedro, lineage and writing cost, against the same rounds in memory, side by side in one process.
3. What durability costs: five rounds with fsync and checksums, and without, by turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import numpy as np

from curves import REPORTED_SEEDS, ROOT, ROUNDS, SETTING, Run, machine, prepare, prepared_task, run_in_memory, write
from rlmba_pipelines import disk, hooks
from rlmba_pipelines.learning.metrics.statistics import paired_difference
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.rounds.driver import Request, Runner, quiet
from rlmba_pipelines.rounds.unroll import FINAL, stage_name
from rlmba_pipelines.simulation import simulate

STRATEGIES = ("random", "herding", "margin", "entropy", "badge", "core_set")


def curve(strategy: str, seed: int) -> tuple[str, int, Run]:
    return strategy, seed, run_in_memory({"rounds": {"strategy": strategy}}, seed)


def compare(workers: int) -> list[dict[str, float | str]]:
    """Every strategy minus random, paired over the reported seeds, in points."""
    jobs = [(strategy, seed) for seed in REPORTED_SEEDS for strategy in STRATEGIES]
    area: dict[str, list[float]] = {}
    final: dict[str, list[float]] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for n, (strategy, seed, found) in enumerate(pool.map(curve, *zip(*jobs, strict=True)), 1):
            print(f"  {n}/{len(jobs)} {strategy} seed {seed}: {found.area:.2f}", flush=True)
            area.setdefault(strategy, []).append(found.area)
            final.setdefault(strategy, []).append(100 * found.final["accuracy"])
    rows: list[dict[str, float | str]] = []
    for strategy in STRATEGIES:
        row: dict[str, float | str] = {
            "strategy": strategy,
            "area": statistics.mean(area[strategy]),
            "final accuracy": statistics.mean(final[strategy]),
        }
        if strategy != "random":
            gap = paired_difference(np.array(area[strategy]), np.array(area["random"]))
            row |= {"minus random": gap.mean, "low": gap.low, "high": gap.high, "p": gap.p}
        rows.append(row)
    return rows


@dataclass
class Pairs:
    """Seconds of two ways to do the same, measured turn by turn.

    The machine's pace drifts by more than what is measured, so each is compared with its twin beside it, now the one
    first and now the other; the second finds warmer caches.
    """

    seconds: list[tuple[float, float]] = field(default_factory=list)
    _one_first: bool = False

    def measure(self, one: Callable[[], object], other: Callable[[], object], *, keep: bool) -> None:
        """Do both; ``keep`` is False for a warm-up."""
        self._one_first = not self._one_first
        turns, found = [one, other], [0.0, 0.0]
        for turn in (0, 1) if self._one_first else (1, 0):
            started = time.perf_counter()
            turns[turn]()
            found[turn] = time.perf_counter() - started
        if keep:
            self.seconds.append((found[0], found[1]))

    def medians(self) -> tuple[float, float]:
        one, other = zip(*self.seconds, strict=True)
        return statistics.median(one), statistics.median(other)

    def share(self) -> float:
        """How much of the one is what the other does without: the median over the pairs."""
        return statistics.median((one - other) / one for one, other in self.seconds)


def overhead(repeats: int) -> dict[str, float]:
    """Seconds a round under Kedro and in memory: the same rounds, in one process."""
    pairs = Pairs()
    task, oracle = prepared_task()
    with quiet():
        for repeat in range(repeats + 1):
            name = f"bench-overhead-{os.getpid()}-{repeat}"
            run = Runner(Request(ROOT, None, {"experiment": name, "rounds": {"rounds": ROUNDS}}))
            run("ingest", "feature_extraction", rounds=ROUNDS)
            run(stage_name(0), rounds=ROUNDS)
            results = simulate(task, oracle.label)
            next(results)
            for k in range(1, ROUNDS + 1):
                pairs.measure(partial(run, stage_name(k), rounds=ROUNDS), partial(next, results), keep=repeat > 0)
    kedro, memory = pairs.medians()
    return {"kedro": kedro, "memory": memory, "overhead": pairs.share(), "rounds": len(pairs.seconds)}


@contextmanager
def careless() -> Iterator[None]:
    """Nothing waits for the disk, and nothing is hashed."""
    opened = Ledger.__init__

    def open_without_waiting(ledger: Ledger, path: Path) -> None:
        opened(ledger, path)
        ledger._db.execute("PRAGMA synchronous = OFF")

    with ExitStack() as stack:
        for owner, name, instead in (
            (disk, "_sync", lambda path: None),
            (hooks, "digest_of", lambda path: ""),
            (hooks, "ledger_state", lambda path: None),
            (hooks, "refuse_damaged", lambda *arguments: None),
            (Ledger, "__init__", open_without_waiting),
        ):
            stack.enter_context(patch.object(owner, name, instead))
        yield


def durability(repeats: int) -> dict[str, float]:
    """Seconds of a warm run, ingest to closing measurement, with care for power cuts and damage and without."""

    def warm_run(name: str) -> None:
        run = Runner(Request(ROOT, None, {"experiment": name, "rounds": {"rounds": ROUNDS}}))
        run("ingest", "feature_extraction", rounds=ROUNDS)
        for k in range(ROUNDS + 1):
            run(stage_name(k), rounds=ROUNDS)
        run(FINAL, rounds=ROUNDS)

    def careless_run(name: str) -> None:
        with careless():
            warm_run(name)

    pairs = Pairs()
    with quiet():
        for repeat in range(repeats + 1):
            name = f"bench-durability-{os.getpid()}-{repeat}"
            pairs.measure(
                partial(warm_run, f"{name}-with"), partial(careless_run, f"{name}-without"), keep=repeat > 0
            )
    careful, without = pairs.medians()
    return {"careful": careful, "careless": without, "share": pairs.share(), "runs": len(pairs.seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["compare", "overhead", "durability"])
    options = parser.parse_args()
    prepare()
    path = ROOT / "docs" / "benchmarks.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    wanted = [options.only] if options.only else ["overhead", "durability", "compare"]
    if "overhead" in wanted:
        found["overhead"] = overhead(options.repeats)
        print(found["overhead"])
    if "durability" in wanted:
        found["durability"] = durability(options.repeats)
        print(found["durability"])
    if "compare" in wanted:
        found["comparison"] = compare(options.workers)
    found["machine"] = machine()
    write(path, json.dumps(found, indent=1))
    write(path.with_suffix(".md"), page(found))


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
            f"{SETTING}, the same learner and start batch for every strategy. Area under the learning curve on the "
            "test split in points of accuracy; difference to random paired over seeds, 95 % interval (paired t).",
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
    if "durability" in found:
        cost = found["durability"]
        lines += [
            "## What durability costs",
            "",
            f"A warm run of five rounds, from ingest to the closing measurement, takes {cost['careful']:.2f} s, and "
            f"{cost['careless']:.2f} s where nothing waits for the disk and nothing is hashed: "
            f"{100 * cost['share']:.1f} % (medians of {cost['runs']} pairs, by turns in one process).",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""``make bench-overhead``: what Kedro and durability cost, into docs/benchmarks_overhead.md and .json.

1. What Kedro, lineage and writing cost, against the same rounds in memory, side by side in one process.
2. What durability costs: five rounds with fsync and checksums, and without, by turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest.mock import patch

from curves import ROOT, ROUNDS, prepare, prepared_task, write
from rlmba_pipelines import disk, hooks
from rlmba_pipelines.benchmark.page import machine
from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.rounds.driver import Request, Runner, quiet
from rlmba_pipelines.rounds.unroll import FINAL, stage_name
from rlmba_pipelines.simulation import simulate


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
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["overhead", "durability"])
    options = parser.parse_args()
    prepare()
    path = ROOT / "docs" / "benchmarks_overhead.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name, measure in (("overhead", overhead), ("durability", durability)):
        if options.only in (None, name):
            found[name] = measure(options.repeats)
            print(found[name])
    found["machine"] = machine()
    write(path, json.dumps(found, indent=1))
    write(path.with_suffix(".md"), page(found))


def page(found: dict) -> str:
    """The figures as Markdown."""
    lines = [
        "# What safety costs",
        "",
        "Made by `make bench-overhead`; the same figures for machines are in "
        f"[benchmarks_overhead.json](benchmarks_overhead.json). {found['machine']['cores']} cores, torch "
        f"{found['machine']['torch']}, one thread a process.",
        "",
    ]
    if "overhead" in found:
        cost = found["overhead"]
        lines += [
            "## What Kedro costs",
            "",
            f"A round under Kedro, with lineage, checksums and fsynced writes, takes {cost['kedro']:.2f} s; the same "
            f"round in memory {cost['memory']:.2f} s (medians): the median over the pairs of "
            f"what Kedro adds is {100 * cost['overhead']:.0f} % ("
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
            f"{100 * cost['share']:.1f} %, the median of {cost['runs']} pairs, by turns in one process "
            "(below 0 is noise).",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""``make bench``: prepare the sets of conf/benchmark/protocol.yml that are on this machine, and compare strategies.

Runs that are on file (data/08_reporting/benchmark/runs) are not run again, so a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from kedro.framework.startup import bootstrap_project

from rlmba_pipelines.benchmark.protocol import Protocol
from rlmba_pipelines.benchmark.runs import experiment_name
from rlmba_pipelines.rounds.driver import Request, Runner
from rlmba_pipelines.rounds.replay import prepare

ROOT = Path(__file__).resolve().parents[1]


def prepared_sets(protocol: Protocol) -> list[str]:
    """Names of the sets that are ready; a set whose manifest is there gets its features now."""
    ready = []
    for name, found in protocol.sets.items():
        manifest = ROOT / found.manifest
        if not manifest.exists():
            print(f"{name}: there is no {found.manifest}; the README says which 'make data-…' builds it")
            continue
        prepare(ROOT, experiment_name(name), manifest)
        ready.append(name)
    return ready


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--plan", choices=["smoke", "standard", "full"], default="standard")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sets", nargs="*", default=[], help="names in the protocol; default: all of the plan")
    options = parser.parse_args()
    logging.getLogger("kedro").setLevel(logging.WARNING)
    bootstrap_project(ROOT)
    protocol = Protocol.read(ROOT)
    ready = prepared_sets(protocol)
    wanted = options.sets or (protocol.sets if options.plan == "full" else protocol.standard_sets)
    sets = [name for name in wanted if name in ready]
    if not sets:
        raise SystemExit("None of the sets of this plan is on this machine; build one with 'make data-…'.")
    asked = {"experiment": "benchmark", "benchmark": {"plan": options.plan, "workers": options.workers, "sets": sets}}
    Runner(Request(ROOT, None, asked))("benchmark", rounds=1)
    print(f"report   {ROOT.name}/docs/benchmarks.md")


if __name__ == "__main__":
    main()

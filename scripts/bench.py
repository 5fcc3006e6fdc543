"""``make bench``: prepare the sets of conf/benchmark/protocol.yml that are on this machine, and compare strategies.

Runs on file (data/08_reporting/benchmark/runs) are not run again, so a stopped benchmark goes on. Finished runs
are also kept in docs/benchmarks_runs, so that it goes on from there on another machine; --again runs them anew.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from kedro.framework.startup import bootstrap_project

from rlmba_pipelines.benchmark.pipeline import cells_of
from rlmba_pipelines.benchmark.protocol import Cell, Protocol
from rlmba_pipelines.benchmark.runs import damage_of, experiment_name, place_of, read_by_a_run
from rlmba_pipelines.config import BenchmarkConfig, Parameters
from rlmba_pipelines.disk import STALE_SECONDS, TEMPORARY_PREFIX, replacing, sweep
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.rounds.driver import Request, Runner
from rlmba_pipelines.rounds.parameters import merged
from rlmba_pipelines.rounds.replay import prepare

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "data" / "08_reporting" / "benchmark" / "runs"  # <set>/<condition>/<strategy>/<seed>.json
PACKED = ROOT / "docs" / "benchmarks_runs"  # <set>.<condition>.jsonl.gz


def unpack() -> None:
    """Runs of other machines onto this one; what is there already stays."""
    for archive in sorted(PACKED.glob("*.jsonl.gz")):
        for line in gzip.decompress(archive.read_bytes()).decode().splitlines():
            record = json.loads(line)
            place = RUNS / record.pop("place")
            if not place.exists():
                with replacing(place, durable=False) as part:
                    part.write_text(json.dumps(record))


def pack() -> None:
    """Every run on file, a line each; the same runs are the same bytes.

    An option that is newer than a run gets the value that it has by default today, before that is ever changed; so
    does a run that is older than the record of what its condition did to the data.
    """
    usual, protocol = read_by_a_run(Parameters().model_dump(mode="json")), Protocol.read(ROOT)
    lines = defaultdict(list)
    for path in sorted(RUNS.rglob("*.json")):
        if path.name.startswith(TEMPORARY_PREFIX):  # of a run that was killed
            continue
        place = path.relative_to(RUNS)
        record = json.loads(path.read_text())
        if "settings" not in record:  # of a time when runs kept a digest; it is run again
            continue
        whole = {**record, "settings": merged(usual, record["settings"])}
        whole.setdefault("data", damage_of(protocol, place.parts[1]))
        if whole != record:  # also here, where it would be taken for a run under tomorrow's default
            with replacing(path, durable=False) as part:
                part.write_text(json.dumps(whole))
        lines[".".join(place.parts[:2])].append(json.dumps({"place": place.as_posix(), **whole}) + "\n")
    for name, runs in lines.items():
        with replacing(PACKED / f"{name}.jsonl.gz") as part:
            part.write_bytes(gzip.compress("".join(runs).encode(), mtime=0))


def forget(cells: Iterable[Cell]) -> None:
    """Finished runs that are wanted anew, here and packed."""
    for cell in cells:
        place_of(RUNS, cell).unlink(missing_ok=True)
        (PACKED / f"{cell.set}.{cell.condition}.jsonl.gz").unlink(missing_ok=True)
    pack()


def prepared_sets(protocol: Protocol, wanted: Iterable[str]) -> list[str]:
    """Names of the wanted sets that are ready; a set whose manifest is there gets its features now."""
    ready = []
    for name in wanted:
        if name not in protocol.sets:
            known = ", ".join(protocol.sets)
            raise SystemExit(f"There is no set {name!r} in conf/benchmark/protocol.yml; it has {known}.")
        found = protocol.sets[name]
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
    parser.add_argument("--conditions", nargs="*", default=[], help="these alone, main or a control, of the full plan")
    parser.add_argument("--strategies", nargs="*", default=[], help="these alone, of the full plan")
    parser.add_argument("--again", action="store_true", help="also what is on file of these runs")
    parser.add_argument("--pack", action="store_true", help="only write the packed runs again, with today's options")
    options = parser.parse_args()
    if options.pack:
        unpack()
        pack()
        return
    logging.getLogger("kedro").setLevel(logging.WARNING)
    bootstrap_project(ROOT)
    protocol = Protocol.read(ROOT)
    wanted = options.sets or (protocol.sets if options.plan == "full" else protocol.standard_sets)
    sets = prepared_sets(protocol, wanted)
    if not sets:
        raise SystemExit("None of the sets of this plan is on this machine; build one with 'make data-…'.")
    chosen = {"sets": sets, "conditions": options.conditions, "strategies": options.strategies}
    benchmark = BenchmarkConfig(plan=options.plan, workers=options.workers, **chosen)
    sweep(RUNS, STALE_SECONDS)
    unpack()
    try:
        if options.again:
            forget(cells_of(ROOT, protocol, benchmark)[0])
        asked = {"experiment": "bench", "benchmark": benchmark.model_dump(mode="json")}
        Runner(Request(ROOT, None, asked))("benchmark", rounds=1)
    except UserError as error:
        raise SystemExit(str(error)) from None
    finally:
        pack()
    print(f"report   {ROOT.name}/docs/benchmarks.md")


if __name__ == "__main__":
    main()

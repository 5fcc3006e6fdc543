"""Peak memory of a whole run, by the size of the pool: ``python scripts/pool_memory.py --samples 20000 80000``.

Text and a tiny encoder, two rounds, the report; a process each. Anonymous memory is what a process holds for itself;
pages of mapped files, of which features are most, the system takes back whenever it wants to.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pandas as pd
from kedro.framework.startup import bootstrap_project

from durability import bare_project
from rlmba_pipelines.rounds.driver import Request, run_rounds

WORDS = ("fire", "leaf", "sky", "stone")
SPLITS = np.array(("pool",) * 18 + ("validation", "test"))


def measured(n_samples: int, candidates: int) -> dict[str, float]:
    """Run on a pool of generated sentences; peaks in MiB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = bare_project(
            folder / "project",
            "encoders: {text: tiny, workers: 1}\n"
            "ingest: {workers: 1}\n"
            "fusion: {epochs: 1, min_steps: 10}\n"
            f"rounds: {{rounds: 2, start_size: 100, query_size: 100, candidates: {candidates}, reference: null}}\n",
        )
        order = np.arange(n_samples)
        words = np.array(WORDS)[order % len(WORDS)]
        pd.DataFrame(
            {
                "sample_id": [f"s{i:08d}" for i in order],
                "text": [f"{word} {i}" for i, word in enumerate(words)],
                "label": words,
                "split": SPLITS[order // len(WORDS) % len(SPLITS)],
            }
        ).to_csv(folder / "manifest.csv", index=False)
        bootstrap_project(project)
        peaks: dict[str, float] = {}
        done = threading.Event()
        watch = threading.Thread(target=_watch, args=(peaks, done))
        watch.start()
        try:
            asked = {"experiment": "memory", "manifest": str(folder / "manifest.csv")}
            run_rounds(Request(project, None, asked), print)
        finally:
            done.set()
            watch.join()
        return {"samples": n_samples, "candidates": candidates, **peaks}


def _watch(peaks: dict[str, float], done: threading.Event) -> None:
    """Peaks of ``/proc/self/status``, looked at a hundred times a second."""
    names = {"RssAnon:": "anonymous", "VmRSS:": "resident"}
    while not done.wait(0.01):
        for line in Path("/proc/self/status").read_text().splitlines():
            label, *value = line.split()
            if label in names:
                peaks[names[label]] = max(peaks.get(names[label], 0.0), int(value[0]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--samples", type=int, nargs="+", default=[20_000, 80_000])
    parser.add_argument("--candidates", type=int, default=10_000)
    options = parser.parse_args()
    if len(options.samples) == 1:
        print(json.dumps(measured(options.samples[0], options.candidates)))
        return
    found = []
    for n_samples in options.samples:
        command = [sys.executable, __file__, "--samples", str(n_samples), "--candidates", str(options.candidates)]
        result = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True
        )
        found.append(json.loads(result.stdout.splitlines()[-1]))
        print(json.dumps(found[-1]), flush=True)
    first, last = found[0], found[-1]
    grown = (last["anonymous"] - first["anonymous"]) * 2**20 / (last["samples"] - first["samples"])
    print(f"{grown:.0f} bytes of anonymous memory for each sample more")


if __name__ == "__main__":
    main()

"""One cell of ``bench_selection.py``: a call in a process of its own, its seconds and the peak of its memory."""

from __future__ import annotations

import gc
import os
import statistics
import sys
import threading
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench_peers import Pool, prepare

PREPARE_S, MEMORY_GIB = 600.0, 16

Cell = dict[str, Any]


def key_of(name: str, n: int, q: int) -> str:
    return f"{name} | N={n} | Q={q}"


def measure(run: Any) -> Cell:
    """Seconds and peak extra megabytes of a call."""
    gc.collect()
    before = reset_peak()
    with PeakSampler() as sampler:
        start = time.perf_counter()
        run()
        seconds = [time.perf_counter() - start]
    extra = max(sampler.peak, peak_now()) - before
    while seconds[0] < 1 and len(seconds) < 3:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return {"status": "ok", "seconds": round(statistics.median(seconds), 4), "extra_mb": round(max(extra, 0) / 1e6, 1)}


def child(name: str, n: int, q: int, pool: dict[str, int], pipe: Connection) -> None:
    """Runs a cell and sends ``ready`` when the clock starts, then what it found."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_GIB << 30,) * 2)
        prepare(name, Pool(max(4 * pool["n_classes"], 200), **pool), 5)()
        run = prepare(name, Pool(n, **pool), q)
        pipe.send("ready")
        pipe.send(measure(run))
    except MemoryError:
        pipe.send({"status": "memory"})
    except Exception as error:
        pipe.send({"status": "failed", "why": f"{type(error).__name__}: {error}"[:300]})


def run_cell(name: str, n: int, q: int, pool: dict[str, int], cap: float) -> Cell:
    """The cell in a child process that is ended after ``cap`` seconds."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=child, args=(name, n, q, pool, there))
    process.start()
    there.close()
    try:
        answer: Any = here.recv() if here.poll(PREPARE_S) else {"status": "failed", "why": "preparing took too long"}
        if answer == "ready":
            answer = here.recv() if here.poll(cap) else {"status": "over"}
        return answer
    except EOFError:  # the child is gone without a word
        process.join()
        killed = process.exitcode == -9
        return {"status": "memory"} if killed else {"status": "failed", "why": f"exit code {process.exitcode}"}
    finally:
        process.kill()
        process.join()


class PeakSampler:
    """Resident memory looked at every 5 ms, where the system does not keep its peak."""

    def __enter__(self) -> PeakSampler:
        self.peak, self._stop = resident(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if not keeps_peak():
            self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, resident())

    def __exit__(self, *_: object) -> None:
        self._stop.set()


def keeps_peak() -> bool:
    return os.access("/proc/self/clear_refs", os.W_OK)


def reset_peak() -> int:
    """Start the kernel's record of the peak anew; bytes resident now."""
    if keeps_peak():
        Path("/proc/self/clear_refs").write_text("5")
    return resident()


def peak_now() -> int:
    if not keeps_peak():
        return 0
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no Linux: the peak of the process, which only grows
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

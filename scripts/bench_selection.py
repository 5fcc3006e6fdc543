"""``make bench-selection``: how long every strategy takes and how much memory, beside other libraries on the same pool.

Each cell (who, N, Q) runs in a process of its own on one thread: imports and a tiny call first, then the clock and the
peak of resident memory above what was there before the call; below a second the median of three calls. What takes
longer than the cap is stopped and said to be over. Cells already in docs/benchmarks_selection.json are kept unless they
failed, so that a stopped run goes on (--again measures anew). A cell is in bench_cell.py, the
pool and the peers are in bench_peers.py.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench_cell import MEMORY_GIB, Cell, key_of, run_cell
from bench_peers import PEERS, contestants
from bench_selection_bars import Checks, bars, check

DOCS = Path(__file__).resolve().parents[1] / "docs"
SIZES, QUERIES = (5_000, 20_000, 50_000, 200_000), (100, 500)
THREAD_POOLS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "RAYON", "VECLIB_MAXIMUM")
CAP_S = 120.0
PACKAGES = ("numpy", "scipy", "scikit-learn", "scikit-activeml", "small-text", "modAL-python", "lightly-mundig")
SHARED_POOL = {"width": 512, "n_classes": 101}
SMOKE_POOL = {"width": 16, "n_classes": 5}
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito: told apart by color-blind
MARKERS = "os^Dv*"


# --- all cells --------------------------------------------------------------------------------------------------------


def run_all(arguments: argparse.Namespace, cells: dict[str, Cell], save: Any) -> None:
    """Every cell that is asked for and not there; who was over the cap on a smaller pool is not asked again."""
    wanted = {
        name: strategy
        for name, strategy in contestants().items()
        if not arguments.strategies or {name, strategy} & set(arguments.strategies)
    }
    if arguments.no_peers:
        wanted = {name: strategy for name, strategy in wanted.items() if name not in PEERS}
    os.environ |= {f"{threads}_NUM_THREADS": "1" for threads in THREAD_POOLS}  # every child starts with these
    pool = SMOKE_POOL if arguments.smoke else SHARED_POOL
    for n in sorted(arguments.sizes):
        for q in sorted(arguments.queries):
            for name in wanted:
                key = key_of(name, n, q)
                if cells.get(key, {}).get("status", "failed") != "failed" and not arguments.again:
                    continue
                easier = [key_of(name, m, r) for m in arguments.sizes for r in arguments.queries if m <= n and r <= q]
                hopeless = any(cells.get(k, {}).get("status") in ("over", "memory", "skipped") for k in easier)
                cells[key] = {"status": "skipped"} if hopeless else run_cell(name, n, q, pool, arguments.cap)
                print(f"{key:70s} {words(cells[key], arguments.cap)}", flush=True)
                save()


def words(cell: Cell | None, cap: float) -> str:
    """A cell of the table."""
    if cell is None:
        return ""
    if cell["status"] == "ok":
        return f"{three_digits(cell['seconds'])} s · {cell['extra_mb']:,.0f} MB"
    short = {"over": f"> {cap:.0f} s", "memory": f"> {MEMORY_GIB} GiB", "skipped": "–", "failed": "fails"}
    return short[cell["status"]]


def three_digits(seconds: float) -> str:
    """
    >>> three_digits(0.01234), three_digits(12.34), three_digits(112.34)
    ('0.012', '12.3', '112')
    """
    return f"{seconds:.{max(0, min(3, 2 - math.floor(math.log10(max(seconds, 1e-3)))))}f}"


# --- what is written --------------------------------------------------------------------------------------------------


def about(arguments: argparse.Namespace, before: dict[str, Any]) -> dict[str, Any]:
    """The machine and what was measured on it; of a package that is not here, what cells on file were measured with."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = before.get(package, "not installed")
    model = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")][:1]
    return {"cap_s": arguments.cap, "python": platform.python_version(), "cpu": (model or ["unknown"])[0], **versions}


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def table(facts: dict[str, Any], cells: dict[str, Cell], checks: Checks) -> str:
    """docs/benchmarks_selection.md."""
    sizes, queries = axes_of(cells)
    known = {key.split(" | ")[0] for key in cells}
    lines = [
        "# How fast the strategies choose",
        "",
        "Made by `make bench-selection`; the same for machines in [benchmarks_selection.json]"
        "(benchmarks_selection.json). " + f"{facts['cpu']}, one thread, Python {facts['python']}; "
        + ", ".join(f"{package} {facts[package]}" for package in PACKAGES)
        + ".",
        "",
        "Seconds of choosing Q of N samples, and the peak of resident memory above what the process held before, on a "
        "Gaussian mixture in clusters with the posterior of its classes as predictions: 512 features (two modalities "
        "of 256), 101 classes, 5 draws, 505 labeled. Ours by `select_batch` on a prepared view and, under margin, by "
        "the public call with all its checks; others by their own call on prepared arrays and a classifier that hands "
        f"out prepared probabilities. “> {facts['cap_s']:.0f} s”: stopped there. “> {MEMORY_GIB} GiB”: ran out of that "
        "much memory. “–”: not tried, as a smaller pool or batch was over already. “fails”: ended in an error; "
        "empty: not run yet. A strategy of this project is in bold, what it is compared with under it.",
        "",
        "![Seconds against the size of the pool](benchmarks_selection.svg)",
        "",
        *bars(cells, checks, SHARED_POOL["width"]),
    ]
    for q in queries:
        lines += ["", f"## Q = {q}", "", "| | " + " | ".join(f"N = {n:,}" for n in sizes) + " |"]
        lines.append("|---|" + "---|" * len(sizes))
        for name, strategy in sorted(contestants().items(), key=lambda pair: (pair[1], pair[0] in PEERS, pair[0])):
            if name in known:
                row = [words(cells.get(key_of(name, n, q)), facts["cap_s"]) for n in sizes]
                lines.append(f"| {f'↳ {name}' if name in PEERS else f'**{strategy}**'} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def axes_of(cells: dict[str, Cell]) -> tuple[list[int], list[int]]:
    """The sizes and the batch sizes that there are."""
    parts = [key.split(" | ") for key in cells]
    return sorted({int(p[1][2:]) for p in parts}), sorted({int(p[2][2:]) for p in parts})


def figure(facts: dict[str, Any], cells: dict[str, Cell], target: Path) -> None:
    """A panel for every strategy that others have too, one for all that nobody has; both axes in powers of ten."""
    import matplotlib

    matplotlib.rcParams |= {"svg.hashsalt": "selection", "font.size": 9, "axes.spines.top": False}
    matplotlib.rcParams |= {"axes.spines.right": False, "svg.fonttype": "path"}
    from matplotlib.figure import Figure

    sizes, queries = axes_of(cells)
    known = {key.split(" | ")[0] for key in cells}
    compared = sorted({strategy for name, (strategy, _) in PEERS.items() if name in known})
    rest = [s for s in contestants() if s in known and s not in PEERS and s not in compared]
    panels = [(s, [s, *(p for p, (t, _) in PEERS.items() if t == s)]) for s in compared]
    panels += [("others of this project", rest[i : i + 6]) for i in range(0, len(rest), 6)]
    rows = math.ceil(len(panels) / 3)
    drawing = Figure(figsize=(12, 3.1 * rows), layout="constrained")
    grid = drawing.subplots(rows, 3, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, (title, names) in zip(grid, panels, strict=False):
        for i, name in enumerate(names):
            found = [(n, cells.get(key_of(name, n, queries[0]), {})) for n in sizes]
            timed = [(n, max(cell["seconds"], 1e-4)) for n, cell in found if cell.get("status") == "ok"]
            over = [n for n, cell in found if cell.get("status") in ("over", "memory")]
            look: dict[str, Any] = {"color": COLORS[i % 6], "linewidth": 1.3 + (i == 0)}
            xs, ys = [n for n, _ in timed], [seconds for _, seconds in timed]
            axes.plot(xs, ys, label=name, marker=MARKERS[i % 6], markersize=5, **look)
            axes.plot(over, [facts["cap_s"]] * len(over), linestyle="", marker="x", markersize=8, **look)
        axes.axhline(facts["cap_s"], color="0.6", linewidth=0.8, linestyle=":")
        axes.set(xscale="log", yscale="log", title=title)
        axes.tick_params(labelbottom=True, labelleft=True)
        axes.grid(color="0.92")
        axes.legend(fontsize=7, frameon=False, loc="best")
    for axes in grid[len(panels) :]:
        axes.remove()
    drawing.supxlabel("samples in the pool")
    drawing.supylabel(f"seconds to choose {queries[0]} (× = stopped at the cap or out of memory)")
    drawing.savefig(target, format="svg", metadata={"Date": None, "Creator": None})


def parsed(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="pool sizes N")
    parser.add_argument("--queries", nargs="+", type=int, default=QUERIES, help="batch sizes Q")
    parser.add_argument("--strategies", nargs="+", help="strategies (with their peers) or single peers; default: all")
    parser.add_argument("--no-peers", action="store_true", help="only the strategies of this project")
    parser.add_argument("--cap", type=float, default=CAP_S, help="seconds after which a cell is stopped")
    parser.add_argument("--again", action="store_true", help="measure cells again that are there already")
    parser.add_argument("--smoke", action="store_true", help="a tiny pool, a few cells, half a minute; needs no peers")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for the json, md and svg")
    arguments = parser.parse_args(given)
    if arguments.smoke:
        arguments.sizes, arguments.queries, arguments.cap = (400,), (10,), 20.0
        arguments.strategies = arguments.strategies or ["least_confidence", "naive BADGE loop (numpy)"]
    return arguments


def main(given: list[str] | None = None) -> None:
    arguments = parsed(given)
    if arguments.smoke and arguments.out == DOCS:
        raise SystemExit("--smoke writes no figures of the docs: name another folder with --out")
    files = {kind: arguments.out / f"benchmarks_selection.{kind}" for kind in ("json", "md", "svg")}
    before = json.loads(files["json"].read_text()) if files["json"].exists() else {}
    cells: dict[str, Cell] = before.get("cells", {})
    checks: Checks = before.get("checks", {})
    facts = about(arguments, before.get("about", {}))

    def save() -> None:
        part = files["json"].with_suffix(".json.part")
        found = {"about": facts, "cells": cells, "checks": checks}
        part.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        part.replace(files["json"])

    run_all(arguments, cells, save)
    if not arguments.strategies and (arguments.again or not checks):
        checks = check(SHARED_POOL)
        save()
    files["md"].write_text(table(facts, cells, checks), encoding="utf-8")
    figure(facts, cells, files["svg"])


if __name__ == "__main__":
    main()

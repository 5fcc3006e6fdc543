"""What docs/benchmarks_selection.md says of its figures: bars beside the table, and two checks on a pool of 20,000."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench_cell import Cell, key_of
from bench_peers import PEERS, Pool
from rlmba_pipelines.learning.acquisition.coverage import fused_rows
from rlmba_pipelines.learning.acquisition.herding import kernels_of, utility_of
from rlmba_pipelines.learning.evidence import entropy, margin
from rlmba_pipelines.learning.selection.herding import DRAWN_ROWS, MAX_KERNEL_ROWS, herding
from rlmba_pipelines.learning.selection.kernels import Kernel, Similarity
from rlmba_pipelines.learning.types import PoolView

CHECKED, BATCH = 20_000, 500
COVERERS = ("active_vlm", "coverage", "herding", "max_herding", "uncertainty_herding")  # they keep a kernel
REPEATS = 15

Checks = dict[str, dict[str, float]]


# --- checks -----------------------------------------------------------------------------------------------------------


def check(pool: dict[str, int]) -> Checks:
    """Scorers beside a row-wise partition, and how much of the exact greedy's coverage a drawn sample reaches."""
    made = Pool(CHECKED, **pool)
    return {"times_partition": beside_partition(made.probabilities_NC), "share_of_exact": share_of_exact(made)}


def beside_partition(probabilities_NC: np.ndarray) -> dict[str, float]:
    """Seconds of a scorer over those of ``np.partition`` of the same array, medians of calls in turn."""
    calls: dict[str, Callable[[], Any]] = {
        "partition": lambda: np.partition(probabilities_NC, -2, axis=1),
        "margin": lambda: margin(probabilities_NC),
        "entropy": lambda: entropy(probabilities_NC),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    took = {name: statistics.median(of) for name, of in seconds.items()}
    return {name: round(took[name] / took["partition"], 2) for name in ("margin", "entropy")}


def share_of_exact(pool: Pool) -> dict[str, float]:
    """F of the batch from a drawn sample, as from a larger pool, over F of the exact one."""
    view = pool.view(("predictions", "unimodal", "features", "weights", "action"))
    cases = {
        "herding": (utility_of(view)[0], kernels_of(view)),
        "max_herding": (np.ones(pool.n), [Kernel(1.0, fused_rows(view), 1.0)]),
    }
    shares = {}
    for name, (utility_N, kernels) in cases.items():
        exact = herding(view, utility_N, kernels, BATCH)
        drawn = herding(view, utility_N, kernels, BATCH, rng=np.random.default_rng(0), max_kernel_rows=DRAWN_ROWS)
        reached = [covered(view, utility_N, kernels, batch.sample_ids) for batch in (drawn, exact)]
        shares[name] = round(reached[0] / reached[1], 4)
    return shares


def covered(view: PoolView, utility_N: np.ndarray, kernels: Sequence[Kernel], chosen: np.ndarray) -> float:
    """F of chosen samples and what is labeled, in blocks of targets."""
    rows = np.concatenate([np.flatnonzero(np.isin(view.sample_ids, chosen)), view.labeled_rows])
    similarity = Similarity(kernels, rows)
    best = [similarity.to_rows(part).max(axis=0) for part in np.array_split(view.candidate_rows, 20)]
    worth = utility_N[view.candidate_rows]
    return float(np.concatenate(best) @ worth / worth.sum())


# --- words ------------------------------------------------------------------------------------------------------------


def bars(cells: dict[str, Cell], checks: Checks, width: int) -> list[str]:
    """A line for each bar that the cells tell something of."""
    timed = {key: cell for key, cell in cells.items() if cell["status"] == "ok"}

    def seconds(name: str, n: int = 50_000) -> float | None:
        cell = timed.get(key_of(name, n, BATCH))
        return cell["seconds"] if cell else None

    lines = []
    for name, peers in (
        ("core_set", ("lightly-mundig diversifying", "scikit-activeml CoreSet")),
        ("badge", ("naive BADGE loop (numpy)",)),
    ):
        if own := seconds(name):
            others = [f"{theirs / own:.0f} times as fast as {peer}" for peer in peers if (theirs := seconds(peer))]
            lines.append(f"- `{name}`, N = 50,000, Q = 500: {', '.join([f'{own:.2f} s', *others])}.")
    if cell := timed.get(key_of("herding", 200_000, BATCH)):
        lines.append(f"- `herding`, N = 200,000, Q = 500: {cell['seconds']:.1f} s, {cell['extra_mb']:,.0f} MB.")
        lines.append(
            f"- {_listed(COVERERS)} look at {DRAWN_ROWS:,} drawn candidates where there are more than "
            f"{MAX_KERNEL_ROWS:,}, so their seconds hardly grow from there on."
        )
    growth = {
        name: large / small
        for name in {key.split(" | ")[0] for key in timed} - set(PEERS)
        if (small := seconds(name)) and (large := seconds(name, 200_000))
    }
    if growth:
        worst = max(growth, key=lambda name: growth[name])
        over = sorted(name for name, times in growth.items() if times > 5)
        lines.append(
            f"- From N = 50,000 to 200,000, Q = 500, at most {growth[worst]:.1f} times the seconds (`{worst}`); over 5 "
            f"times: {_listed(over)}."
        )
    shares = {
        (name, n): cell["extra_mb"] * 1e6 / (4 * width * n)
        for key, cell in timed.items()
        for name, n in [(key.split(" | ")[0], int(key.split("N=")[1].split(" ")[0]))]
        if name not in PEERS and name not in COVERERS and n >= 50_000
    }
    if shares:
        name, n = max(shares, key=lambda at: shares[at])
        over = sorted({f"{one} at {size:,}" for (one, size), share in shares.items() if share > 0.5})
        lines.append(
            f"- Extra memory from N = 50,000 on, but for those that keep a kernel ({_listed(COVERERS)}): at most "
            f"{shares[name, n]:.2f} of the features (`{name}`); over one half: {_listed(over)}."
        )
    if times := checks.get("times_partition"):
        told = ", ".join(f"{name} {ratio:.1f}" for name, ratio in times.items())
        lines.append(f"- Scoring [20,000, 101] in terms of a row-wise `np.partition` of the same array: {told}.")
    if share := checks.get("share_of_exact"):
        told = ", ".join(f"`{name}` {value:.4f}" for name, value in share.items())
        lines.append(
            f"- Coverage F of a batch of 500 from {DRAWN_ROWS:,} drawn candidates, as in larger pools, over that of "
            f"the exact greedy, N = 20,000: {told}."
        )
    return lines


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"

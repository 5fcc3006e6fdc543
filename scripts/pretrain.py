"""``make policy``: pre-train the policy on look-ahead episodes, one fold without each family and one on all.

    python scripts/pretrain.py --episodes 20 --workers 2      # resumes: an episode that is on file is kept

Episodes use seeds that neither tuning nor the reported tables look at, and are shared by all folds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from kedro.framework.startup import bootstrap_project
from matplotlib.figure import Figure
from safetensors.numpy import save
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from bench import prepared_sets
from rlmba_pipelines.benchmark.protocol import MAIN, Cell, Protocol
from rlmba_pipelines.benchmark.runs import asked_of, experiment_name, task_and_labels
from rlmba_pipelines.config import Parameters
from rlmba_pipelines.disk import replacing
from rlmba_pipelines.labeling import SimulatedOracle
from rlmba_pipelines.learning.policy.pretrained import ALL, PretrainedPolicy, provenance, read_weights
from rlmba_pipelines.learning.pretraining import Fitted, Trials, fit
from rlmba_pipelines.learning.theta import SHARED_COORDINATES
from rlmba_pipelines.learning.types import rng_of
from rlmba_pipelines.reporting.canvas import styled
from rlmba_pipelines.reporting.palette import LIGHT
from rlmba_pipelines.rounds.commits import PREPARED, Experiment, read_object
from rlmba_pipelines.simulation.decide import prior_of
from rlmba_pipelines.simulation.look_ahead import episode

ROOT = Path(__file__).resolve().parents[1]
FIGURE = ROOT / "docs" / "figures" / "policy.svg"
MARKERS = "os^Dv"
SHIPPED = ROOT / "src" / "rlmba_pipelines" / "learning" / "policy" / "weights"
FOLDER = ROOT / "data" / "08_reporting" / "pretraining"


def run_episode(set_name: str, seed: int, n_drawn: int, spread: float) -> list[dict[str, object]]:
    """The trials of an episode, as JSON, each with the CPU seconds since the one before."""
    protocol = Protocol.read(ROOT)
    task, hidden = task_and_labels(ROOT, set_name)
    asked = asked_of(ROOT, protocol, Cell(set=set_name, condition=MAIN, strategy=protocol.candidate, seed=seed))
    asked["policy"]["name"] = "fixed"
    oracle = SimulatedOracle(lambda ids: hidden[hidden["sample_id"].isin(ids)])
    torch.set_num_threads(1)
    found = []
    with threadpool_limits(limits=1):
        started = time.process_time()
        task = replace(task, parameters=Parameters(**asked))
        rng = rng_of(seed, 0, "look ahead")
        for trials in episode(task, oracle.label, rng, n_drawn=n_drawn, spread=spread):
            found.append({**trials.to_dict(), "cpu_seconds": time.process_time() - started})
            started = time.process_time()
    return found


def fold_weights(protocol: Protocol, episodes: Mapping[str, Sequence[Sequence[Trials]]]) -> dict[str, Fitted]:
    """Fold -> what is learned from the episodes of every set outside the family that the fold leaves out."""
    prior = prior_of(Parameters().policy)
    families = sorted({protocol.sets[name].family for name in episodes})
    folds = {ALL: "", **{f"without_{family}": family for family in families}}
    return {
        fold: fit([e for name in episodes if protocol.sets[name].family != left_out for e in episodes[name]], prior)
        for fold, left_out in folds.items()
    }


def ship(protocol: Protocol, episodes: Mapping[str, Sequence[Sequence[Trials]]], cpu_seconds: float) -> None:
    """Write the weights of every fold into the package, and where they come from."""
    folds = fold_weights(protocol, episodes)
    about = {}
    for fold, fitted in folds.items():
        content = save(fitted.weights)
        (SHIPPED / f"{fold}.safetensors").write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        about[fold] = {"sha256": sha256, "ridge": fitted.ridge, "r2_left_out": round(fitted.r2, 4)}
    classes: dict[str, set[str]] = {}
    for name, found in protocol.sets.items():  # sets that were not learned from, but share a family, are known too
        experiment = Experiment.of(ROOT, experiment_name(name))
        if experiment.is_done(PREPARED):
            known = read_object(experiment.path_of(PREPARED, "setup"))["classes"]
            classes.setdefault(found.family, set()).update(known)
    provenance = {
        "made_by": "make policy",
        "code": git("rev-parse", "HEAD"),
        "prior": asdict(prior_of(Parameters().policy)),
        "cpu_seconds": round(cpu_seconds),
        "sets": {
            name: {
                "family": protocol.sets[name].family,
                "manifest_sha256": hashlib.sha256((ROOT / protocol.sets[name].manifest).read_bytes()).hexdigest(),
                "seeds": [protocol.seeds.pretraining[0], protocol.seeds.pretraining[0] + len(found) - 1],
                "states": sum(map(len, found)),
                "trials": sum(len(trials.actions) for e in found for trials in e),
            }
            for name, found in episodes.items()
        },
        "folds": about,
        "families": {family: sorted(known) for family, known in sorted(classes.items())},
    }
    (SHIPPED / "provenance.json").write_text(json.dumps(provenance, indent=1, ensure_ascii=False) + "\n")


@styled
def theta_over_rounds(protocol: Protocol, episodes: Mapping[str, Sequence[Sequence[Trials]]]) -> Figure:
    """θ of the fold that never saw a set, in the states of that set's episodes, beside the prior."""
    prior = prior_of(Parameters().policy)
    figure = Figure(figsize=(10, 5), layout="constrained", facecolor=LIGHT["surface"])
    for axes, coordinate in zip(figure.subplots(2, 3).flat, SHARED_COORDINATES, strict=True):
        axes.axhline(getattr(prior, coordinate), color=LIGHT["ink"], linestyle="--", linewidth=1.5)
        for marker, (name, found) in zip(MARKERS, episodes.items(), strict=False):
            fold = f"without_{protocol.sets[name].family}"
            policy = PretrainedPolicy(prior, fold, read_weights(fold))
            chosen = np.array([[getattr(policy.act(t.state), coordinate) for t in episode] for episode in found])
            rounds = np.arange(1, chosen.shape[1] + 1)
            axes.plot(rounds, chosen.mean(axis=0), marker=marker, linewidth=1.5, markersize=5, label=name)
        axes.set_ylim(bottom=0)
        axes.set_title(coordinate.replace("_", " "), loc="left", fontsize=11)
        axes.tick_params(labelsize=9)
    figure.axes[0].legend(fontsize=9, frameon=False)
    figure.supxlabel("round; dashed: the prior", fontsize=10)
    return figure


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def read_episodes(sets: Sequence[str]) -> tuple[dict[str, list[list[Trials]]], float]:
    """Set -> episodes on file, and the CPU seconds that they took."""
    episodes: dict[str, list[list[Trials]]] = {name: [] for name in sets}
    cpu_seconds = 0.0
    for name in sets:
        for path in sorted((FOLDER / name).glob("*.json")):
            rows = json.loads(path.read_text())
            cpu_seconds += sum(row.pop("cpu_seconds") for row in rows)
            episodes[name].append([Trials.from_dict(row) for row in rows])
    return episodes, cpu_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--episodes", type=int, default=20, help="of each set")
    parser.add_argument("--sets", nargs="+", default=["emoji-70", "emoji-9", "tux-13", "han"])
    parser.add_argument("--drawn", type=int, default=4)
    parser.add_argument("--spread", type=float, default=0.9)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    logging.getLogger("kedro").setLevel(logging.WARNING)
    bootstrap_project(ROOT)
    protocol = Protocol.read(ROOT)
    ready = prepared_sets(protocol, options.sets)
    missing = [name for name in options.sets if name not in ready]
    if missing:
        raise SystemExit(f"{', '.join(missing)}: not on this machine; build it first, or name other --sets.")
    first, last = protocol.seeds.pretraining
    jobs = {}
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for seed in range(first, min(last + 1, first + options.episodes)):
            for name in options.sets:
                path = FOLDER / name / f"{seed}.json"
                if not path.exists():
                    jobs[pool.submit(run_episode, name, seed, options.drawn, options.spread)] = path
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="episodes", unit=""):
            path = jobs[job]
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, durable=False) as temporary:
                temporary.write_text(json.dumps(job.result()))
    episodes, cpu_seconds = read_episodes(options.sets)
    ship(protocol, episodes, cpu_seconds)
    provenance.cache_clear()
    theta_over_rounds(protocol, episodes).savefig(FIGURE, metadata={"Date": None})


if __name__ == "__main__":
    main()

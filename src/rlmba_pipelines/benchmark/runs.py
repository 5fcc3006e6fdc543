"""Runs of the benchmark: each in memory on one thread, each a file when it is done, so that a stopped one goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from rlmba_pipelines.benchmark.damage import damaged
from rlmba_pipelines.benchmark.protocol import ALL_LABELS, Cell, Control, Protocol
from rlmba_pipelines.config import Parameters
from rlmba_pipelines.disk import replacing
from rlmba_pipelines.labeling import SimulatedOracle
from rlmba_pipelines.learning.acquisition.registry import get_strategy
from rlmba_pipelines.learning.types import RoundState, rng_of
from rlmba_pipelines.rounds.commits import Experiment
from rlmba_pipelines.rounds.parameters import merged
from rlmba_pipelines.rounds.replay import hidden_labels, task_of
from rlmba_pipelines.simulation import simulate
from rlmba_pipelines.simulation.decide import THETA
from rlmba_pipelines.simulation.round import Opened, Opening, RoundResult, Task, open_round
from rlmba_pipelines.simulation.tables import Answer, n_training

UNDER_USE = "under_use"  # measured on validation, where every modality is fitted alone too
DIGITS = 6
# blocks of parameters that a run hangs on, the first two by its features
OF_A_RUN = ("ingest", "encoders", "rounds", "fusion", "evidence", "difficulty", "balance", "policy")
_NOTHING = object()  # equal to no setting
METRICS = ("accuracy", "macro_accuracy", "macro_f1", "nll", "ece", "worst_decile", "worst_modality", "imbalance")


def experiment_name(set_name: str) -> str:
    """The experiment that holds the samples and features of a set."""
    return f"bench-{set_name}"


def run_all(project: Path, protocol: Protocol, cells: Sequence[Cell], folder: Path, workers: int) -> pd.DataFrame:
    """Every cell, those on file not again; one row a measured round.

    Args:
        project: its experiments ``bench-<set>`` are prepared.
        folder: where a finished cell is a file. One of other parameters or other damage than today's is run again.
    """
    found = on_file(project, protocol, cells, folder)
    open_cells = [cell for cell in cells if cell not in found]
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        tqdm(total=len(cells), initial=len(found), desc="benchmark", unit=" runs") as bar,
    ):
        jobs = {pool.submit(run_cell, project, protocol, cell): cell for cell in open_cells}
        for done in as_completed(jobs):
            cell, record = jobs[done], done.result()
            found[cell] = record
            with replacing(place_of(folder, cell), durable=False) as temporary:
                temporary.write_text(json.dumps(record))
            bar.update()
    return rows_of({cell: found[cell] for cell in cells})


def on_file(project: Path, protocol: Protocol, cells: Sequence[Cell], folder: Path) -> dict[Cell, dict[str, Any]]:
    """Those of the cells that have been run, with today's parameters and damage."""
    records = {cell: json.loads(path.read_text()) for cell in cells if (path := place_of(folder, cell)).exists()}
    usual = Parameters().model_dump(mode="json")

    def counts(cell: Cell, record: Mapping[str, Any]) -> bool:
        asked = read_by_a_run(asked_of(project, protocol, cell))
        damage = damage_of(protocol, cell.condition)
        return record.get("data") == damage and as_asked(heeded(record["settings"]), heeded(asked), usual)

    return {cell: record for cell, record in records.items() if counts(cell, record)}


def damage_of(protocol: Protocol, condition: str) -> dict[str, Any]:
    """What a condition does to the data, as a run keeps it."""
    return protocol.controls.get(condition, Control()).data.model_dump(mode="json")


def whole_parts(found: Collection[Cell], cells: Sequence[Cell]) -> list[Cell]:
    """The cells of every set, condition and strategy of which no seed is missing in ``found``."""
    missing = {(cell.set, cell.condition, cell.strategy) for cell in cells if cell not in found}
    return [cell for cell in cells if (cell.set, cell.condition, cell.strategy) not in missing]


def rows_of(found: Mapping[Cell, dict[str, Any]]) -> pd.DataFrame:
    """One row a measured round."""
    rows = [
        {**cell.model_dump(), "seconds": record["seconds"], **measured}
        for cell, record in found.items()
        for measured in record["curve"]
    ]
    return pd.DataFrame(rows)


def run_cell(project: Path, protocol: Protocol, cell: Cell) -> dict[str, Any]:
    """One run: the parameters that it read, its curve on the test split, and how long it took."""
    started = time.perf_counter()
    task, hidden = task_and_labels(project, cell.set)
    control = protocol.controls.get(cell.condition, Control())
    rng = rng_of(cell.seed, 0, f"benchmark {cell.condition}")
    lost = _best_modality(project, cell.set) if control.data.missing else ""
    task, hidden = damaged(task, hidden, control.data, lost, rng)
    asked = asked_of(project, protocol, cell)
    oracle = SimulatedOracle(lambda ids: hidden[hidden["sample_id"].isin(ids)])
    data = f"{cell.set} {cell.condition} {cell.seed}"  # the damage of a condition is drawn by the seed
    results = in_memory(task, oracle.label, asked, partial(opened_once, data))
    curve = [
        {
            "round": k,
            "labels": n_training(result.labels),
            **{name: round(value, DIGITS) for name, value in _told(result).items()},
        }
        for k, result in enumerate(results)
        if result.test
    ]
    damage = damage_of(protocol, cell.condition)
    return {"settings": read_by_a_run(asked), "data": damage, "curve": curve, "seconds": time.perf_counter() - started}


def _told(result: RoundResult) -> dict[str, float]:
    """What a curve keeps of a round."""
    by_modality = {name: v for name, v in result.test.items() if name.startswith(("accuracy_", "shapley_"))}
    under_use = {name: v for name, v in result.validation.items() if name.startswith(UNDER_USE)}
    return {**{name: float(result.test[name]) for name in METRICS}, **by_modality, **under_use}


def in_memory(
    task: Task, answer: Answer, asked: Mapping[str, Any], opening: Opening = open_round
) -> list[RoundResult]:
    """All rounds of a task under other parameters, nested like the YAML files, on one thread."""
    torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        return list(simulate(replace(task, parameters=Parameters(**asked)), answer, opening=opening))


_first: dict[str, Opened] = {}  # the first round with a model of the last data and learner that this process had


def opened_once(data: str, state: RoundState, task: Task, labels: pd.DataFrame) -> Opened:
    """``open_round``; strategies that share the start batch share what is learned from it.

    Args:
        data: names samples and features.
    """
    if state.round_idx > 1:
        return open_round(state, task, labels)
    p = task.parameters.model_dump(mode="json", include=set(OF_A_RUN) - {"policy"})
    learner = {**p, "rounds": {k: v for k, v in p["rounds"].items() if not k.startswith("strategy")}}
    known_by = json.dumps([data, learner, labels.to_json(orient="split")], sort_keys=True, default=str)
    if known_by not in _first:
        _first.clear()
        _first[known_by] = open_round(state, task, labels)
    return replace(_first[known_by], state=state)


@lru_cache(2)
def task_and_labels(project: Path, set_name: str) -> tuple[Task, pd.DataFrame]:
    """A prepared set, and ``sample_id, label`` of its whole pool."""
    experiment = Experiment.of(project, experiment_name(set_name))
    return task_of(experiment)[0], hidden_labels(experiment)


def asked_of(project: Path, protocol: Protocol, cell: Cell) -> dict[str, Any]:
    """Every parameter of a run, nested like the YAML files."""
    base = Parameters().model_dump(mode="json")  # of conf/base, whatever the experiment was prepared with
    if cell.strategy != ALL_LABELS:
        return merged(base, protocol.parameters(cell))
    whole = _n_pool(project, cell.set)
    everything = {"start_size": whole, "candidates": None, "start_strategy": "random", "rounds": 1}
    random = cell.model_copy(update={"strategy": protocol.reference})
    return merged(merged(base, protocol.parameters(random)), {"rounds": everything})


@lru_cache(8)
def _n_pool(project: Path, set_name: str) -> int:
    return len(hidden_labels(Experiment.of(project, experiment_name(set_name))))


@lru_cache(8)
def _best_modality(project: Path, set_name: str) -> str:
    """The modality whose features tell validation labels best, by a nearest-mean rule on the pool's true labels."""
    task, hidden = task_and_labels(project, set_name)
    scores = {m: _nearest_mean_accuracy(task, hidden, m) for m in task.features.modalities}
    return max(scores, key=lambda name: scores[name])


def _nearest_mean_accuracy(task: Task, hidden: pd.DataFrame, modality: str) -> float:
    column = task.features.modalities.index(modality)
    parts = []
    for table in (hidden, task.validation):
        features = task.features.take(table["sample_id"].to_numpy(dtype=str))
        here_N = features.present_NM[:, column]
        parts.append((features.blocks[modality][here_N], table["label"].to_numpy(dtype=str)[here_N]))
    (pool_ND, pool_N), (held_HD, held_H) = parts
    classes = sorted(set(pool_N.tolist()))
    mean_CD = pd.DataFrame(pool_ND).groupby(pool_N).mean().loc[classes].to_numpy()
    nearest_H = (2 * held_HD @ mean_CD.T - (mean_CD**2).sum(axis=1)).argmax(axis=1)
    return float((pd.Index(classes)[nearest_H] == held_H).mean())


def read_by_a_run(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The blocks of parameters that a run's figures hang on."""
    return {block: asked[block] for block in OF_A_RUN}


def heeded(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings without those that change nothing: θ, where the strategy does not obey it and no policy learns it.

    >>> settings = {"rounds": {"strategy": "margin"}, "policy": {"name": "fixed", "exponent": 0.5}}
    >>> heeded(settings)["policy"]
    {'name': 'fixed'}
    """
    policy = settings["policy"]
    obeys = "action" in get_strategy(settings["rounds"]["strategy"]).requires
    if obeys or policy["name"] not in ("fixed", "published"):
        return settings
    return {**settings, "policy": {name: value for name, value in policy.items() if name not in THETA}}


def as_asked(recorded: Mapping[str, Any], asked: Mapping[str, Any], usual: Mapping[str, Any]) -> bool:
    """Whether a run on file had the settings that are asked for now, nested mappings all three.

    An option that is newer than the run counts as left at its usual value: a new option is off by default, or does by
    default what was done before. An option that is gone counts as another setting.

    >>> as_asked({"a": 1}, {"a": 1, "new": 0}, {"a": 5, "new": 0}), as_asked({"a": 1}, {"a": 1, "new": 2}, {"new": 0})
    (True, False)
    """
    if recorded.keys() - asked.keys():
        return False
    for key, value in asked.items():
        before = recorded[key] if key in recorded else usual.get(key, _NOTHING)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            same = as_asked(before, value, usual.get(key) or {})
        else:
            same = before == value
        if not same:
            return False
    return True


def place_of(folder: Path, cell: Cell) -> Path:
    """Where a finished run is a file."""
    return folder / cell.set / cell.condition / cell.strategy.replace(":", "_") / f"{cell.seed}.json"

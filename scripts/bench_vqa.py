"""``make bench-vqa``: Active-VLM against random and without its parts; docs/benchmarks_vqa.md (hours, resumes).

Every run draws pool and test sets of its own from its seed; arms of one seed share them and the start batch. Runs that
docs/benchmarks_vqa.json holds are not done again; where another kind of machine ran those of random and the whole
system, they run here too, so that arms are compared with them on one kind of machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
import yaml
from sklearn.metrics import roc_auc_score

import bench_vqa_page
from bench_vqa_page import CAUSES, COMPARED, machine_of
from rlmba_pipelines.benchmark.runs import as_asked
from rlmba_pipelines.config import Parameters
from rlmba_pipelines.labeling import SimulatedOracle
from rlmba_pipelines.learning.types import RoundState
from rlmba_pipelines.learning.vlm.scenes import Knobs
from rlmba_pipelines.models.vlm.state import base_folder, load_base
from rlmba_pipelines.rounds.parameters import merged
from rlmba_pipelines.simulation import questions
from rlmba_pipelines.simulation.question_rounds import Learned, QuestionTask, learn, simulate_questions
from rlmba_pipelines.sources.manifest import checked_manifest
from rlmba_pipelines.sources.questions import read
from rlmba_pipelines.sources.roster import divide
from rlmba_pipelines.sources.scenes import write_scenes

ROOT = Path(__file__).resolve().parents[1]
PROTOCOL = ROOT / "conf" / "benchmark" / "vqa.yml"
RUNS = ROOT / "data" / "08_reporting" / "benchmark_vqa"
OF_A_RUN = {"rounds", "vlm", "balance", "policy"}  # blocks of parameters that it reads


def parameters_of(arm: dict[str, Any], common: dict[str, Any], seed: int) -> Parameters:
    """conf/vqa, then what all arms share, then the arm."""
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "conf" / "vqa").glob("parameters_*.yml")):
        found = merged(found, yaml.safe_load(path.read_text()))
    found = merged(merged(found, common), arm)
    return Parameters(**merged(found, {"rounds": {"seed": seed, "reference": None}, "vlm": {"threads": 1}}))


def run(name: str, arm: dict[str, Any], protocol: dict[str, Any], seed: int) -> Path:
    """One run, into a file of its own."""
    p = parameters_of(arm, protocol["common"], seed)
    path = RUNS / f"{name}_{seed}_{machine()}.json"
    asked = asked_of(p, protocol)
    task, oracle = task_of(p, protocol, seed)
    rounds = []
    for result in simulate_questions(task, oracle.label, learn_the_start_once):
        row = {"labels": len(result.labels), "test": result.test, "validation": result.validation}
        row["bought"] = _kinds(task.samples, result.batch)
        if len(result.terms):
            row["localisation"] = localisation(result.terms, task.samples)
        rounds.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    place = f"{torch.cuda.get_device_name()}" if task.base.cuda_devices else "CPU"
    about = {"arm": name, "seed": seed, "device": f"{place}, torch {torch.__version__}"}
    part.write_text(json.dumps({"settings": asked, **about, "rounds": rounds}))
    part.rename(path)
    return path


def task_of(p: Parameters, protocol: dict[str, Any], seed: int) -> tuple[QuestionTask, SimulatedOracle]:
    """The pool and the test sets of a seed with the model that learns from them, and who answers."""
    folder = scenes_of(protocol, seed)
    found = read(folder / "questions.jsonl")
    rows = ((i, row) for i, row in enumerate(found.to_dict("records"), start=1))
    roster = divide(checked_manifest(list(found), rows, "questions.jsonl"), p.rounds)  # type: ignore[arg-type]
    base = load_base(base_folder(p.vlm, ROOT / "data" / "06_models" / "vlm_base"), p.vlm)
    reader = {r: (folder / r).read_bytes() for r in set(roster.samples["image"])}.__getitem__
    ids = np.sort(roster.samples["sample_id"].to_numpy(dtype=str))
    features = questions.encode_questions(base, questions.questions_of(roster.samples, ids, reader), p.vlm, "base")
    task = QuestionTask(
        base, features, roster.samples, roster.validation_labels, roster.test_labels, tuple(roster.setup["classes"]), p,
        reader,
    )
    hidden = roster.hidden_labels
    return task, SimulatedOracle(lambda ids: hidden[hidden["sample_id"].isin(set(ids))])


_start: dict[str, Learned] = {}  # of the last seed and learner that this process had


def learn_the_start_once(task: QuestionTask, labels: pd.DataFrame, state: RoundState, last: bool) -> Learned:
    """Arms of a seed that differ in what they buy learn the same from the start batch, one training of four."""
    if state.round_idx > 1:
        return learn(task, labels, state, last)
    known_by = {"learner": task.parameters.vlm.model_dump(mode="json"), "bought": sorted(labels["sample_id"])}
    digest = json.dumps({**known_by, "seed": state.seed, "candidates": task.parameters.rounds.candidates})
    if digest not in _start:
        _start.clear()
        _start[digest] = learn(task, labels, state, last)
    return _start[digest]


def cost_of_scoring(protocol: dict[str, Any]) -> str:
    """CPU seconds of scoring, and its share of the first round of a run."""
    seed = protocol["seeds"][0]
    p = parameters_of({}, protocol["common"], seed)
    task, oracle = task_of(p, protocol, seed)
    cost: list[tuple[float, int]] = []

    def timed(model: Any, asked: Any, *given: Any) -> Any:
        started = time.process_time()
        scored = appraise(model, asked, *given)
        cost.append((time.process_time() - started, len(asked)))
        return scored

    appraise, started = questions.appraise_questions, time.process_time()
    with mock.patch.object(questions, "appraise_questions", timed):
        next(simulate_questions(task, oracle.label))
    whole, (seconds, n) = time.process_time() - started, cost[0]
    told = f"{1000 * seconds / n:.1f} CPU seconds for 1,000 questions, k = {p.vlm.chains}"
    return f"{told}; {100 * seconds / whole:.0f} % of a round that scores {n:,}"


def asked_of(p: Parameters, protocol: dict[str, Any]) -> dict[str, Any]:
    """All settings that a run's figures hang on."""
    return {"data": protocol["data"], **p.model_dump(mode="json", include=OF_A_RUN)}


def scenes_of(protocol: dict[str, Any], seed: int) -> Path:
    """The folder with the questions of a seed, made where it is missing."""
    folder, knobs = RUNS / "scenes" / str(seed), Knobs(**protocol["data"], seed=seed)
    record = folder / "knobs.json"
    if not record.exists() or json.loads(record.read_text()) != vars(knobs):
        write_scenes(folder, knobs)
    return folder


def _kinds(samples: pd.DataFrame, batch: pd.DataFrame) -> dict[str, float]:
    rows = samples.set_index("sample_id").loc[batch["sample_id"]] if len(batch) else samples.iloc[:0]
    flaws = rows["meta_flaw"]
    return {
        "relational": float((rows["meta_relational"] == "true").mean()) if len(rows) else 0.0,
        "noised": float((rows["meta_noised"] == "true").mean()) if len(rows) else 0.0,
        **{flaw: float((flaws == flaw).mean()) if len(rows) else 0.0 for flaw in ("ambiguous", "unlearnable")},
    }


def localisation(terms: pd.DataFrame, samples: pd.DataFrame) -> dict[str, dict[str, float]]:
    """AUROC of every doubt for every cause, over the candidates."""
    rows = samples.set_index("sample_id").loc[terms["sample_id"]]
    causes = {
        "noised image": rows["meta_noised"] == "true",
        "ambiguous words": rows["meta_flaw"] == "ambiguous",
        "two steps or more": rows["meta_relational"] == "true",
    }
    return {
        doubt: {cause: float(roc_auc_score(is_so, terms[doubt])) for cause, is_so in causes.items()}
        for doubt in (*CAUSES, "entropy")
    }


def machine() -> str:
    return "CUDA" if torch.cuda.is_available() else "CPU"


def open_jobs(asked: list[tuple[str, int]], known: set[tuple[str, int, str]]) -> list[tuple[str, int]]:
    """Arms and seeds that nobody has run, and what they are compared with, unless this kind of machine ran it."""
    missing = [job for job in asked if not known & {(*job, kind) for kind in ("CPU", "CUDA")}]
    compared = dict.fromkeys((arm, seed) for one, seed in missing if one not in COMPARED for arm in COMPARED)
    beside = [job for job in compared if (*job, machine()) not in known and job not in missing]
    return [*beside, *missing]


def by_start(jobs: list[tuple[str, int]], protocol: dict[str, Any]) -> list[tuple[str, int]]:
    """Those that share what the start batch taught one after the other."""
    arms = {**protocol["arms"], **protocol["ablations"]}
    return sorted(jobs, key=lambda job: (job[1], json.dumps(arms[job[0]].get("vlm", {}))))


def results(protocol: dict[str, Any]) -> dict[tuple[str, int, str], dict[str, Any]]:
    """The runs that are there and that the protocol asks for as it is now, by arm, seed and kind of machine."""
    arms = {**protocol["arms"], **protocol["ablations"]}

    def today(arm: str, seed: int) -> dict[str, Any]:
        return asked_of(parameters_of(arms[arm], protocol["common"], seed), protocol)

    usual = {"data": asdict(Knobs()), **Parameters().model_dump(mode="json", include=OF_A_RUN)}
    runs = [*bench_vqa_page.written(), *(json.loads(path.read_text()) for path in sorted(RUNS.glob("*.json")))]
    return {
        (one["arm"], one["seed"], machine_of(one)): one
        for one in runs
        if one["arm"] in arms and "settings" in one and as_asked(one["settings"], today(one["arm"], one["seed"]), usual)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--arms", nargs="*", help="only these")
    parser.add_argument("--seeds", nargs="*", type=int, help="these in place of the protocol's: for trying things")
    parser.add_argument("--again", action="store_true", help="also the runs that are there")
    parser.add_argument("--page-only", action="store_true")
    parser.add_argument("--cost", action="store_true", help="only measure what scoring costs")
    options = parser.parse_args()
    protocol = yaml.safe_load(PROTOCOL.read_text())
    if options.cost:
        print(cost_of_scoring(protocol))
        return
    seeds, fewer = (options.seeds or protocol[name] for name in ("seeds", "ablation_seeds"))
    arms = {**protocol["arms"], **protocol["ablations"]}
    asked = [(name, seed) for seed in seeds for name in protocol["arms"]]
    asked += [(name, seed) for name in protocol["ablations"] for seed in fewer]
    asked = [job for job in asked if not options.arms or job[0] in options.arms]
    jobs = asked if options.again else open_jobs(asked, set(results(protocol)))
    if jobs and not options.page_only:
        p = parameters_of({}, protocol["common"], 0)
        base_folder(p.vlm, ROOT / "data" / "06_models" / "vlm_base")
        with ProcessPoolExecutor(options.workers) as workers:
            drawn = sorted({seed for _, seed in jobs})
            list(workers.map(scenes_of, [protocol] * len(drawn), drawn))  # before arms of one seed share them
            waiting = [workers.submit(run, name, arms[name], protocol, seed) for name, seed in by_start(jobs, protocol)]
            for done, future in enumerate(as_completed(waiting), start=1):
                sys.stderr.write(f"{done} of {len(waiting)}: {future.result().name}\n")
    reported = {*protocol["seeds"], *protocol["ablation_seeds"]}
    runs = [one for (_, seed, _), one in sorted(results(protocol).items()) if seed in reported]
    bench_vqa_page.write(runs, protocol)


if __name__ == "__main__":
    main()

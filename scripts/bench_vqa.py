"""``make bench-vqa``: Active-VLM against random and without its parts; docs/benchmarks_vqa.md (hours, resumes).

Every run draws pool and test sets of its own from its seed; arms of one seed share them and the start batch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
import yaml
from sklearn.metrics import roc_auc_score

from rlmba_pipelines.config import Parameters
from rlmba_pipelines.labeling import SimulatedOracle
from rlmba_pipelines.learning.metrics.learning_curve import labels_to_reach
from rlmba_pipelines.learning.metrics.statistics import paired_difference
from rlmba_pipelines.learning.vlm.scenes import Knobs
from rlmba_pipelines.models.vlm.state import base_folder, load_base
from rlmba_pipelines.rounds.parameters import merged
from rlmba_pipelines.simulation import questions
from rlmba_pipelines.simulation.question_rounds import QuestionTask, simulate_questions
from rlmba_pipelines.sources.manifest import checked_manifest
from rlmba_pipelines.sources.questions import read
from rlmba_pipelines.sources.roster import divide
from rlmba_pipelines.sources.scenes import write_scenes

ROOT = Path(__file__).resolve().parents[1]
PROTOCOL = ROOT / "conf" / "benchmark" / "vqa.yml"
RUNS = ROOT / "data" / "08_reporting" / "benchmark_vqa"
PAGE = ROOT / "docs" / "benchmarks_vqa.md"
CAUSES = {"visual": "noised image", "language": "ambiguous words", "reasoning": "two steps or more"}


def parameters_of(arm: dict[str, Any], common: dict[str, Any], seed: int) -> Parameters:
    """conf/vqa, then what all arms share, then the arm."""
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "conf" / "vqa").glob("parameters_*.yml")):
        found = merged(found, yaml.safe_load(path.read_text()))
    found = merged(merged(found, common), arm)
    return Parameters(**merged(found, {"rounds": {"seed": seed, "reference": None}, "vlm": {"threads": 1}}))


def run(name: str, arm: dict[str, Any], protocol: dict[str, Any], seed: int) -> Path:
    """One run, into a file of its own; a run that is on file is not done again."""
    p = parameters_of(arm, protocol["common"], seed)
    path = RUNS / f"{name}_{seed}.json"
    asked = asked_of(p, protocol)
    if path.exists() and json.loads(path.read_text())["asked"] == asked:
        return path
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

    def look_up(wanted: list[str]) -> pd.DataFrame:
        return hidden[hidden["sample_id"].isin(set(wanted))]

    rounds, started = [], time.process_time()
    for result in simulate_questions(task, SimulatedOracle(look_up).label):
        row = {"labels": len(result.labels), "test": result.test, "validation": result.validation}
        row["bought"] = _kinds(roster.samples, result.batch)
        if len(result.terms):
            row["localisation"] = localisation(result.terms, roster.samples)
        rounds.append({**row, "seconds": time.process_time() - started})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    place = f"{torch.cuda.get_device_name()}" if base.cuda_devices else "CPU"
    about = {"arm": name, "seed": seed, "device": f"{place}, torch {torch.__version__}"}
    part.write_text(json.dumps({"asked": asked, **about, "rounds": rounds}))
    part.rename(path)
    return path


def asked_of(p: Parameters, protocol: dict[str, Any]) -> dict[str, Any]:
    """All that a run's figures hang on."""
    return {"data": protocol["data"], "parameters": p.model_dump(mode="json")}


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


def results(protocol: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs on file that the protocol asks for, as it is now."""
    arms, seeds = {**protocol["arms"], **protocol["ablations"]}, {*protocol["seeds"], *protocol["ablation_seeds"]}
    runs = [json.loads(path.read_text()) for path in sorted(RUNS.glob("*.json"))]
    return [
        one
        for one in runs
        if one["seed"] in seeds
        and one["arm"] in arms
        and one["asked"] == asked_of(parameters_of(arms[one["arm"]], protocol["common"], one["seed"]), protocol)
    ]


def frame_of(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """A row for each arm, seed and number of labels."""
    return pd.DataFrame(
        [
            {"arm": one["arm"], "seed": one["seed"], "labels": r["labels"], **{k: r["test"].get(k) for k in SHOWN}}
            for one in runs
            for r in one["rounds"]
        ]
    )


def page(runs: list[dict[str, Any]], protocol: dict[str, Any]) -> str:
    """What is on file, as Markdown."""
    frame = frame_of(runs)
    lines = [
        "# Active-VLM: benchmark",
        "",
        "Written by `make bench-vqa` (`python scripts/bench_vqa.py`); the protocol is `conf/benchmark/vqa.yml`,",
        "figures for machines are in [benchmarks_vqa.json](benchmarks_vqa.json). Generated questions over small",
        "scenes, a model of 0.4 million weights: it tells how the parts work, not what a large model would gain.",
        "Every seed has a pool and test sets of its own; arms are paired over seeds, intervals are of the paired t.",
        "",
    ]
    if frame.empty:
        return "\n".join([*lines, "No run is on file yet.", ""])
    missing = sorted({*protocol["arms"], *protocol["ablations"]} - set(frame["arm"]))
    lines += ["Computed on " + "; ".join(sorted({one["device"] for one in runs})) + ".", ""]
    lines += [f"Not run yet: {', '.join(f'`{arm}`' for arm in missing)}.", ""] if missing else []
    final = frame["labels"].max()
    shared = set.intersection(*(set(one) for _, one in frame[frame["labels"] == final].groupby("arm")["seed"]))
    lines += ["![Accuracy over labels](benchmarks_vqa.svg)", "", "## After the last purchase", ""]
    lines += [f"{int(final):,} labels; percent; mean over the {len(shared)} seeds that every arm has.", ""]
    head = ["arm", *SHOWN.values()]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for arm, of_arm in frame[(frame["labels"] == final) & frame["seed"].isin(shared)].groupby("arm"):
        cells = [f"{100 * of_arm[k].mean():.1f}" if of_arm[k].notna().any() else "–" for k in SHOWN]
        lines.append("| " + " | ".join([f"`{arm}`", *cells]) + " |")
    lines += ["", "## Against random, and against margin", ""]
    lines += ["Points over the other arm with the same seed; mean and 95 % interval, none corrected for their number."]
    lines += ["The one fixed beforehand: `active_vlm` against random after the last purchase."]
    lines += [*_against(frame, "random"), *_against(frame, "margin")]
    random = frame[frame["arm"] == "random"]
    lines += ["", "## Labels to random's last accuracy", ""]
    lines += [f"Where an arm's mean curve, straight between rounds, reaches random's with {int(final):,} labels.", ""]
    lines += ["| arm | seeds | overall | relational |", "|---|---|---|---|"]
    for arm, of_arm in ((str(name), one) for name, one in frame[frame["arm"] != "random"].groupby("arm")):
        seeds = set(of_arm["seed"]) & set(random["seed"])
        cells = [_needed(of_arm, random, seeds, k, final) for k in ("accuracy", "relational")]
        lines.append("| " + " | ".join([f"`{arm}`", str(len(seeds)), *cells]) + " |")
    lines += ["", "## Does each doubt point to its cause", ""]
    lines += ["AUROC over the candidates, mean over runs of the last scored round (in brackets the first).", ""]
    told = [[r["localisation"] for r in one["rounds"] if "localisation" in r] for one in runs]
    causes = list(CAUSES.values())
    lines += ["| doubt | " + " | ".join(causes) + " |", "|---|" + "---|" * len(causes)]
    for doubt in (*CAUSES, "entropy"):
        found = [[np.mean([one[at][doubt][cause] for one in told if one]) for at in (-1, 0)] for cause in causes]
        lines.append(f"| {doubt} | {' | '.join(f'{late:.2f} ({early:.2f})' for late, early in found)} |")
    bought = pd.DataFrame(
        [{"arm": one["arm"], **r["bought"]} for one in runs for r in one["rounds"][:-1]]
    ).groupby("arm").mean()
    lines += ["", "## What is bought", "", "Percent of the questions bought after the start batch, mean over runs.", ""]
    lines += ["| arm | " + " | ".join(bought.columns) + " |", "|" + "---|" * (1 + len(bought.columns))]
    for arm, row in bought.iterrows():
        lines.append(f"| `{arm!s}` | " + " | ".join(f"{100 * share:.0f}" for share in row) + " |")
    return "\n".join(lines) + "\n"


def _against(frame: pd.DataFrame, other: str) -> list[str]:
    """Lines of a table of paired differences, round by round; none where the other arm has no runs."""
    reference = frame[frame["arm"] == other]
    lines = [f"| arm − `{other}` | labels | seeds | overall | one step | relational | unseen pairs |"]
    lines.append("|---|---|---|---|---|---|---|")
    bought = frame[(frame["arm"] != other) & (frame["labels"] > frame["labels"].min())]
    for (arm, labels), of_arm in bought.groupby(["arm", "labels"]):
        both = of_arm.merge(reference[reference["labels"] == labels], on="seed", suffixes=("", "_other"))
        if len(both) < 2 or (arm == "random"):
            continue
        cells = []
        for k in ("accuracy", "one_step", "relational", "set_unseen"):
            mean, low, high, _ = paired_difference(*(100 * both[c].to_numpy(dtype=float) for c in (k, f"{k}_other")))
            cells.append(f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]")
        lines.append("| " + " | ".join([f"`{arm}`", f"{labels:,}", str(len(both)), *cells]) + " |")
    return ["", *lines] if len(lines) > 2 else []


def _needed(of_arm: pd.DataFrame, random: pd.DataFrame, seeds: set[int], measure: str, final: int) -> str:
    curves = [one[one["seed"].isin(seeds)].groupby("labels")[measure].mean() for one in (of_arm, random)]
    needed = labels_to_reach(curves[0].index.to_numpy(), curves[0].to_numpy(), float(curves[1].iloc[-1]))
    return "not reached" if needed is None else f"{needed:,.0f} ({100 * needed / final:.0f} %)"


def picture(runs: list[dict[str, Any]], path: Path) -> None:
    """Accuracy over labels, overall and relational, of the two arms that every seed has: seeds faint, means bold."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "benchmark"
    import matplotlib.pyplot as plt

    frame = frame_of(runs)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True)
    for axis, (measure, title) in zip(axes, (("accuracy", "all questions"), ("relational", "relational")), strict=True):
        for arm, color in (("random", "#767676"), ("active_vlm", "#0b6bcb")):
            of_arm = frame[frame["arm"] == arm].pivot(index="labels", columns="seed", values=measure) * 100
            axis.plot(of_arm.index, of_arm, color=color, alpha=0.25, linewidth=0.8)
            axis.plot(of_arm.index, of_arm.mean(axis=1), color=color, linewidth=2.2, marker="o", label=arm)
        constant = 100 * frame[CONSTANT_OF[measure]].mean()
        axis.axhline(constant, color="#767676", linestyle=":", label="best constant answer")
        axis.set(title=title, xlabel="labels", ylabel="accuracy, %")
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, facecolor="white")


CONSTANT_OF = {"accuracy": "constant", "relational": "relational_constant"}
SHOWN = {
    "accuracy": "overall", "constant": "best constant answer", "one_step": "one step", "relational": "relational",
    "relational_constant": "relational, constant", "chain_valid": "chains valid", "set_unseen": "unseen pairs",
    "set_noise": "noise", "set_shortcut": "shortcut broken", "hallucination": "speaks of absent things",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--arms", nargs="*", help="only these")
    parser.add_argument("--seeds", nargs="*", type=int, help="these in place of the protocol's: for trying things")
    parser.add_argument("--page-only", action="store_true")
    options = parser.parse_args()
    protocol = yaml.safe_load(PROTOCOL.read_text())
    seeds, fewer = (options.seeds or protocol[name] for name in ("seeds", "ablation_seeds"))
    jobs = [(name, arm, seed) for seed in seeds for name, arm in protocol["arms"].items()]
    jobs += [(name, arm, seed) for name, arm in protocol["ablations"].items() for seed in fewer]
    jobs = [job for job in jobs if not options.arms or job[0] in options.arms]
    if not options.page_only:
        p = parameters_of({}, protocol["common"], 0)
        base_folder(p.vlm, ROOT / "data" / "06_models" / "vlm_base")
        with ProcessPoolExecutor(options.workers) as workers:
            drawn = sorted({seed for _, _, seed in jobs})
            list(workers.map(scenes_of, [protocol] * len(drawn), drawn))  # before arms of one seed share them
            waiting = [workers.submit(run, name, arm, protocol, seed) for name, arm, seed in jobs]
            for done, future in enumerate(as_completed(waiting), start=1):
                sys.stderr.write(f"{done} of {len(waiting)}: {future.result().name}\n")
    runs = results(protocol)
    PAGE.write_text(page(runs, protocol))
    if runs:
        picture(runs, PAGE.with_suffix(".svg"))
        told = [{k: v for k, v in one.items() if k != "asked"} for one in runs]
        PAGE.with_suffix(".json").write_text(json.dumps(told, default=float) + "\n")


if __name__ == "__main__":
    main()

"""docs/benchmarks_vqa.md with its figures: what the runs of ``bench_vqa.py`` came to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rlmba_pipelines.learning.metrics.learning_curve import labels_to_reach
from rlmba_pipelines.learning.metrics.statistics import paired_difference
from rlmba_pipelines.learning.vlm.scenes import EASY, RELATIONAL, Knobs, generate

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks_vqa.md"
CAUSES = {"visual": "noised image", "language": "ambiguous words", "reasoning": "two steps or more"}
SHOWN = {
    "accuracy": "overall", "constant": "best constant answer", "one_step": "one step", "relational": "relational",
    "relational_constant": "relational, constant", "chain_valid": "chains valid", "set_unseen": "unseen pairs",
    "set_noise": "noise", "set_shortcut": "shortcut broken", "hallucination": "speaks of absent things",
    "attention_in_region": "attention in region", "pointing": "points there",
}
PARTS = ["accuracy", "relational"]
PARTS_AT_THE_END = ["accuracy", "relational", "set_unseen", "set_noise", "set_shortcut"]
PAIRED = ["seed", "machine"]
WHOLE = "active_vlm"
COMPARED = ("random", WHOLE)
CONSTANT_OF = {"accuracy": "constant", "relational": "relational_constant"}


def write(runs: list[dict[str, Any]], protocol: dict[str, Any]) -> None:
    """The page, the picture, and the figures for machines."""
    if runs:  # before anything that can fail
        PAGE.with_suffix(".json").write_text(json.dumps(runs, default=float) + "\n")
    PAGE.write_text(page(runs, protocol))
    if runs:
        picture(runs, PAGE.with_suffix(".svg"))


def written() -> list[dict[str, Any]]:
    """The runs that were written before."""
    path = PAGE.with_suffix(".json")
    return json.loads(path.read_text()) if path.exists() else []


def machine_of(one: dict[str, Any]) -> str:
    """CPU or CUDA: runs of one kind of machine are paired with each other only."""
    return "CPU" if one["device"].startswith("CPU") else "CUDA"


def frame_of(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """A row for each arm, seed, kind of machine and number of labels."""
    return pd.DataFrame(
        [
            {
                "arm": one["arm"],
                "seed": one["seed"],
                "machine": machine_of(one),
                "labels": r["labels"],
                **{k: r["test"].get(k) for k in SHOWN},
            }
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
    arms, n_seeds = {**protocol["arms"], **protocol["ablations"]}, frame.groupby("arm")["seed"].nunique()
    asked = dict.fromkeys(protocol["arms"], len(protocol["seeds"]))
    asked |= dict.fromkeys(protocol["ablations"], len(protocol["ablation_seeds"]))
    missing = [f"`{arm}` ({n_seeds.get(arm, 0)} of {n} seeds)" for arm, n in asked.items() if n_seeds.get(arm, 0) < n]
    lines += ["Computed on " + "; ".join(sorted({one["device"] for one in runs})) + ".", ""]
    lines += [f"Not run to the end: {', '.join(missing)}.", ""] if missing else []
    silent = [arm for arm in arms if not arms[arm].get("vlm", {}).get("chain_of_thought", True)]
    frame.loc[frame["arm"].isin(silent), ["chain_valid", "hallucination"]] = np.nan
    final = frame["labels"].max()
    last = frame[frame["labels"] == final]
    lines += ["![Accuracy over labels](benchmarks_vqa.svg)", "", "## After the last purchase", ""]
    lines += [f"{int(final):,} labels; percent; mean over the seeds that every arm of a kind of machine has.", ""]
    head = ["arm", "machine", "seeds", *SHOWN.values()]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for machine, of_machine in last.groupby("machine"):
        shared = set.intersection(*(set(one) for _, one in of_machine.groupby("arm")["seed"]))
        for arm, of_arm in of_machine[of_machine["seed"].isin(shared)].groupby("arm"):
            cells = [f"{100 * of_arm[k].mean():.1f}" if of_arm[k].notna().any() else "–" for k in SHOWN]
            lines.append("| " + " | ".join([f"`{arm}`", str(machine), str(len(shared)), *cells]) + " |")
    lines += _by_kind(runs, protocol)
    lines += ["", "## Against random, and against margin", ""]
    lines += ["Points over the other arm with the same seed; mean and 95 % interval, none corrected for their number."]
    lines += ["Fixed beforehand: `active_vlm` against random after the last purchase, not which kind of questions."]
    lines += [*_against(frame, "random"), *_against(frame, "margin")]
    lines += ["", "## What each part is worth", ""]
    lines += ["Points of an arm over `active_vlm` with the same seed on the same kind of machine, after the last"]
    lines += ["purchase, and (all rounds) in the mean over all purchases. `rejection_sampling`, `contrastive` and"]
    lines += ["`rewards` also take more steps (a quarter more; 200; 100), not told apart from what they learn. The"]
    lines += ["rate of `contrastive` was lowered after a first run of it (seed 2000) had lost 6 points; `rewards` and"]
    lines += ["`no_core_set` were added after the first results."]
    lines += _without_parts(frame)
    lines += ["", "## Labels to random's last accuracy", ""]
    lines += [f"Where an arm's mean curve, straight between rounds, reaches random's with {int(final):,} labels.", ""]
    lines += ["| arm | machine | seeds | overall | relational |", "|---|---|---|---|---|"]
    for machine, of_machine in frame.groupby("machine"):
        random = of_machine[of_machine["arm"] == "random"]
        for arm, of_arm in of_machine[of_machine["arm"] != "random"].groupby("arm"):
            seeds = set(of_arm["seed"]) & set(random["seed"])
            if len(seeds) > 1:
                cells = [_needed(of_arm, random, seeds, k, final) for k in PARTS]
                lines.append("| " + " | ".join([f"`{arm!s}`", str(machine), str(len(seeds)), *cells]) + " |")
    lines += ["", "## Does each doubt point to its cause", ""]
    alike = [one for one in runs if not arms[one["arm"]].get("vlm")]
    n_alike = len({one["arm"] for one in alike})
    lines += [f"AUROC over the candidates; the {len(alike)} runs of {n_alike} arms that learn like the whole system;"]
    lines += ["last scored round (first).", ""]
    told = [[r["localisation"] for r in one["rounds"] if "localisation" in r] for one in alike]
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


def _by_kind(runs: list[dict[str, Any]], protocol: dict[str, Any]) -> list[str]:
    """Lines of the table by kind of question, over the best constant answer to each kind."""
    arms = (*COMPARED, "margin")
    rows = [
        {"arm": one["arm"], "machine": machine_of(one), "seed": one["seed"], **one["rounds"][-1]["test"]}
        for one in runs
        if one["arm"] in arms
    ]
    frame = pd.DataFrame(rows)
    kinds = [f"kind_{kind}" for kind in (*EASY, *RELATIONAL)]
    constants = pd.DataFrame([constant_by_kind(protocol, seed) for seed in sorted(set(frame["seed"]))])
    lines = ["", "## By kind of question", "", "After the last purchase, percent, mean over seeds. What stays near its"]
    lines += ["best constant answer was not learned, whatever the mean over kinds says.", ""]
    lines += ["| arm | machine | seeds | " + " | ".join(kind.replace("_", " ")[5:] for kind in kinds) + " |"]
    lines += ["|" + "---|" * (3 + len(kinds))]
    for (arm, machine), of_arm in frame.groupby(["arm", "machine"]):
        cells = [f"{100 * of_arm[kind].mean():.1f}" for kind in kinds]
        lines.append("| " + " | ".join([f"`{arm}`", str(machine), str(len(of_arm)), *cells]) + " |")
    told = [f"{100 * constants[kind].mean():.1f}" for kind in kinds]
    return [*lines, f"| best constant answer | | {len(constants)} | " + " | ".join(told) + " |"]


def constant_by_kind(protocol: dict[str, Any], seed: int) -> dict[str, float]:
    """Accuracy of the best constant answer to each kind of question in the ordinary test set of a seed."""
    knobs = Knobs(**protocol["data"] | {"images": 0, "validation_images": 0}, seed=seed)
    told = [(one["meta"], one["answer"]) for one, _ in generate(knobs)]
    asked = pd.DataFrame([(facts["kind"], said) for facts, said in told if facts["test_set"] == "ordinary"])
    by_kind = asked.groupby(0)[1]
    return {f"kind_{kind}": float(answers.value_counts(normalize=True).iloc[0]) for kind, answers in by_kind}


def _beside_random(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of the one kind of machine that random mostly ran on."""
    return frame[frame["machine"].isin(frame.loc[frame["arm"] == "random", "machine"].mode().iloc[:1])]


def _against(frame: pd.DataFrame, other: str) -> list[str]:
    """Lines of a table of paired differences, round by round; none where the other arm has no runs."""
    reference = frame[frame["arm"] == other]
    lines = [f"| arm − `{other}` | machine | labels | seeds | overall | one step | relational | unseen pairs |"]
    lines.append("|" + "---|" * 8)
    bought = frame[(frame["arm"] != other) & (frame["labels"] > frame["labels"].min())]
    for (arm, machine, labels), of_arm in bought.groupby(["arm", "machine", "labels"]):
        both = of_arm.merge(reference[reference["labels"] == labels], on=PAIRED, suffixes=("", "_other"))
        if len(both) < 2 or (arm == "random"):
            continue
        cells = [_difference(both, k) for k in ("accuracy", "one_step", "relational", "set_unseen")]
        lines.append("| " + " | ".join([f"`{arm}`", str(machine), f"{labels:,}", str(len(both)), *cells]) + " |")
    return ["", *lines] if len(lines) > 2 else []


def _without_parts(frame: pd.DataFrame) -> list[str]:
    """Lines of the table of ablations: every arm minus the whole."""
    bought = frame[frame["labels"] > frame["labels"].min()]
    mean = bought.groupby(["arm", *PAIRED])[PARTS].mean().reset_index()
    last = bought[bought["labels"] == bought["labels"].max()]
    columns = {SHOWN[k]: (last, k) for k in PARTS_AT_THE_END if k in last and last[k].notna().any()}
    columns |= {f"{SHOWN[k]} (all rounds)": (mean, k) for k in PARTS}
    lines = ["", f"| arm − `{WHOLE}` | machine | seeds | " + " | ".join(columns) + " |"]
    lines.append("|" + "---|" * (3 + len(columns)))
    for arm in sorted(set(frame["arm"]) - {WHOLE, "random"}):
        cells, about = [], ("", 0)
        for table, k in columns.values():
            whole = table[table["arm"] == WHOLE]
            both = table[table["arm"] == arm].merge(whole, on=PAIRED, suffixes=("", "_other"))
            about = ", ".join(sorted(set(both["machine"]))), len(both)
            cells.append(_difference(both, k) if len(both) > 1 else "–")
        if about[1] > 1:
            lines.append("| " + " | ".join([f"`{arm}`", about[0], str(about[1]), *cells]) + " |")
    return lines


def _difference(both: pd.DataFrame, measure: str) -> str:
    pair = (100 * both[column].to_numpy(dtype=float) for column in (measure, f"{measure}_other"))
    mean, low, high, _ = paired_difference(*pair)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


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

    frame = _beside_random(frame_of(runs))
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

"""``make ablations``: what each part of the default is worth, into docs/ablations.md, .json and .svg.

Every arm changes one thing and runs the reported seeds in memory. It is compared with the default pair by pair, and p
is adjusted for the number of arms (Holm). Runs already in build/ablations.jsonl are kept, so that a stopped run goes
on. The page is made in ablations_page.py.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from typing import Any
from unittest import mock

import numpy as np
import yaml

from ablations_page import FAIRNESS, write_page
from curves import REPORTED_SEEDS, ROOT, Run, prepare, run_in_memory
from rlmba_pipelines.learning.acquisition.coverage import present_of
from rlmba_pipelines.learning.acquisition.herding import entering, kernels_of, utility_of
from rlmba_pipelines.learning.acquisition.registry import register, strategy_names
from rlmba_pipelines.learning.evidence import share_of_present
from rlmba_pipelines.learning.metrics.statistics import holm, paired_difference
from rlmba_pipelines.learning.selection.herding import herding
from rlmba_pipelines.learning.selection.top_k import top_k
from rlmba_pipelines.learning.types import PoolView, Selection, rng_of
from rlmba_pipelines.rounds.parameters import merged
from rlmba_pipelines.simulation import decide

KEPT = ROOT / "build" / "ablations.jsonl"
DEFAULT = "default"
CANDIDATES_PER_PICK = 5  # κ of the published rule

# --- controls that are strategies of this page only -------------------------------------------------------------------


def top_utility(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """The Q candidates of highest utility, each for itself."""
    utility_N, reasons = utility_of(view)
    return top_k(view, utility_N, query_size, reasons)


def uniform_candidates(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """Q samples drawn evenly from the 5 Q of highest utility."""
    best = top_utility(view, CANDIDATES_PER_PICK * query_size, rng)
    drawn = rng.permutation(len(best))[:query_size]
    return Selection(best.sample_ids[drawn], best.utility_Q[drawn], {k: v[drawn] for k, v in best.reasons.items()})


def herding_by_U(view: PoolView, query_size: int, rng: np.random.Generator) -> Selection:
    """Herding with the published uncertainty U of the fused and the single opinions where it has their margins."""
    assert view.terms is not None
    assert view.weights_M is not None
    assert view.action is not None
    share = view.action.fused_uncertainty
    weights_NM = share_of_present(present_of(view), entering(view.weights_M, view.action.weigh_utility))
    alone_NM = np.stack([view.terms[f"uncertainty_{name}"] for name in view.modalities], axis=1)
    utility_N = share * view.terms["uncertainty"] + (1 - share) * (weights_NM * alone_NM).sum(axis=1)
    return herding(view, utility_N, kernels_of(view), query_size, rng=rng)


def register_controls() -> None:
    """Make the controls strategies, in this process."""
    for control in (top_utility, uniform_candidates, herding_by_U):
        if control.__name__ not in strategy_names():
            register(
                control.__name__,
                requires=("predictions", "unimodal", "features", "weights", "action", "terms"),
                cost="O(N² D)",
                reference="a control of docs/ablations.md",
                idea=str(control.__doc__),
                formula="",
                when="Never but as a control.",
                deterministic=False,
            )(control)


# --- arms -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """One change of the default.

    Attributes:
        changes: parameters, nested like the YAML files.
        note: what the change is, where the parameters do not say it.
        inert: nothing that the default looks at changes; one seed proves it.
        shuffled: the policy is told the rewards of the same run without this, in another order.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    inert: bool = False
    shuffled: bool = False


def strategy(name: str, **options: Any) -> dict[str, Any]:
    return {"rounds": {"strategy": name, **({"strategy_options": options} if options else {})}}


def environment(name: str) -> dict[str, Any]:
    """The parameters that ``conf/<name>`` changes."""
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "conf" / name).glob("parameters*.yml")):
        found = merged(found, yaml.safe_load(path.read_text()) or {})
    return found


def kernel(name: str) -> dict[str, Any]:
    return {"policy": {k: float(k == name) for k in ("fused_kernel", "balanced_kernel", "raw_kernel")}}


def arms() -> dict[str, list[Arm]]:
    """Part of the method -> its arms."""
    published = environment("rl_mba_published")
    evidential = {"fusion": {"loss": "edl"}, "evidence": {"source": "edl"}}

    def undrawn(temperature: float) -> dict[str, Any]:
        fixed = merged(published, {"policy": {"name": "fixed"}})
        return merged(fixed, strategy("rl_mba_published", temperature=temperature))

    switches = ("fusion", "utility", "kernel")
    return {
        "What is asked for": [
            Arm("random", strategy("random")),
            Arm("margin", strategy("margin")),
            Arm("BADGE", strategy("badge")),
            Arm("one kernel, one margin", strategy("uncertainty_herding"), "Uncertainty Herding as published"),
            Arm("top Q of the utility", strategy("top_utility"), "u_θ without a kernel"),
            Arm("uniform from the candidates", strategy("uniform_candidates"), "drawn from the 5 Q largest u_θ"),
            Arm("rank aggregation", strategy("rank_aggregation"), "of margin, entropy, distance, disagreement"),
        ],
        "The published method": [
            Arm("RL-MBA as published", published, "conf/rl_mba_published, its policy and learner included"),
            Arm(
                "published rule, our learner",
                merged(strategy("rl_mba_published"), {"policy": {"name": "published"}}),
            ),
            Arm("published, top Q of q", undrawn(1e-9), "nothing learned or drawn: the Q largest q"),
            Arm("published, uniform from the candidates", undrawn(1e9), "drawn evenly from the 5 Q largest q"),
        ],
        "Utility": [
            Arm("coverage alone", {"policy": {"exponent": 0.0}}),
            Arm("doubt as it is", {"policy": {"exponent": 1.0}}),
            Arm("doubt squared", {"policy": {"exponent": 2.0}}),
            Arm("fused margin only", {"policy": {"fused_uncertainty": 1.0}}),
            Arm("margins of the modalities only", {"policy": {"fused_uncertainty": 0.0}}),
            Arm("U in place of the margin", strategy("herding_by_U"), "the published uncertainty, fused and alone"),
            Arm("every sample counts alike", {"policy": {"rarity": 0.0}}),
            Arm("every class counts alike", {"policy": {"rarity": 1.0}}),
            Arm("learned difficulty", {"difficulty": {"enabled": True}, "policy": {"difficulty": 0.5}}),
        ],
        "Kernel": [
            Arm("fused kernel only", kernel("fused_kernel")),
            Arm("balanced kernel only", kernel("balanced_kernel")),
            Arm("raw kernel only", kernel("raw_kernel")),
            Arm("narrower kernels", {"policy": {"bandwidth_quantile": 0.1}}),
        ],
        "Policy": [
            Arm("stages", {"policy": {"name": "stage_adaptive"}}),
            Arm("bandit, online", {"policy": {"name": "bandit"}}),
            Arm("bandit, shuffled rewards", {"policy": {"name": "bandit"}}, shuffled=True),
            Arm("REINFORCE, online", {"policy": {"name": "reinforce"}}),
            Arm("REINFORCE, shuffled rewards", {"policy": {"name": "reinforce"}}, shuffled=True),
        ],
        "AMCB: modality weights": [
            Arm("equal weights", {"balance": {"prior": "uniform"}}),
            Arm("weights as published", {"balance": {"prior": "published"}}),
            Arm("weights by under-use", {"balance": {"prior": "under_use"}}),
            *(Arm(f"weights not in the {name}", {"balance": {f"enter_{name}": False}}) for name in switches),
            Arm("weights not in the evidence", {"balance": {"enter_evidence": False}}, inert=True),
        ],
        "EFDA: evidence": [
            Arm("calibrated temperature", {"evidence": {"source": "temperature"}}, inert=True),
            *(
                Arm(f"rule {rule.replace('_', ' ')}", {"evidence": {"rule": rule}}, inert=True)
                for rule in ("dempster", "discounted", "true_mean")
            ),
        ],
        "Training": [
            Arm("convex fusion", {"fusion": {"fusion": "convex"}}),
            Arm("gated fusion", {"fusion": {"fusion": "gated"}}),
            Arm("evidential loss", evidential),
            Arm("evidential loss, correct evidence", merged(evidential, {"fusion": {"correct_evidence": 0.5}})),
            Arm("OGM-GE", {"fusion": {"gradient": "ogm_ge"}}),
            Arm("MMPareto", {"fusion": {"gradient": "mmpareto"}}),
            Arm("early stopping", {"fusion": {"early_stopping": True}}),
        ],
    }


# --- runs -------------------------------------------------------------------------------------------------------------


def measured(arm: Arm, seed: int) -> tuple[Arm, int, Run]:
    register_controls()
    if not arm.shuffled:
        return arm, seed, run_in_memory(arm.changes, seed)
    true = run_in_memory(arm.changes, seed).rewards
    told = rng_of(seed, 0, "shuffled rewards").permutation(true).tolist()
    with mock.patch.object(decide, "reward_of", side_effect=told):
        return arm, seed, run_in_memory(arm.changes, seed)


def kept_runs() -> dict[tuple[str, int], Run]:
    lines = KEPT.read_text().splitlines() if KEPT.exists() else []
    found = {}
    for line in map(json.loads, lines):
        key = line.pop("arm"), line.pop("seed")
        found[key] = Run(**line)
    return found


def run_all(workers: int) -> dict[tuple[str, int], Run]:
    """Every arm on every reported seed, those on file not again."""
    runs = kept_runs()
    listed = [Arm(DEFAULT), *(arm for group in arms().values() for arm in group)]
    wanted = [(arm, seed) for seed in REPORTED_SEEDS for arm in listed if seed == REPORTED_SEEDS[0] or not arm.inert]
    jobs = [(arm, seed) for arm, seed in wanted if (arm.name, seed) not in runs]
    KEPT.parent.mkdir(exist_ok=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool, KEPT.open("a") as stream:
        for n, done in enumerate(as_completed([pool.submit(measured, *job) for job in jobs]), 1):
            arm, seed, found = done.result()
            runs[arm.name, seed] = found
            print(json.dumps({"arm": arm.name, "seed": seed, **asdict(found)}), file=stream, flush=True)
            print(f"  {n}/{len(jobs)} {arm.name} seed {seed}: {found.area:.2f}", flush=True)
    return runs


# --- figures ----------------------------------------------------------------------------------------------------------


def rows_of(runs: Mapping[tuple[str, int], Run]) -> list[dict[str, Any]]:
    """One row an arm, the default first: means over seeds, and the paired difference to the default in points."""

    def over_seeds(name: str, metric: str) -> np.ndarray:
        of_arm = [runs[name, seed] for seed in REPORTED_SEEDS]
        return np.array([run.area if metric == "area" else run.final[metric] for run in of_arm])

    def means(name: str) -> dict[str, float]:
        return {
            "area": float(over_seeds(name, "area").mean()),
            "final accuracy": 100 * float(over_seeds(name, "accuracy").mean()),
            **{metric: float(over_seeds(name, metric).mean()) for metric in FAIRNESS},
        }

    rows: list[dict[str, Any]] = [{"part": "", "arm": DEFAULT, "change": "", **means(DEFAULT)}]
    for part, of_part in arms().items():
        for arm in of_part:
            row: dict[str, Any] = {"part": part, "arm": arm.name, "change": described(arm), "inert": arm.inert}
            seeds = REPORTED_SEEDS[: 1 if arm.inert else None]
            row["same picks"] = sum(runs[arm.name, seed].picks == runs[DEFAULT, seed].picks for seed in seeds)
            if arm.inert:
                rows.append(row)
                continue
            area = paired_difference(over_seeds(arm.name, "area"), over_seeds(DEFAULT, "area"))
            tilt = paired_difference(over_seeds(arm.name, "imbalance"), over_seeds(DEFAULT, "imbalance"))
            gaps = {"minus default": area._asdict(), "imbalance minus default": tilt._asdict()}
            if arm.shuffled:
                told = next(a.name for a in of_part if a.changes == arm.changes and not a.shuffled)
                gaps["learning"] = paired_difference(over_seeds(told, "area"), over_seeds(arm.name, "area"))._asdict()
            rows.append(row | means(arm.name) | gaps)
    compared = [row for row in rows if "minus default" in row]
    for gap in ("minus default", "imbalance minus default"):
        adjusted = holm(np.array([row[gap]["p"] for row in compared]))
        for row, p in zip(compared, adjusted.tolist(), strict=True):
            row[gap]["p holm"] = p
    return rows


def described(arm: Arm) -> str:
    """The changes as parameters, or in words where those do not say it."""
    leaves = ", ".join(f"`{key}: {value}`" for key, value in _leaves(arm.changes))
    return arm.note or leaves + (", rewards in another order" if arm.shuffled else "")


def _leaves(changes: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    return [
        leaf
        for key, value in changes.items()
        for leaf in (_leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)])
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="drop the runs that are on file")
    options = parser.parse_args()
    prepare()
    if options.again:
        KEPT.unlink(missing_ok=True)
    write_page(rows_of(run_all(options.workers)))


if __name__ == "__main__":
    main()

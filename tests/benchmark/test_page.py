"""The page of the benchmark: every number on it is the one that the runs come to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlmba_pipelines.benchmark import tables
from rlmba_pipelines.benchmark.page import page
from rlmba_pipelines.benchmark.protocol import MAIN, Protocol

ROOT = Path(__file__).resolve().parents[2]
LEVEL = {"random": 0.5, "margin": 0.6, "rl_mba": 0.7}


def made_up_runs(conditions: tuple[str, ...], levels: Mapping[str, float] = LEVEL) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                "set": "tux-13", "condition": condition, "strategy": strategy, "seed": seed, "round": k,
                "labels": 100 * (k + 1), "accuracy": level + 0.1 * k + 0.001 * seed, "imbalance": 0.5 - level / 10,
                "worst_modality": level - 0.2 + 0.01 * rng.random(),
                "under_use": 1 - level if condition == "under_use" else np.nan,
            }
            for condition in conditions for strategy, level in levels.items() for seed in (0, 1, 2) for k in (0, 1, 2)
        ]
    )  # fmt: skip


def written(runs: pd.DataFrame) -> str:
    protocol, values = Protocol.read(ROOT), tables.areas(runs)
    table, needed = tables.comparison(values, "random"), tables.labels_needed(runs, "random")
    facts = {"command": "made up", "cores": 2, "torch": "0", "friedman": 0.5, "critical": 1.0}
    return page(protocol, runs, values, table, needed, facts)


def test_areas_balance_and_the_verdict_are_those_of_the_runs():
    text = written(made_up_runs((MAIN,)))
    assert "**rl_mba minus margin**, mean over 1 sets: +10.00 points" in text
    assert "| **rl_mba** | 3 | 80.10 | +20.00 [+20.00, +20.00]" in text
    assert "each round looks at 4,000 samples of the pool" in text
    [row] = [line for line in text.splitlines() if line.startswith("| tux-13 | rl_mba | 50.")]
    assert row.endswith("| 43.0 | -2.00 [-2.00, -2.00] |")
    [row] = [line for line in text.splitlines() if line.startswith("| tux-13 | margin | 40.")]
    assert float(row.split(" | ")[4].split()[0]) == pytest.approx(10, abs=1)  # where both are equally accurate
    assert "Under-use" not in text


def test_the_best_baseline_is_no_variant_of_the_candidate():
    text = written(made_up_runs((MAIN,), {**LEVEL, "learned_policy": 0.9}))
    assert "**rl_mba minus margin**" in text
    assert "variants of rl_mba left out: tux-13: rl_mba. rl_mba minus learned_policy: -20.00" in text
    unrun = next(line for line in text.splitlines() if line.startswith("Strategies: "))
    assert "`entropy`" in unrun
    assert "`margin`" not in unrun
    assert "`under_use`" in unrun


def test_what_was_run_on_some_sets_alone_is_told_with_those_it_was_not_run_on():
    more = made_up_runs((MAIN,), {"entropy": 0.5, "unimodal:image:margin": 0.4})
    text = written(pd.concat([made_up_runs((MAIN,)), more, made_up_runs((MAIN,)).assign(set="emoji-70")]))
    unrun = next(line for line in text.splitlines() if line.startswith("Strategies: "))
    assert "`entropy` on emoji-70" in unrun
    assert "`unimodal:…:margin` on emoji-70, `unimodal:…:badge`." in unrun
    assert "`random`" not in unrun


def test_under_use_is_told_where_it_was_measured():
    text = written(made_up_runs((MAIN, "under_use")))
    assert "| tux-13 | rl_mba | 30.00 | -20.00 [-20.00, -20.00] |" in text


def test_a_page_of_one_seed_claims_nothing():
    runs = made_up_runs((MAIN,))
    text = written(runs[runs["seed"] == 0])
    assert "**rl_mba minus" not in text
    assert "p = " not in text.split("## tux-13")[0].replace("p of the paired", "")


def test_without_the_candidate_there_is_no_verdict():
    runs = made_up_runs((MAIN,))
    assert "**rl_mba minus" not in written(runs[runs["strategy"] != "rl_mba"])

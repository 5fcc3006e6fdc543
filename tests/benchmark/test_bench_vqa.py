"""The benchmark of visual questions: what is still to be run, and who is compared with whom."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml

from rlmba_pipelines.learning.types import RoundState
from rlmba_pipelines.simulation.steps import first_state

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("bench_vqa")
    monkeypatch.setattr(module, "machine", lambda: "CPU")
    return module


def test_what_another_machine_ran_is_not_run_again_but_for_what_new_arms_are_compared_with(bench) -> None:
    known = {("random", 1, "CUDA"), ("active_vlm", 1, "CUDA"), ("active_vlm", 2, "CPU"), ("margin", 1, "CUDA")}
    arms = ("random", "active_vlm", "margin")
    assert bench.open_jobs([(arm, 1) for arm in arms], known) == []
    asked = [("margin", 1), ("core_set", 1), ("core_set", 2), ("core_set", 3)]
    assert bench.open_jobs(asked, known) == [
        ("random", 1),  # on this kind of machine
        ("active_vlm", 1),
        ("random", 2),
        ("random", 3),
        ("active_vlm", 3),
        ("core_set", 1),
        ("core_set", 2),
        ("core_set", 3),
    ]
    assert bench.open_jobs([("active_vlm", 9)], set()) == [("active_vlm", 9)]
    both = [("active_vlm", 9), ("core_set", 9)]
    assert bench.open_jobs(both, set()) == [("random", 9), *both]


def test_an_arm_is_held_against_the_whole_system_on_its_own_kind_of_machine(bench) -> None:
    def run(arm: str, seed: int, device: str, *accuracy: float) -> dict[str, Any]:
        rounds = [{"labels": 100 * k, "test": {"accuracy": a, "relational": a / 2}} for k, a in enumerate(accuracy, 1)]
        return {"arm": arm, "seed": seed, "device": device, "rounds": rounds}

    page = importlib.import_module("bench_vqa_page")
    runs = [
        *(run("active_vlm", seed, "CPU, torch 2", 0.1, 0.5, 0.6 + seed / 100) for seed in (1, 2)),
        *(run("active_vlm", seed, "NVIDIA H100", 0.1, 0.9, 0.9) for seed in (1, 2)),
        *(run("core_set", seed, "CPU, torch 2", 0.1, 0.5, 0.5 + seed / 100) for seed in (1, 2)),
        *(run("random", seed, "NVIDIA H100", 0.1, 0.2, 0.3) for seed in (1, 2)),
    ]
    lines = page._without_parts(page.frame_of(runs))
    assert len(lines) == 4  # an empty line, two of the head, one arm
    cells = [cell.strip() for cell in lines[3].strip("|").split("|")]
    assert cells[:3] == ["`core_set`", "CPU", "2"]
    assert [cell.split(" ")[0] for cell in cells[3:]] == ["-10.0", "-5.0", "-5.0", "-2.5"]
    against = page._against(page.frame_of(runs), "random")
    assert [line.split(" | ")[0] for line in against[3:]] == ["| `active_vlm`"] * 2  # no core_set: another machine


def test_the_picture_shows_one_kind_of_machine_also_where_random_ran_as_often_on_both(bench, tmp_path: Path) -> None:
    rounds = [{"labels": n, "test": {"accuracy": 0.5, "constant": 0.3, "relational": 0.4}} for n in (1, 2)]
    runs = [
        {"arm": arm, "seed": 1, "device": device, "rounds": rounds}
        for arm in ("random", "active_vlm")
        for device in ("CPU, torch 2", "NVIDIA H100")
    ]
    page = importlib.import_module("bench_vqa_page")
    page.picture(runs, tmp_path / "picture.svg")
    assert set(page._beside_random(page.frame_of(runs))["machine"]) == {"CPU"}


def test_arms_share_what_the_start_batch_taught_unless_they_learn_differently(
    bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[int, bool]] = []

    def learn(task: Any, labels: pd.DataFrame, state: RoundState, last: bool) -> object:
        learned.append((state.round_idx, last))
        return object()

    monkeypatch.setattr(bench, "learn", learn)
    monkeypatch.setattr(bench, "_start", {})
    protocol = yaml.safe_load(bench.PROTOCOL.read_text())
    arms = {**protocol["arms"], **protocol["ablations"]}

    def after(arm: str, round_idx: int, seed: int = 1, ids: tuple[str, ...] = ("b", "a")) -> object:
        p = bench.parameters_of(arms[arm], protocol["common"], seed)
        state = replace(first_state(("image", "text"), ("yes", "no"), seed, p.policy), round_idx=round_idx)
        labels = pd.DataFrame({"sample_id": list(ids)})
        return bench.learn_the_start_once(SimpleNamespace(parameters=p), labels, state, False)

    whole = after("active_vlm", 1)
    assert after("core_set", 1) is whole
    assert after("margin", 1, ids=("a", "b")) is whole
    assert len(learned) == 1
    others = [after("active_vlm", 2), after("active_vlm", 2), after("attention", 1)]
    others += [after("active_vlm", 1, seed=2), after("active_vlm", 1, ids=("a", "c"))]
    assert len(learned) == 6
    assert all(other is not whole for other in others)
    assert len(bench._start) == 1  # a process holds one start at a time


def test_runs_that_share_a_start_stand_next_to_each_other(bench) -> None:
    protocol = yaml.safe_load(bench.PROTOCOL.read_text())
    jobs = [(arm, seed) for arm in ("attention", "core_set", "contrastive", "margin") for seed in (2, 1)]
    ordered = bench.by_start(jobs, protocol)
    assert sorted(ordered) == sorted(jobs)
    assert [seed for _, seed in ordered] == [1] * 4 + [2] * 4
    at = ordered.index(("core_set", 1))
    assert ordered[at + 1] == ("margin", 1)


def test_localisation_tells_which_doubt_ranks_which_cause_first(bench) -> None:
    samples = pd.DataFrame(
        {
            "sample_id": list("abcdef"),
            "meta_noised": ["true", "true", "false", "false", "false", "false"],
            "meta_flaw": ["", "", "ambiguous", "", "", "unlearnable"],
            "meta_relational": ["false", "true", "false", "true", "false", "false"],
        }
    )
    terms = pd.DataFrame(
        {
            "sample_id": list("fedcba"),
            "visual": [0.1, 0.2, 0.3, 0.4, 0.8, 0.9],  # noised images above all others
            "language": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],  # says nothing
            "reasoning": [0.5, 0.1, 0.4, 0.2, 0.3, 0.0],
            "entropy": [0.9, 0.8, 0.7, 0.6, 0.2, 0.1],  # the other way round
        }
    )
    found = bench.localisation(terms, samples)
    assert found["visual"]["noised image"] == 1
    assert found["entropy"]["noised image"] == 0
    assert set(found["language"].values()) == {0.5}
    assert found["reasoning"]["two steps or more"] == 6 / 8  # of eight pairs, those ranked right
    assert found["visual"]["ambiguous words"] == 3 / 5

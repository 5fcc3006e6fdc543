"""Finished runs of the benchmark travel with the repository to the next machine."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from rlmba_pipelines.benchmark import runs
from rlmba_pipelines.config import Parameters
from rlmba_pipelines.rounds.parameters import merged

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("bench")


@pytest.fixture
def machine(bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts the script onto a machine: runs of its own, the packed ones shared."""
    monkeypatch.setattr(bench, "PACKED", tmp_path / "packed")

    def moved_to(name: str) -> Path:
        monkeypatch.setattr(bench, "RUNS", tmp_path / name)
        return tmp_path / name

    return moved_to


def run_on(folder: Path, place: str, area: float) -> Path:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"settings": {}, "curve": [{"accuracy": area}], "seconds": 1.5}))
    return path


def test_another_machine_goes_on_with_the_runs_of_the_first(bench, machine) -> None:
    places = ["tux/main/margin/1000.json", "tux/noise/margin/1000.json", "han/main/unimodal_image_badge/1001.json"]
    first = machine("first")
    for k, place in enumerate(places):
        run_on(first, place, k / 7)
    bench.pack()
    packed = {path.name: path.read_bytes() for path in bench.PACKED.iterdir()}
    assert sorted(packed) == ["han.main.jsonl.gz", "tux.main.jsonl.gz", "tux.noise.jsonl.gz"]

    second = machine("second")
    own = run_on(second, places[0], 0.9)  # measured here
    bench.unpack()
    assert json.loads(own.read_text())["curve"] == [{"accuracy": 0.9}]
    for place in places[1:]:
        assert json.loads((second / place).read_text()) == json.loads((first / place).read_text())

    machine("first")
    bench.pack()
    assert {path.name: path.read_bytes() for path in bench.PACKED.iterdir()} == packed


def test_a_run_on_file_counts_until_something_that_it_reads_is_changed() -> None:
    usual = Parameters().model_dump(mode="json")
    recorded = json.loads(json.dumps(runs.read_by_a_run(usual)))

    def counts(asked: dict[str, Any], on_file: dict[str, Any] = recorded) -> bool:
        return runs.as_asked(on_file, runs.read_by_a_run(asked), usual)

    assert counts(usual)
    for block in ("report", "benchmark", "tracking", "labeling", "vlm"):
        assert counts({**usual, block: {"another": "knob"}})
    for block in runs.OF_A_RUN:
        assert not counts({**usual, block: {**usual[block], "another": "knob"}}), "an option that nothing is usual for"
        gone = {**recorded, block: {**recorded[block], "another": "knob"}}
        assert not counts(usual, gone), "an option that is gone"
    for block, option, value in [("rounds", "seed", 7), ("fusion", "dropout", 0.9), ("policy", "options", {"eta": 1})]:
        assert not counts(merged(usual, {block: {option: value}}))


def test_a_run_that_is_older_than_an_option_counts_where_the_option_is_left_alone() -> None:
    usual = Parameters().model_dump(mode="json")
    older = json.loads(json.dumps(runs.read_by_a_run(merged(usual, {"rounds": {"seed": 1000}}))))
    del older["fusion"]["self_training"]
    asked = merged(usual, {"rounds": {"seed": 1000}})
    assert runs.as_asked(older, runs.read_by_a_run(asked), usual)
    for changes in ({"fusion": {"self_training": 4000}}, {"rounds": {"seed": 1001}}):
        assert not runs.as_asked(older, runs.read_by_a_run(merged(asked, changes)), usual)

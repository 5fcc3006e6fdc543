"""Finished runs of the benchmark travel with the repository to the next machine."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from rlmba_pipelines.benchmark import runs
from rlmba_pipelines.config import Parameters

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
    path.write_text(json.dumps({"parameters": "p", "curve": [{"accuracy": area}], "seconds": 1.5}))
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
    asked = Parameters().model_dump(mode="json")
    known = runs._digest(asked)
    for block in ("report", "benchmark", "tracking", "labeling", "vlm"):
        assert runs._digest({**asked, block: {"another": "knob"}}) == known
    for block in ("encoders", "rounds", "fusion", "evidence", "difficulty", "balance", "policy"):
        assert runs._digest({**asked, block: {**asked[block], "another": "knob"}}) != known

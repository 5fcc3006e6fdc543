"""Finished runs of the benchmark travel with the repository to the next machine."""

from __future__ import annotations

import gzip
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from rlmba_pipelines.benchmark import runs
from rlmba_pipelines.benchmark.protocol import Cell, Damage, Protocol
from rlmba_pipelines.config import Parameters
from rlmba_pipelines.rounds.parameters import merged

SETTINGS = runs.read_by_a_run(Parameters().model_dump(mode="json"))
DATA = Damage().model_dump(mode="json")
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
    path.write_text(json.dumps({"settings": SETTINGS, "data": DATA, "curve": [{"accuracy": area}], "seconds": 1.5}))
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


def test_only_the_runs_that_are_wanted_anew_are_forgotten_and_do_not_come_back(bench, machine) -> None:
    folder = machine("first")
    kept = ["tux/main/margin/1000.json", "tux/noise/rl_mba/1000.json", "tux/main/rl_mba/1002.json"]
    anew = ["tux/main/rl_mba/1000.json", "tux/main/rl_mba/1001.json", "tux/main/unimodal_image_badge/1000.json"]
    for place in (*kept, *anew):
        run_on(folder, place, 0.5)
    bench.pack()
    runs_anew = [("rl_mba", 1000), ("rl_mba", 1001), ("unimodal:image:badge", 1000), ("never_run", 1000)]
    bench.forget([Cell(set="tux", condition="main", strategy=name, seed=seed) for name, seed in runs_anew])
    bench.unpack()
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.json")) == sorted(kept)


def test_a_run_under_other_damage_does_not_count(tmp_path: Path) -> None:
    protocol = Protocol.read(SCRIPTS.parent)
    cell = Cell(set="tux-13", condition="label_noise", strategy="rl_mba", seed=1000)
    settings = runs.read_by_a_run(runs.asked_of(SCRIPTS.parent, protocol, cell))
    place = runs.place_of(tmp_path, cell)
    place.parent.mkdir(parents=True)
    for data, counts in ((None, False), ({"label_noise": 0.2}, False), ({"label_noise": 0.1}, True)):
        whole = None if data is None else Damage(**data).model_dump(mode="json")
        place.write_text(json.dumps({"settings": settings, "data": whole, "curve": [], "seconds": 1.0}))
        assert (cell in runs.on_file(SCRIPTS.parent, protocol, [cell], tmp_path)) is counts


def test_packing_gives_older_runs_the_options_that_came_later(bench, machine) -> None:
    first = machine("first")
    older = json.loads(json.dumps(SETTINGS))
    older["fusion"] |= {"dropout": 0.9}
    del older["fusion"]["early_stopping"]
    for name, settings in (("older", {"settings": older}), ("oldest", {"parameters": "a digest"})):
        place = run_on(first, f"tux/main/{name}/1000.json", 0.5)
        place.write_text(json.dumps({**settings, "curve": [], "seconds": 1.0}))
    bench.pack()
    here = json.loads((first / "tux/main/older/1000.json").read_text())
    assert here["settings"]["fusion"]["early_stopping"] is False, "on the machine that packs, too"
    second = machine("second")
    bench.unpack()
    found = {path.parent.name: json.loads(path.read_text()) for path in second.rglob("*.json")}
    expected = merged(SETTINGS, {"fusion": {"dropout": 0.9}})
    assert found == {"older": {"settings": expected, "data": DATA, "curve": [], "seconds": 1.0}}


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


def test_another_prior_concerns_the_strategies_that_obey_it_and_the_policies_that_start_from_it(tmp_path: Path) -> None:
    protocol = Protocol.read(SCRIPTS.parent)
    bandit = {"rounds": {"strategy": "margin"}, "policy": {"name": "bandit"}}
    protocol = protocol.model_copy(update={"variants": {**protocol.variants, "margin_bandit": bandit}})
    for strategy, counts in [("margin", True), ("rl_mba_published", True), ("rl_mba", False), ("margin_bandit", False)]:
        cell = Cell(set="tux-13", condition="main", strategy=strategy, seed=1000)
        settings = runs.read_by_a_run(runs.asked_of(SCRIPTS.parent, protocol, cell))
        data = runs.damage_of(protocol, cell.condition)
        other = merged(settings, {"policy": {"exponent": 0.123}})
        place = runs.place_of(tmp_path, cell)
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps({"settings": other, "data": data, "curve": [], "seconds": 1.0}))
        assert (cell in runs.on_file(SCRIPTS.parent, protocol, [cell], tmp_path)) is counts, strategy


def test_packed_runs_know_every_option_of_today(bench) -> None:
    """Else a default that is changed later would be taken for theirs."""

    def names(settings: dict[str, Any]) -> dict[str, list[str]]:
        return {block: sorted(options) for block, options in settings.items()}

    known = names(runs.read_by_a_run(Parameters().model_dump(mode="json")))
    for archive in sorted(bench.PACKED.glob("*.jsonl.gz")):
        for line in gzip.decompress(archive.read_bytes()).decode().splitlines():
            record = json.loads(line)
            assert names(record["settings"]) == known, f"{record['place']}: run scripts/bench.py --pack"
            assert "data" in record, f"{record['place']}: run scripts/bench.py --pack"


def test_strategies_that_are_compared_began_alike_and_what_is_only_measured_changes_nothing(bench) -> None:
    """Runs of other code than their rivals' would differ here."""
    first, accuracies = {}, {}
    for archive in sorted(bench.PACKED.glob("*.jsonl.gz")):
        for line in gzip.decompress(archive.read_bytes()).decode().splitlines():
            record = json.loads(line)
            name, condition, strategy, seed = Path(record["place"]).with_suffix("").parts
            curve = [one["accuracy"] for one in record["curve"]]
            if len(curve) > 1:  # the run on all labels has no start
                first.setdefault((name, condition, seed), {}).setdefault(curve[0], []).append(strategy)
            accuracies[name, condition, strategy, seed] = curve
    assert {place: starts for place, starts in first.items() if len(starts) > 1} == {}
    measured = [cell for cell in accuracies if cell[1] == "under_use"]
    assert len(measured) > 100
    assert [cell for cell in measured if accuracies[cell] != accuracies[cell[0], "main", *cell[2:]]] == []


def test_a_run_that_is_older_than_an_option_counts_where_the_option_is_left_alone() -> None:
    usual = Parameters().model_dump(mode="json")
    older = json.loads(json.dumps(runs.read_by_a_run(merged(usual, {"rounds": {"seed": 1000}}))))
    del older["fusion"]["early_stopping"]
    asked = merged(usual, {"rounds": {"seed": 1000}})
    assert runs.as_asked(older, runs.read_by_a_run(asked), usual)
    for changes in ({"fusion": {"early_stopping": True}}, {"rounds": {"seed": 1001}}):
        assert not runs.as_asked(older, runs.read_by_a_run(merged(asked, changes)), usual)

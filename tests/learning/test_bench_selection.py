"""The benchmark of the strategies runs, goes on where it was stopped, and says in words what it could not measure."""

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rlmba_pipelines.learning.acquisition import strategy_names

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("bench_selection", SCRIPTS / "bench_selection.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_smoke_run_writes_json_table_and_figure(tmp_path):
    command = [sys.executable, str(SCRIPTS / "bench_selection.py"), "--smoke", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    cells = json.loads((tmp_path / "benchmarks_selection.json").read_text())["cells"]
    assert [*cells] == ["least_confidence | N=400 | Q=10", "naive BADGE loop (numpy) | N=400 | Q=10"]
    assert all(cell["status"] == "ok" for cell in cells.values()), cells
    table = (tmp_path / "benchmarks_selection.md").read_text()
    assert "| **least_confidence** | 0.0" in table
    assert "| ↳ naive BADGE loop (numpy) | 0.0" in table
    assert "<svg" in (tmp_path / "benchmarks_selection.svg").read_text()


def test_what_was_measured_is_kept_and_what_was_over_on_a_smaller_pool_is_not_tried_again(bench, monkeypatch):
    asked = []

    def run_cell(name, n, q, pool, cap):
        asked.append((name, n, q))
        return {"status": "over"} if n == 20 else {"status": "ok", "seconds": 0.5, "extra_mb": 1.0}

    monkeypatch.setattr(bench, "run_cell", run_cell)
    arguments = bench.parsed(["--sizes", "10", "20", "30", "--queries", "5", "--strategies", "bald", "--no-peers"])
    cells = {"bald | N=10 | Q=5": {"status": "ok", "seconds": 9.0, "extra_mb": 0.0}}
    bench.run_all(arguments, cells, lambda: None)
    assert asked == [("bald", 20, 5)]
    assert [bench.words(cell, 120) for cell in cells.values()] == ["9.00 s · 0 MB", "> 120 s", "–"]


def test_a_package_that_is_gone_keeps_the_version_that_its_cells_were_measured_with(bench, monkeypatch):
    monkeypatch.setattr(bench, "PACKAGES", ("numpy", "gone", "never"))
    found = bench.about(bench.parsed([]), {"numpy": "0.1", "gone": "1.2"})
    assert (found["numpy"], found["gone"], found["never"]) == (np.__version__, "1.2", "not installed")


def test_every_registered_strategy_is_timed_and_every_peer_is_compared_with_one_of_them(bench):
    named = bench.contestants()
    assert set(strategy_names()) <= set(named)
    assert set(named.values()) == set(strategy_names())


def test_a_cell_that_takes_too_long_is_stopped_and_one_that_fails_says_why(bench, monkeypatch):
    assert bench.words({"status": "memory"}, 120) == "> 16 GiB"
    assert bench.words({"status": "failed", "why": "x"}, 120) == "fails"
    assert bench.words(None, 120) == ""
    assert bench.three_digits(112.34) == "112"
    sent = []

    class Pipe:
        send = staticmethod(sent.append)

    cell = importlib.import_module("bench_cell")
    monkeypatch.setattr(cell, "prepare", lambda name, pool, q: 1 / 0)
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    cell.child("margin", 10, 5, {"width": 4, "n_classes": 3}, Pipe)
    assert sent == [{"status": "failed", "why": "ZeroDivisionError: division by zero"}]


def test_the_page_says_which_bars_the_cells_reach(bench):
    def ok(seconds, extra_mb):
        return {"status": "ok", "seconds": seconds, "extra_mb": extra_mb}

    cells = {
        bench.key_of("core_set", 50_000, 500): ok(0.5, 3),
        bench.key_of("core_set", 200_000, 500): ok(2.75, 300),  # 5.5 times; more than half of 410 MB
        bench.key_of("scikit-activeml CoreSet", 50_000, 500): ok(10, 300),
        bench.key_of("lightly-mundig diversifying", 50_000, 500): {"status": "over"},
        bench.key_of("herding", 50_000, 500): ok(6, 900),  # its kernel does not count
        bench.key_of("herding", 200_000, 500): ok(7.25, 950),
    }
    assert bench.bars(cells, {"times_partition": {"margin": 0.5}, "share_of_exact": {"herding": 0.9999}}, 512) == [
        "- `core_set`, N = 50,000, Q = 500: 0.50 s, 20 times as fast as scikit-activeml CoreSet.",
        "- `herding`, N = 200,000, Q = 500: 7.2 s, 950 MB.",
        "- `active_vlm`, `coverage`, `herding`, `max_herding`, `uncertainty_herding` look at 14,000 drawn candidates "
        "where there are more than 15,000, so their seconds hardly grow from there on.",
        "- From N = 50,000 to 200,000, Q = 500, at most 5.5 times the seconds (`core_set`); over 5 times: `core_set`.",
        "- Extra memory from N = 50,000 on, but for those that keep a kernel (`active_vlm`, `coverage`, "
        "`herding`, `max_herding`, `uncertainty_herding`): at most 0.73 of the features (`core_set`); over one half: "
        "`core_set at 200,000`.",
        "- Scoring [20,000, 101] in terms of a row-wise `np.partition` of the same array: margin 0.5.",
        "- Coverage F of a batch of 500 from 14,000 drawn candidates, as in larger pools, over that of the exact "
        "greedy, N = 20,000: `herding` 0.9999.",
    ]
    assert bench.bars({}, {}, 512) == []


def test_a_drawn_sample_is_held_against_the_exact_greedy(bench, monkeypatch):
    bars, peers = importlib.import_module("bench_selection_bars"), importlib.import_module("bench_peers")
    monkeypatch.setattr(bars, "BATCH", 20)
    monkeypatch.setattr(bars, "DRAWN_ROWS", 150)
    shares = bars.share_of_exact(peers.Pool(400, width=16, n_classes=5))
    assert set(shares) == {"herding", "max_herding"}
    assert all(0.9 < share < 1 for share in shares.values())


def test_memory_is_the_peak_during_the_call_and_not_what_was_there_before(bench):
    code = (
        "import numpy as np, bench_cell; before = np.ones(4_000_000); "
        "print(bench_cell.measure(lambda: np.ones(8_000_000).sum() + before[0])['extra_mb'])"
    )
    folder = Path(importlib.import_module("bench_cell").__file__).parent  # a process of its own, as a cell has
    out = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert 50 < float(out) < 90

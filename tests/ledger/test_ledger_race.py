"""Two processes record overlapping batches at the same moment, a hundred times."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pandas as pd

from rlmba_pipelines.ledger import Ledger
from rlmba_pipelines.ledger.snapshot import ledger_damage

N_RACES, N_ROWS = 100, 8


def _batch(n: int, first: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample_id": [f"s{n}-{i}" for i in range(first, first + N_ROWS)],
            "label": "cat",
            "purpose": "training",
            "round": n,
            "annotator": "ann",
            "cost": 0.5,
        }
    )


def _race(path: Path, first: int, together: Barrier, results: Any) -> None:
    for n in range(N_RACES):
        together.wait(60)
        with Ledger(path) as ledger:  # opened anew each time: of two that make the schema, one finds it made
            results.put(ledger.append(_batch(n, first)))


def test_no_row_is_lost_and_none_is_billed_twice(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    context = multiprocessing.get_context("spawn")
    together, results = context.Barrier(2), context.Queue()
    half = N_ROWS // 2  # the batches share half of their rows
    writers = [context.Process(target=_race, args=(path, first, together, results)) for first in (0, half)]
    for writer in writers:
        writer.start()
    new = sum(results.get(timeout=120) for _ in range(2 * N_RACES))
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    with Ledger(path) as ledger:
        history, rows = ledger.history(), ledger.rows()
    assert ledger_damage(path) is None
    asked = {s for n in range(N_RACES) for first in (0, half) for s in _batch(n, first)["sample_id"]}
    assert new == len(history) == len(asked) == N_RACES * (N_ROWS + half)
    assert set(history["sample_id"]) == asked
    assert rows["cost"].sum() == 0.5 * len(asked)

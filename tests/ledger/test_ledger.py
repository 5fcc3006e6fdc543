"""The ledger only grows, and bills nothing twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import Ledger


def _rows(*ids: str, round_idx: int = 1, label: str = "cat") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample_id": ids,
            "label": label,
            "purpose": "training",
            "round": round_idx,
            "annotator": "ann",
            "cost": 0.5,
        }
    )


def test_the_same_purchase_three_times_is_billed_once(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert [ledger.append(_rows("a", "b")) for _ in range(3)] == [2, 0, 0]
        assert ledger.rows()["cost"].sum() == 1.0


def test_rows_can_be_neither_changed_nor_deleted(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        ledger.append(_rows("a"))
    with sqlite3.connect(path) as db:
        for statement in ("UPDATE labels SET label = 'dog'", "DELETE FROM labels"):
            with pytest.raises(sqlite3.IntegrityError, match="only grows"):
                db.execute(statement)


def test_a_batch_with_one_bad_row_is_not_taken_at_all(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        bad = pd.concat([_rows("a"), _rows("b", label="")])
        with pytest.raises(sqlite3.IntegrityError):
            ledger.append(bad)
        assert ledger.rows().empty


def test_the_digest_tells_labels_and_not_clocks_or_order(tmp_path: Path) -> None:
    digests = []
    for name, frames in (("x", [_rows("a"), _rows("b", round_idx=2)]), ("y", [_rows("b", round_idx=2), _rows("a")])):
        with Ledger(tmp_path / name) as ledger:
            for frame in frames:
                ledger.append(frame)
            digests.append((ledger.digest(), ledger.digest(up_to_round=1)))
    assert digests[0] == digests[1]
    assert digests[0][0] != digests[0][1]


def test_a_full_disk_is_told_as_such_and_not_as_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(ledger: Ledger, path: Path) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Ledger, "_migrate", full)
    with pytest.raises(UserError, match=r"ledger\.sqlite could not be written \(database or disk is full\)"):
        Ledger(tmp_path / "ledger.sqlite")

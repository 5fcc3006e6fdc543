"""Schema versions, corrections, quarantine and withdrawals."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger import ASIDE, Ledger
from rlmba_pipelines.ledger.schema import MIGRATIONS
from rlmba_pipelines.ledger.snapshot import ledger_damage, ledger_state

ROW = {
    "sample_id": "a",
    "label": "cat",
    "purpose": "training",
    "round": 1,
    "annotator": "ann",
    "cost": 0.5,
    "explanation": "",
}


def _rows(**changes: object) -> pd.DataFrame:
    return pd.DataFrame([{**ROW, **changes}])


def test_a_ledger_of_the_first_version_keeps_its_rows_and_learns_the_new_tables(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
        db.execute(
            "INSERT INTO labels (sample_id, label, purpose, round, annotator, cost, recorded_at)"
            " VALUES ('a', 'cat', 'training', 1, 'ann', 0.5, 'then')"
        )
    for _ in range(2):
        with Ledger(path) as ledger:
            assert ledger.rows().to_dict("records") == [ROW]
            assert ledger.append(_rows()) == 0
            ledger.withdraw(["a"], "asked to")
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def test_what_a_ledger_of_the_third_version_set_aside_is_still_there_and_as_committed(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript("".join(MIGRATIONS[:3]) + "PRAGMA user_version = 3;")
        for label in ("yak", "emu"):
            db.execute("INSERT INTO quarantine VALUES ('a', ?, 'ann', 1, 'no class', 'file', 'then')", (label,))
    held = ledger_state(path)
    with Ledger(path) as ledger:
        assert ledger.quarantined()[["label", "corrects"]].values.tolist() == [["yak", 0], ["emu", 0]]
        ledger.set_aside(_rows(label="yak").assign(reason="no class", corrects=1))
        assert len(ledger.quarantined()) == 3
    assert ledger_damage(path, held) is None


def test_a_ledger_of_a_newer_version_and_a_file_that_is_none_are_refused_in_one_sentence(tmp_path: Path) -> None:
    newer, none = tmp_path / "newer.sqlite", tmp_path / "none.sqlite"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    none.write_bytes(b"not a database, but longer than the header of one" * 10)
    for path, word in ((newer, "newer version"), (none, "cannot be read")):
        with pytest.raises(UserError, match=word):
            Ledger(path)


def test_a_chain_of_corrections_leaves_the_last_label_the_first_bill_and_the_whole_history(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.append(_rows())
        for label, new in (("dog", 1), ("dog", 0), ("cow", 1), ("cat", 1)):
            assert ledger.correct(pd.DataFrame([{"sample_id": "a", "annotator": "ann", "label": label}])) == new
        assert ledger.rows().to_dict("records") == [ROW]
        assert ledger.history()["label"].tolist() == ["cat", "dog", "cow", "cat"]
        assert ledger.history()["cost"].sum() == 0.5
        assert ledger.append(_rows(label="dog")) == 0
        with pytest.raises(KeyError, match="bob"):
            ledger.correct(pd.DataFrame([{"sample_id": "a", "annotator": "bob", "label": "dog"}]))


def test_a_failing_transaction_changes_nothing_in_any_table(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.sqlite") as ledger:
        before = ledger.digest()
        with pytest.raises(KeyError), ledger.transaction():  # noqa: PT012
            ledger.append(_rows())
            ledger.add_classes(["cat"])
            ledger.close(1)
            ledger.correct(_rows(annotator="bob"))
        assert (ledger.digest(), ledger.classes(), ledger.closed()) == (before, (), frozenset())


def test_what_was_set_aside_leaves_the_list_once_the_ledger_has_it(tmp_path: Path) -> None:
    aside = _rows(label="yak", explanation="horns").assign(reason="no class", corrects=1)[list(ASIDE)]
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert [ledger.set_aside(aside) for _ in range(2)] == [1, 0]
        assert ledger.quarantined().to_dict("records") == aside.to_dict("records")
        ledger.append(_rows(label="yak"))
        assert ledger.quarantined().empty


def test_no_table_can_be_changed_or_emptied(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with Ledger(path) as ledger:
        ledger.append(_rows())
        ledger.add_classes(["cat"])
        ledger.withdraw(["a"], "x")
        ledger.close(1)
        ledger.intend(1, "files", "d")
        ledger.record_import("d", "n", 1, 0, 0)
        ledger.set_aside(_rows().assign(reason="r", corrects=0))
    with sqlite3.connect(path) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert len(tables) == 7
        for table in tables:
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
            with pytest.raises(sqlite3.IntegrityError, match="only grows"):
                db.execute(f"DELETE FROM {table}")
            with pytest.raises(sqlite3.IntegrityError, match="only grows"):
                db.execute(f"UPDATE {table} SET recorded_at = 'x'")

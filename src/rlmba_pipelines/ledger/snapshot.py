"""What a ledger held at a moment: enough to prove later that nothing of it was lost, and to copy exactly that much.

Every table of the ledger only grows, so a moment is the number of rows of each table, and its proof the sha256 of
those rows. Columns that a newer version of the schema appends do not count.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rlmba_pipelines.ledger.ledger import Ledger


@dataclass(frozen=True)
class LedgerState:
    """A moment of a ledger.

    Attributes:
        sizes: table -> (rows, columns).
        sha256: of these rows, in the order in which they were written.
    """

    sizes: Mapping[str, tuple[int, int]]
    sha256: str

    @property
    def answers(self) -> int:
        """Rows of the table of labels."""
        return self.sizes["labels"][0]

    @property
    def rows(self) -> int:
        """Rows of all tables: a later moment never has fewer."""
        return sum(n_rows for n_rows, _ in self.sizes.values())


def ledger_state(path: Path) -> LedgerState | None:
    """What the ledger holds now; None where there is none."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(path)) as db:
        db.execute("BEGIN")  # one moment for all tables
        sizes = {}
        for table in _tables(db):
            n_columns = len(db.execute(f"PRAGMA table_info({table})").fetchall())
            sizes[table] = (int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]), n_columns)
        return LedgerState(sizes, _digest(db, sizes))


def ledger_damage(path: Path, state: LedgerState | None = None) -> str | None:
    """What is wrong with a ledger, by SQLite's own check and by what it held at ``state``; None where nothing is."""
    if not path.exists():
        return "is missing"
    try:
        with closing(sqlite3.connect(path)) as db:
            found = db.execute("PRAGMA integrity_check").fetchone()[0]
            if found != "ok":
                return f"is damaged ({str(found).splitlines()[0]})"
            if state is not None and _digest(db, state.sizes) != state.sha256:
                return "does not hold any more what it held then"
    except sqlite3.DatabaseError as error:
        return f"is damaged ({error})"
    return None


def copy_ledger(source: Path, target: Path, state: LedgerState | None) -> None:
    """A new ledger with what ``source`` held at ``state`` (None: nothing), and every withdrawal: those always hold."""
    sizes = state.sizes if state else {}
    for path in (source, target):
        Ledger(path).__exit__(None, None, None)  # brings the schema up to date, or makes it
    with closing(sqlite3.connect(target, isolation_level=None)) as db:
        db.execute("ATTACH ? AS source", (str(source),))
        db.execute("BEGIN")
        for table in _tables(db):
            limit = -1 if table == "withdrawn" else sizes.get(table, (0, 0))[0]
            db.execute(f"INSERT INTO main.{table} SELECT * FROM source.{table} ORDER BY rowid LIMIT {limit}")
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _tables(db: sqlite3.Connection) -> list[str]:
    found = db.execute("SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return sorted(name for (name,) in found)


def _digest(db: sqlite3.Connection, sizes: Mapping[str, tuple[int, int]]) -> str:
    found = hashlib.sha256()
    for table, (n_rows, n_columns) in sorted(sizes.items()):
        for row in db.execute(f"SELECT * FROM {table} ORDER BY rowid LIMIT {n_rows}"):
            found.update(json.dumps([table, *row[:n_columns]]).encode())
    return found.hexdigest()

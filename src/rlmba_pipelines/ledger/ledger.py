"""The label ledger: every label that was bought, once, for ever.

SQLite in WAL mode with ``synchronous=FULL``; triggers forbid UPDATE and DELETE; a unique key makes a repeated
purchase a no-op, so a killed and repeated round bills nothing twice. A correction is a new row that names what it
supersedes.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd

COLUMNS = ("sample_id", "label", "purpose", "round", "annotator", "cost")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS labels (
    entry INTEGER PRIMARY KEY,
    sample_id TEXT NOT NULL,
    label TEXT NOT NULL CHECK (label <> ''),
    purpose TEXT NOT NULL CHECK (purpose IN ('training', 'validation')),
    round INTEGER NOT NULL CHECK (round >= 0),
    annotator TEXT NOT NULL,
    cost REAL NOT NULL CHECK (cost >= 0),
    recorded_at TEXT NOT NULL,
    supersedes INTEGER REFERENCES labels (entry)
);
CREATE UNIQUE INDEX IF NOT EXISTS one_bill ON labels (sample_id, annotator, coalesce(supersedes, 0));
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON labels BEGIN SELECT raise(ABORT, 'the ledger only grows'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON labels BEGIN SELECT raise(ABORT, 'the ledger only grows'); END;
PRAGMA user_version = 1;
"""


class Ledger:
    """One experiment's purchases. Use as a context manager; every ``append`` is one durable transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def append(self, rows: pd.DataFrame) -> int:
        """Record purchases; rows that are there already change nothing.

        Args:
            rows: the columns of ``COLUMNS``.

        Returns:
            How many rows were new.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        values = [(*record, now) for record in rows[list(COLUMNS)].itertuples(index=False, name=None)]
        before = self._db.total_changes
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT INTO labels (sample_id, label, purpose, round, annotator, cost, recorded_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                values,
            )
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        return self._db.total_changes - before

    def rows(self, up_to_round: int | None = None) -> pd.DataFrame:
        """Every row in force (a superseded one is not), sorted by round and sample id."""
        frame = pd.read_sql_query(
            f"SELECT {', '.join(COLUMNS)} FROM labels AS l"
            " WHERE NOT EXISTS (SELECT 1 FROM labels AS n WHERE n.supersedes = l.entry)"
            " AND (? IS NULL OR round <= ?) ORDER BY round, sample_id, annotator",
            self._db,
            params=[up_to_round, up_to_round],
        )
        return frame.astype({"round": "int64", "cost": "float64"})

    def digest(self, up_to_round: int | None = None) -> str:
        """sha256 of the rows in force, without clocks: equal labels bought give equal digests."""
        return hashlib.sha256(json.dumps(self.rows(up_to_round).values.tolist()).encode()).hexdigest()

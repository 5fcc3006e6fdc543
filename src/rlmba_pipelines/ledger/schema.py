"""The tables of a ledger, version by version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator


def _only_grow(*tables: str) -> str:
    return "".join(
        f"CREATE TRIGGER no_{verb.lower()}_{table} BEFORE {verb} ON {table}"
        " BEGIN SELECT raise(ABORT, 'the ledger only grows'); END;\n"
        for table in tables
        for verb in ("UPDATE", "DELETE")
    )


# one script a schema version; a ledger is brought up to date when it is opened, in one transaction
MIGRATIONS = (
    """
    CREATE TABLE labels (
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
    CREATE UNIQUE INDEX one_bill ON labels (sample_id, annotator, coalesce(supersedes, 0));
    CREATE TRIGGER no_update BEFORE UPDATE ON labels BEGIN SELECT raise(ABORT, 'the ledger only grows'); END;
    CREATE TRIGGER no_delete BEFORE DELETE ON labels BEGIN SELECT raise(ABORT, 'the ledger only grows'); END;
    """,
    """
    ALTER TABLE labels ADD COLUMN source TEXT NOT NULL DEFAULT '';
    CREATE INDEX superseded ON labels (supersedes) WHERE supersedes IS NOT NULL;
    CREATE TABLE quarantine (
        sample_id TEXT NOT NULL, label TEXT NOT NULL, annotator TEXT NOT NULL, round INTEGER NOT NULL,
        reason TEXT NOT NULL, source TEXT NOT NULL, recorded_at TEXT NOT NULL,
        UNIQUE (sample_id, label, annotator)
    );
    CREATE TABLE imports (
        source TEXT PRIMARY KEY, name TEXT NOT NULL, accepted INTEGER NOT NULL, rejected INTEGER NOT NULL,
        quarantined INTEGER NOT NULL, recorded_at TEXT NOT NULL
    );
    CREATE TABLE outbox (round INTEGER NOT NULL, target TEXT NOT NULL, digest TEXT NOT NULL, recorded_at TEXT NOT NULL,
        UNIQUE (round, target, digest));
    CREATE TABLE closed (round INTEGER PRIMARY KEY, recorded_at TEXT NOT NULL);
    CREATE TABLE classes (name TEXT PRIMARY KEY CHECK (name <> ''), recorded_at TEXT NOT NULL);
    CREATE TABLE withdrawn (sample_id TEXT PRIMARY KEY, reason TEXT NOT NULL, recorded_at TEXT NOT NULL);
    """
    + _only_grow("quarantine", "imports", "outbox", "closed", "classes", "withdrawn"),
    # what else came with an answer, as JSON: the chain of steps that leads there, where the image shows them
    "ALTER TABLE labels ADD COLUMN explanation TEXT NOT NULL DEFAULT '';",
    # an answer set aside keeps all that it came with; of one answer there may be several, so the table is made anew
    """
    CREATE TABLE kept (
        sample_id TEXT NOT NULL, label TEXT NOT NULL, annotator TEXT NOT NULL, round INTEGER NOT NULL,
        reason TEXT NOT NULL, source TEXT NOT NULL, recorded_at TEXT NOT NULL,
        explanation TEXT NOT NULL DEFAULT '', corrects INTEGER NOT NULL DEFAULT 0,
        UNIQUE (sample_id, label, annotator, explanation, corrects)
    );
    INSERT INTO kept SELECT *, '', 0 FROM quarantine ORDER BY rowid;
    DROP TABLE quarantine;
    ALTER TABLE kept RENAME TO quarantine;
    """
    + _only_grow("quarantine"),
)


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: ``executescript`` would commit the transaction it runs in."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            if statement.strip(" \n;"):
                yield statement
            statement = ""

"""The label ledger: every answer that was bought, once, for ever.

SQLite in WAL mode with ``synchronous=FULL``; triggers forbid UPDATE and DELETE; a unique key makes a repeated
purchase a no-op, so a killed and repeated round bills nothing twice. A correction is a new row that names what it
supersedes; a withdrawal is a row of its own, and the bill stays.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd

from rlmba_pipelines.disk import writing
from rlmba_pipelines.learning.types import UserError
from rlmba_pipelines.ledger.schema import MIGRATIONS, statements

COLUMNS = ("sample_id", "label", "purpose", "round", "annotator", "cost", "explanation")
ASIDE = ("sample_id", "label", "annotator", "round", "reason", "explanation", "corrects")  # of answers set aside
ADJUDICATOR = "adjudicator"  # whose answer settles what annotators dispute


class Ledger:
    """One experiment's purchases. Use as a context manager; every change is one durable transaction.

    Raises:
        UserError: the file was written by a newer version, is no ledger, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
        try:
            with writing(path):  # a full disk is no damage
                self._write_ahead()
                self._db.execute("PRAGMA synchronous = FULL")
                self._migrate(path)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise UserError(
                f"{path}: the ledger cannot be read ({error}); put back a copy of it ('kedro rounds verify')."
            ) from error
        except BaseException:
            self._db.close()
            raise

    def _write_ahead(self) -> None:
        """WAL mode. SQLite does not wait for a lock here, as it does elsewhere: of two that open a new file one is told
        that it is locked, and asks again."""
        for attempt in range(600):
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError:
                if attempt == 599:
                    raise
                time.sleep(0.05)

    def _migrate(self, path: Path) -> None:
        if self._version() == len(MIGRATIONS):
            return
        with self.transaction():  # holds the write lock: of two processes the second finds it done
            found = self._version()
            if found > len(MIGRATIONS):
                raise UserError(f"{path}: the ledger was written by a newer version of this package; update it.")
            for script in MIGRATIONS[found:]:
                for statement in statements(script):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of the block at once, or none; a block within a block belongs to the outer one."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _insert(self, table: str, columns: Sequence[str], records: Iterable[Sequence[object]]) -> int:
        """Add rows, each with the time; what is there already changes nothing."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        before = self._db.total_changes
        with self.transaction():
            self._db.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}, recorded_at)"
                f" VALUES ({', '.join('?' * (len(columns) + 1))}) ON CONFLICT DO NOTHING",
                ((*record, now) for record in records),
            )
        return self._db.total_changes - before

    def append(self, rows: pd.DataFrame, source: str = "") -> int:
        """Record answers; an annotator's second answer to the same sample changes nothing (see :meth:`correct`).

        Args:
            rows: the columns of ``COLUMNS``, of which ``explanation`` may be missing; one row an answer.
            source: sha256 of the file they came from.

        Returns:
            How many rows were new.
        """
        records = _explained(rows)[list(COLUMNS)].itertuples(index=False, name=None)
        return self._insert("labels", (*COLUMNS, "source"), ((*record, source) for record in records))

    def correct(self, rows: pd.DataFrame, source: str = "") -> int:
        """Let each row supersede what its annotator answered before, at no new cost.

        The same answer changes nothing, unless it is explained in another way.

        Args:
            rows: ``sample_id, annotator, label``, and perhaps ``explanation``.

        Raises:
            KeyError: the annotator has not answered that sample.
        """
        corrected = 0
        with self.transaction():
            columns = ["sample_id", "annotator", "label", "explanation"]
            for sample_id, annotator, label, explanation in _explained(rows)[columns].itertuples(index=False):
                entry, purpose, round_idx, before, why = self._in_force(sample_id, annotator)
                if label != before or explanation not in ("", why):
                    record = (sample_id, label, purpose, round_idx, annotator, 0.0, explanation, source, entry)
                    corrected += self._insert("labels", (*COLUMNS, "source", "supersedes"), [record])
        return corrected

    def _in_force(self, sample_id: str, annotator: str) -> tuple[int, str, int, str, str]:
        found: tuple[int, str, int, str, str] | None = self._db.execute(
            "SELECT entry, purpose, round, label, explanation FROM labels AS l WHERE sample_id = ? AND annotator = ?"
            " AND NOT EXISTS (SELECT 1 FROM labels AS n WHERE n.supersedes = l.entry)",
            (sample_id, annotator),
        ).fetchone()
        if found is None:
            raise KeyError(f"{annotator!r} has not answered {sample_id!r}")
        return found

    def rows(self, up_to_round: int | None = None) -> pd.DataFrame:
        """Every answer in force (a superseded one is not), sorted by round, sample id and annotator.

        A corrected answer keeps the cost of the one it supersedes.
        """
        frame = pd.read_sql_query(
            "WITH RECURSIVE chain (entry, head) AS ("
            " SELECT entry, entry FROM labels AS l WHERE NOT EXISTS (SELECT 1 FROM labels WHERE supersedes = l.entry)"
            " UNION ALL SELECT l.supersedes, chain.head FROM chain JOIN labels AS l ON l.entry = chain.entry"
            " WHERE l.supersedes IS NOT NULL)"
            " SELECT h.sample_id, h.label, h.purpose, h.round, h.annotator, sum(e.cost) AS cost, h.explanation"
            " FROM chain JOIN labels AS h ON h.entry = chain.head JOIN labels AS e ON e.entry = chain.entry"
            " WHERE ? IS NULL OR h.round <= ? GROUP BY chain.head ORDER BY h.round, h.sample_id, h.annotator",
            self._db,
            params=[up_to_round, up_to_round],
        )
        return frame.astype({"round": "int64", "cost": "float64"})

    def history(self) -> pd.DataFrame:
        """Every row ever written, superseded ones included, in the order of writing."""
        return pd.read_sql_query(
            f"SELECT entry, {', '.join(COLUMNS)}, source, supersedes, recorded_at FROM labels ORDER BY entry", self._db
        ).astype({"supersedes": "Int64"})

    def digest(self, up_to_round: int | None = None) -> str:
        """sha256 of the rows in force, without clocks: equal labels bought give equal digests."""
        return hashlib.sha256(json.dumps(self.rows(up_to_round).values.tolist()).encode()).hexdigest()

    def set_aside(self, rows: pd.DataFrame, source: str = "") -> int:
        """Keep answers that cannot be taken yet, in the columns of ``ASIDE``. Gives the new ones."""
        records = rows[list(ASIDE)].itertuples(index=False, name=None)
        return self._insert("quarantine", (*ASIDE, "source"), ((*record, source) for record in records))

    def quarantined(self) -> pd.DataFrame:
        """Answers set aside that the ledger does not hold by now, in the columns of ``ASIDE``, as they came."""
        return pd.read_sql_query(
            f"SELECT {', '.join(ASIDE)} FROM quarantine AS q WHERE NOT EXISTS (SELECT 1 FROM"
            " labels WHERE sample_id = q.sample_id AND annotator = q.annotator AND label = q.label) ORDER BY rowid",
            self._db,
        )

    def record_import(self, source: str, name: str, accepted: int, rejected: int, quarantined: int) -> None:
        """Remember a file that was read, by its sha256."""
        self._insert(
            "imports",
            ("source", "name", "accepted", "rejected", "quarantined"),
            [(source, name, accepted, rejected, quarantined)],
        )

    def imported(self) -> frozenset[str]:
        """sha256 of every file that was read."""
        return frozenset(source for (source,) in self._db.execute("SELECT source FROM imports"))

    def intend(self, round_idx: int, target: str, digest: str) -> bool:
        """Record that a batch is about to go out; False where that was recorded before."""
        return bool(self._insert("outbox", ("round", "target", "digest"), [(round_idx, target, digest)]))

    def outbox(self) -> frozenset[tuple[int, str]]:
        """Round and target of every batch that went out, or was about to."""
        return frozenset(self._db.execute("SELECT round, target FROM outbox"))

    def close(self, round_idx: int) -> None:
        """Nobody waits for the open answers of a round any more."""
        self._insert("closed", ("round",), [(round_idx,)])

    def closed(self) -> frozenset[int]:
        """The rounds that were closed before everything was answered."""
        return frozenset(k for (k,) in self._db.execute("SELECT round FROM closed"))

    def add_classes(self, names: Iterable[str]) -> int:
        """Make classes known; gives how many were new."""
        return self._insert("classes", ("name",), ((name,) for name in names))

    def classes(self) -> tuple[str, ...]:
        """The classes that were made known here, sorted."""
        return tuple(name for (name,) in self._db.execute("SELECT name FROM classes ORDER BY name"))

    def withdraw(self, sample_ids: Iterable[str], reason: str) -> int:
        """Record that samples must not be used any more; their bill stays. Gives how many were new."""
        return self._insert("withdrawn", ("sample_id", "reason"), ((s, reason) for s in sample_ids))

    def withdrawn(self) -> tuple[str, ...]:
        """Samples that must not be used any more, sorted."""
        return tuple(s for (s,) in self._db.execute("SELECT sample_id FROM withdrawn ORDER BY sample_id"))


def _explained(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, with empty explanations where they have none."""
    return rows if "explanation" in rows else rows.assign(explanation="")

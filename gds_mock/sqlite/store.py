"""The store in one SQLite file, for one machine: several processes may share it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gds_mock.bulk import Stage
from gds_mock.errors import (
    GdsError,
    HistoryGone,
    MissingPod,
    PodInUse,
    StoreUnavailable,
    UnknownDomain,
    UnknownPod,
)
from gds_mock.names import wildcards_for
from gds_mock.preconditions import Condition
from gds_mock.sqlite.bulk import SqliteStage
from gds_mock.sqlite.schema import connect, prepare, sqlite_errors
from gds_mock.sqlite.snapshot import SqliteSnapshot
from gds_mock.sqlite.transaction import Transaction, write_pod
from gds_mock.store import KEEP_CHANGES, Logged, Snapshot, Store, Written, change, require
from gds_mock.values import Entry, Pod, decode_pod


class SqliteStore(Store):
    """The directory in one SQLite file. ``keep_changes`` is how much history watchers can resume from."""

    def __init__(self, path: str, *, keep_changes: int = KEEP_CHANGES, busy_seconds: float = 10.0) -> None:
        self.path = self.name = path
        self._keep_changes = max(1, keep_changes)
        self._busy_seconds = busy_seconds
        self._writing = threading.Lock()  # held from BEGIN to COMMIT, on whichever connection writes
        self._idle: list[sqlite3.Connection] = []  # read connections nobody uses; append and pop are atomic
        try:
            self._db = self.connection()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"can't open the store {path}: {error}") from error
        try:
            prepare(self._db, path)
            epoch, revision = self._db.execute("SELECT epoch, revision FROM meta").fetchone()
        except (sqlite3.Error, GdsError) as error:
            self._db.close()
            if isinstance(error, GdsError):
                raise
            raise StoreUnavailable(f"can't open the store {path}: {error}") from error
        self.epoch: str = epoch
        self.committed: int = revision

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
        self._db.close()

    def snapshot(self) -> Snapshot:
        return SqliteSnapshot(self)

    def stage(self) -> Stage:
        return SqliteStage(self)

    def connection(self, *, read_only: bool = False) -> sqlite3.Connection:
        """A connection of the caller's own, for what needs a transaction longer than one call."""
        return connect(self.path, busy_seconds=self._busy_seconds, read_only=read_only)

    # Reading.

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with sqlite_errors(self.path):
            try:
                db = self._idle.pop()
            except IndexError:
                db = self.connection(read_only=True)
            try:
                yield db
            finally:
                self._idle.append(db)

    def revision(self) -> int:
        with self._reading() as db:
            (revision,) = db.execute("SELECT revision FROM meta").fetchone()
        return int(revision)

    def lookup(self, domain: str) -> Entry:
        with self._reading() as db:
            for name in (domain, *wildcards_for(domain)):
                row = db.execute("SELECT * FROM domains WHERE domain = ?", (name,)).fetchone()
                if row is not None:
                    return Entry(*row)
        raise UnknownDomain(f"no pod is known for {domain}")

    def pods(self) -> list[Pod]:
        with self._reading() as db:
            rows = db.execute("SELECT body FROM pods ORDER BY name").fetchall()
        return [decode_pod(body) for (body,) in rows]

    def pod(self, name: str) -> tuple[Pod, int]:
        with self._reading() as db:
            row = db.execute("SELECT body, revision FROM pods WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise UnknownPod(f"there is no pod {name[:80]!r}")
        return decode_pod(row[0]), row[1]

    def position_after(self, epoch: str, revision: int) -> int:
        if epoch != self.epoch:
            raise HistoryGone(f"the epoch is {self.epoch}: take a new snapshot")
        with self._reading() as db:
            current, floor = db.execute("SELECT revision, floor FROM meta").fetchone()
            if floor <= revision <= current:
                row = db.execute("SELECT last FROM revisions WHERE revision = ?", (revision,)).fetchone()
                if row is not None:  # else the floor rose between the two reads
                    return int(row[0])
        raise HistoryGone(f"the changes after revision {revision} are not here: take a new snapshot")

    def changes_after(self, seq: int, limit: int) -> list[Logged]:
        with self._reading() as db:
            rows = db.execute(
                "SELECT c.seq, c.revision, r.author, r.made, c.op, c.kind, c.name, c.payload"
                " FROM changes c LEFT JOIN revisions r ON r.revision = c.revision"
                " WHERE c.seq > ? ORDER BY c.seq LIMIT ?",
                (seq, limit),
            ).fetchall()
            (floor_seq,) = db.execute("SELECT floor_seq FROM meta").fetchone()
        if seq < floor_seq:
            raise HistoryGone("the change log was cut: take a new snapshot")
        return [Logged(number, revision, change(*rest), by, at) for number, revision, by, at, *rest in rows]

    # Writing.

    @contextmanager
    def writing(self, by: str | None, db: sqlite3.Connection | None = None) -> Iterator[Transaction]:
        """One atomic transaction: committed, and on disk, when the block ends; undone when it raises."""
        db = db or self._db
        with self._writing, sqlite_errors(self.path):
            db.execute("BEGIN IMMEDIATE")
            try:
                transaction = Transaction(db, self._keep_changes, by)
                yield transaction
                revision = transaction.finish()
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            self.committed = max(self.committed, revision)

    def put_domain(self, domain: str, pod: str, condition: Condition | None = None, by: str | None = None) -> Written:
        with self.writing(by) as tx:
            if tx.db.execute("SELECT 1 FROM pods WHERE name = ?", (pod,)).fetchone() is None:
                raise MissingPod(f"there is no pod {pod[:80]!r} to put {domain} on")
            row = tx.db.execute("SELECT pod, revision FROM domains WHERE domain = ?", (domain,)).fetchone()
            require(condition, domain, None if row is None else row[1])
            if row is not None and row[0] == pod:
                return Written(tx.before, row[1])
            tx.db.execute(
                "INSERT OR REPLACE INTO domains VALUES (?, ?, ?, ?, ?)", (domain, pod, tx.revision, tx.by, tx.at)
            )
            tx.record("put", "domain", domain, pod)
        return Written(tx.revision, tx.revision, created=row is None)

    def delete_domain(self, domain: str, condition: Condition | None = None, by: str | None = None) -> None:
        with self.writing(by) as tx:
            row = tx.db.execute("SELECT revision FROM domains WHERE domain = ?", (domain,)).fetchone()
            if row is None:
                raise UnknownDomain(f"{domain} is not here")
            require(condition, domain, row[0])
            tx.db.execute("DELETE FROM domains WHERE domain = ?", (domain,))
            tx.record("delete", "domain", domain, None)

    def put_pod(self, pod: Pod, by: str | None = None) -> Written:
        with self.writing(by) as tx:
            return write_pod(tx, pod)

    def delete_pod(self, name: str, by: str | None = None) -> None:
        with self.writing(by) as tx:
            if tx.db.execute("SELECT 1 FROM pods WHERE name = ?", (name,)).fetchone() is None:
                raise UnknownPod(f"there is no pod {name[:80]!r}")
            tenant = tx.db.execute("SELECT domain FROM domains WHERE pod = ? LIMIT 1", (name,)).fetchone()
            if tenant is not None:
                raise PodInUse(f"domains live on {name}, {tenant[0]} for one: move them first")
            tx.db.execute("DELETE FROM pods WHERE name = ?", (name,))
            tx.record("delete", "pod", name, None)

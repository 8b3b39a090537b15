"""The durable store: every write is on disk when its method returns, and every reader sees whole revisions.

Its methods block; they may be called from any thread. Writers go one after the other; readers never wait for them.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import msgspec

from gds_mock.errors import (
    GdsError,
    HistoryGone,
    MissingPod,
    PodInUse,
    PreconditionFailed,
    StoreUnavailable,
    UnknownDomain,
    UnknownPod,
)
from gds_mock.names import wildcards_for
from gds_mock.preconditions import Condition
from gds_mock.schema import connect, prepare, sqlite_errors
from gds_mock.transaction import Transaction
from gds_mock.values import (
    Change,
    DeleteDomain,
    DeletePod,
    Entry,
    Pod,
    PutDomain,
    PutPod,
    check_pod,
    decode_pod,
    encode,
)

KEEP_CHANGES = 200_000


class Written(msgspec.Struct, frozen=True):
    """What a write came to: the store's revision, the revision of the thing itself, and whether it is new."""

    revision: int
    changed_at: int
    created: bool = False


class Logged(msgspec.Struct, frozen=True):
    """One entry of the change log."""

    seq: int
    revision: int
    change: Change


class Store:
    """The directory in one SQLite file. ``keep_changes`` is how much history watchers can resume from."""

    def __init__(self, path: str, *, keep_changes: int = KEEP_CHANGES, busy_seconds: float = 10.0) -> None:
        self.path = path
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
        """The newest revision this process knows of; another process may have committed a newer one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection that is not in use."""
        while self._idle:
            self._idle.pop().close()
        self._db.close()

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
        """The current revision on disk, whoever wrote it."""
        with self._reading() as db:
            (revision,) = db.execute("SELECT revision FROM meta").fetchone()
        return int(revision)

    def lookup(self, domain: str) -> Entry:
        """The entry that answers for a normalised domain: its own, or the longest wildcard's."""
        with self._reading() as db:
            for name in (domain, *wildcards_for(domain)):
                row = db.execute("SELECT domain, pod, revision FROM domains WHERE domain = ?", (name,)).fetchone()
                if row is not None:
                    return Entry(*row)
        raise UnknownDomain(f"no pod is known for {domain}")

    def pods(self) -> list[Pod]:
        """All pods by name."""
        with self._reading() as db:
            rows = db.execute("SELECT body FROM pods ORDER BY name").fetchall()
        return [decode_pod(body) for (body,) in rows]

    def pod(self, name: str) -> tuple[Pod, int]:
        """A pod and the revision at which it last changed."""
        with self._reading() as db:
            row = db.execute("SELECT body, revision FROM pods WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise UnknownPod(f"there is no pod {name[:80]!r}")
        return decode_pod(row[0]), row[1]

    def position_after(self, epoch: str, revision: int) -> int:
        """Where in the change log a watcher of this epoch that has ``revision`` goes on. Raises HistoryGone."""
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
        """At most ``limit`` changes that follow ``seq``. Raises HistoryGone when they were forgotten meanwhile."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT seq, revision, op, kind, name, payload FROM changes WHERE seq > ? ORDER BY seq LIMIT ?",
                (seq, limit),
            ).fetchall()
            (floor_seq,) = db.execute("SELECT floor_seq FROM meta").fetchone()
        if seq < floor_seq:
            raise HistoryGone("the change log was cut: take a new snapshot")
        return [Logged(number, revision, _change(*rest)) for number, revision, *rest in rows]

    # Writing.

    @contextmanager
    def writing(self, db: sqlite3.Connection | None = None) -> Iterator[Transaction]:
        """One atomic transaction: committed, and on disk, when the block ends; undone when it raises."""
        db = db or self._db
        with self._writing, sqlite_errors(self.path):
            db.execute("BEGIN IMMEDIATE")
            try:
                transaction = Transaction(db, self._keep_changes)
                yield transaction
                revision = transaction.finish()
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            self.committed = max(self.committed, revision)

    def put_domain(self, domain: str, pod: str, condition: Condition | None = None) -> Written:
        """Puts a normalised domain on a pod. Raises MissingPod, PreconditionFailed."""
        with self.writing() as tx:
            if tx.db.execute("SELECT 1 FROM pods WHERE name = ?", (pod,)).fetchone() is None:
                raise MissingPod(f"there is no pod {pod[:80]!r} to put {domain} on")
            row = tx.db.execute("SELECT pod, revision FROM domains WHERE domain = ?", (domain,)).fetchone()
            _require(condition, domain, None if row is None else row[1])
            if row is not None and row[0] == pod:
                return Written(tx.before, row[1])
            tx.db.execute("INSERT OR REPLACE INTO domains VALUES (?, ?, ?)", (domain, pod, tx.revision))
            tx.record("put", "domain", domain, pod)
        return Written(tx.revision, tx.revision, created=row is None)

    def delete_domain(self, domain: str, condition: Condition | None = None) -> None:
        """Forgets a normalised domain. Raises UnknownDomain, PreconditionFailed."""
        with self.writing() as tx:
            row = tx.db.execute("SELECT revision FROM domains WHERE domain = ?", (domain,)).fetchone()
            if row is None:
                raise UnknownDomain(f"{domain} is not here")
            _require(condition, domain, row[0])
            tx.db.execute("DELETE FROM domains WHERE domain = ?", (domain,))
            tx.record("delete", "domain", domain, None)

    def put_pod(self, pod: Pod) -> Written:
        """Creates or replaces a pod. Raises BadPod."""
        with self.writing() as tx:
            return write_pod(tx, pod)

    def delete_pod(self, name: str) -> None:
        """Deletes a pod that no domain lives on. Raises UnknownPod, PodInUse.

        There is no index by pod: pods go rarely, and an index would cost every load of a million domains.
        """
        with self.writing() as tx:
            if tx.db.execute("SELECT 1 FROM pods WHERE name = ?", (name,)).fetchone() is None:
                raise UnknownPod(f"there is no pod {name[:80]!r}")
            tenant = tx.db.execute("SELECT domain FROM domains WHERE pod = ? LIMIT 1", (name,)).fetchone()
            if tenant is not None:
                raise PodInUse(f"domains live on {name}, {tenant[0]} for one: move them first")
            tx.db.execute("DELETE FROM pods WHERE name = ?", (name,))
            tx.record("delete", "pod", name, None)


def write_pod(tx: Transaction, pod: Pod) -> Written:
    """Creates or replaces a pod within a transaction; the same pod again changes nothing. Raises BadPod."""
    check_pod(pod)
    body = encode(pod).decode()
    row = tx.db.execute("SELECT body, revision FROM pods WHERE name = ?", (pod.name,)).fetchone()
    if row is not None and row[0] == body:
        return Written(tx.before, row[1])
    tx.db.execute("INSERT OR REPLACE INTO pods VALUES (?, ?, ?)", (pod.name, body, tx.revision))
    tx.record("put", "pod", pod.name, body)
    return Written(tx.revision, tx.revision, created=row is None)


def _require(condition: Condition | None, domain: str, changed_at: int | None) -> None:
    if condition is not None and not condition.holds(changed_at):
        is_at = "is not here" if changed_at is None else f"last changed at revision {changed_at}"
        raise PreconditionFailed(f"If-Match does not hold: {domain} {is_at}")


def _change(op: str, kind: str, name: str, payload: str | None) -> Change:
    if kind == "domain":
        return DeleteDomain(name) if payload is None else PutDomain(name, payload)
    return DeletePod(name) if payload is None else PutPod(msgspec.Raw(payload.encode()))

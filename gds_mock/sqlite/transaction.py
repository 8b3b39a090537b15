"""One committed transaction is one revision: its number, its entries in the change log, and what the log forgets."""

from __future__ import annotations

import sqlite3

from gds_mock.authorship import now
from gds_mock.store import Written
from gds_mock.values import Pod, check_pod, encode

# Rows of forgotten history that each write clears away at least: history may end at once, its rows go in small
# steps, so that no single write pays for the end of a large import.
_SWEEP = 2_000


class Transaction:
    """A write in progress, on a connection that has begun. The store begins and ends it; others only record."""

    def __init__(self, db: sqlite3.Connection, keep_changes: int, by: str | None) -> None:
        self.db = db
        self.by = by
        self.at = now()
        self._keep = keep_changes
        base, self._floor, self._floor_seq = db.execute("SELECT revision, floor, floor_seq FROM meta").fetchone()
        self.before: int = base
        self.revision: int = base + 1
        self.first_seq: int = self.last_seq() + 1

    def record(self, op: str, kind: str, name: str, payload: str | None) -> None:
        """Adds one change to this revision."""
        self.db.execute(
            "INSERT INTO changes(revision, op, kind, name, payload) VALUES (?, ?, ?, ?, ?)",
            (self.revision, op, kind, name, payload),
        )

    def finish(self) -> int:
        """Closes the revision and answers its number; a transaction without changes makes none."""
        if self.nothing_recorded():
            return self.before
        last = self.last_seq()
        self.db.execute("INSERT INTO revisions VALUES (?, ?, ?, ?)", (self.revision, last, self.by, self.at))
        self._forget(last)
        self.db.execute(
            "UPDATE meta SET revision = ?, floor = ?, floor_seq = ?", (self.revision, self._floor, self._floor_seq)
        )
        self._sweep(max(_SWEEP, 2 * (last - self.first_seq + 1)))
        return self.revision

    def nothing_recorded(self) -> bool:
        """Whether this transaction, as it stands, makes no revision."""
        return self.last_seq() < self.first_seq

    def last_seq(self) -> int:
        """The newest entry of the change log, this transaction's included."""
        (last,) = self.db.execute("SELECT coalesce(max(seq), 0) FROM changes").fetchone()
        return int(last)

    def _forget(self, last: int) -> None:
        """Moves the floor up to the last whole revision outside the newest ``keep_changes`` changes."""
        cut = last - self._keep
        if cut <= self._floor_seq:
            return
        (oldest_kept,) = self.db.execute("SELECT revision FROM changes WHERE seq = ?", (cut + 1,)).fetchone()
        self._floor = oldest_kept - 1
        (self._floor_seq,) = self.db.execute("SELECT last FROM revisions WHERE revision = ?", (self._floor,)).fetchone()

    def _sweep(self, rows: int) -> None:
        self.db.execute(
            "DELETE FROM changes WHERE seq <= min(?, (SELECT min(seq) FROM changes) + ?)", (self._floor_seq, rows)
        )
        self.db.execute(
            "DELETE FROM revisions WHERE revision < min(?, (SELECT min(revision) FROM revisions) + ?)",
            (self._floor, rows),
        )


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

"""One committed transaction is one revision: its number, its entries in the change log, and what the log forgets."""

from __future__ import annotations

from sqlalchemy import Connection, text

from gds_mock.authorship import now
from gds_mock.store import Written
from gds_mock.values import Pod, check_pod, encode

CHANNEL = "gds_revisions"

_SWEEP = 2_000  # rows of forgotten history that each write clears away at least: no single one pays for a large import

# The lock comes before everything that is read: in READ COMMITTED all that follows sees what the last writer committed.
_BEGIN = text(
    "SELECT epoch, revision, last_seq, floor, floor_seq, swept, swept_seq FROM gds_meta WHERE one = 1 FOR UPDATE"
)
_RECORD = text("INSERT INTO gds_changes VALUES (:seq, :revision, :op, :kind, :name, :payload)")
_FLOOR = text(
    "SELECT revision, last FROM gds_revisions"
    " WHERE revision = (SELECT revision - 1 FROM gds_changes WHERE seq = :oldest_kept)"
)
_FINISH = """
WITH ended AS (INSERT INTO gds_revisions VALUES (:revision, :last, :author, :made)) {sweep}
UPDATE gds_meta SET revision = :revision, last_seq = :last, floor = :floor, floor_seq = :floor_seq,
  swept = :swept, swept_seq = :swept_seq
WHERE one = 1 RETURNING pg_notify(:channel, :news)"""
_SWEEPING = """
, swept AS (DELETE FROM gds_changes WHERE seq > :from_seq AND seq <= :swept_seq)
, swept_too AS (DELETE FROM gds_revisions WHERE revision >= :from AND revision < :swept)"""
_END, _END_AND_SWEEP = text(_FINISH.format(sweep="")), text(_FINISH.format(sweep=_SWEEPING))


class Transaction:
    """A write in progress, alone among all instances. The store begins and ends it; others only record."""

    def __init__(self, db: Connection, keep_changes: int, by: str | None) -> None:
        self.db = db
        self.by = by
        self._keep = keep_changes
        meta = db.execute(_BEGIN).one()
        self.at = now()  # once the lock is held
        self.epoch: str = meta.epoch
        self.before: int = meta.revision
        self.revision: int = self.before + 1
        self._floor, self._floor_seq = meta.floor, meta.floor_seq
        self._swept, self._swept_seq = meta.swept, meta.swept_seq
        self._first: int = meta.last_seq + 1
        self._next: int = self._first

    def record(self, op: str, kind: str, name: str, payload: str | None) -> None:
        """Adds one change to this revision."""
        change = {"revision": self.revision, "op": op, "kind": kind, "name": name, "payload": payload}
        self.db.execute(_RECORD, {"seq": self.take(1), **change})

    def take(self, count: int) -> int:
        """The first of ``count`` places in the change log, which the caller fills."""
        first, self._next = self._next, self._next + count
        return first

    def nothing_recorded(self) -> bool:
        """Whether this transaction, as it stands, makes no revision."""
        return self._next == self._first

    def finish(self) -> int:
        """Closes the revision and answers its number; a transaction without changes makes none."""
        if self.nothing_recorded():
            return self.before
        last = self._next - 1
        before = {"from": self._swept, "from_seq": self._swept_seq}
        self._forget(last, max(_SWEEP, 2 * (self._next - self._first)))
        values = {
            "revision": self.revision,
            "last": last,
            "author": self.by,
            "made": self.at,
            "floor": self._floor,
            "floor_seq": self._floor_seq,
            "swept": self._swept,
            "swept_seq": self._swept_seq,
            "channel": CHANNEL,
            "news": f"{self.epoch}:{self.revision}",
        }
        if (self._swept, self._swept_seq) == (before["from"], before["from_seq"]):
            self.db.execute(_END, values)
        else:
            self.db.execute(_END_AND_SWEEP, values | before)
        return self.revision

    def _forget(self, last: int, rows: int) -> None:
        """Moves the floor up to the last whole revision outside the newest ``keep_changes``, and the broom after it."""
        cut = last - self._keep
        if cut > self._floor_seq:
            self._floor, self._floor_seq = self.db.execute(_FLOOR, {"oldest_kept": cut + 1}).one()
        self._swept = min(self._floor, self._swept + rows)
        self._swept_seq = min(self._floor_seq, self._swept_seq + rows)


def write_pod(tx: Transaction, pod: Pod) -> Written:
    """Creates or replaces a pod within a transaction; the same pod again changes nothing. Raises BadPod."""
    check_pod(pod)
    body = encode(pod).decode()
    row = tx.db.execute(
        text("SELECT body, revision FROM gds_pods WHERE name = :name"), {"name": pod.name}
    ).one_or_none()
    if row is not None and row.body == body:
        return Written(tx.before, row.revision)
    tx.db.execute(
        text(
            "INSERT INTO gds_pods VALUES (:name, :body, :revision)"
            " ON CONFLICT (name) DO UPDATE SET body = excluded.body, revision = excluded.revision"
        ),
        {"name": pod.name, "body": body, "revision": tx.revision},
    )
    tx.record("put", "pod", pod.name, body)
    return Written(tx.revision, tx.revision, created=row is None)

"""The store in PostgreSQL: any number of instances serve the same directory, and hear of each other's commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Row, TextClause, text

from gds_mock.bulk import Stage
from gds_mock.errors import (
    HistoryGone,
    MissingPod,
    PodInUse,
    StoreUnavailable,
    UnknownDomain,
    UnknownPod,
)
from gds_mock.names import wildcards_for
from gds_mock.postgres.address import parse
from gds_mock.postgres.bulk import PostgresStage
from gds_mock.postgres.engine import Engines, Limits
from gds_mock.postgres.listening import listening
from gds_mock.postgres.schema import prepare
from gds_mock.postgres.snapshot import PostgresSnapshot
from gds_mock.postgres.transaction import Transaction, write_pod
from gds_mock.preconditions import Condition
from gds_mock.store import KEEP_CHANGES, Logged, Snapshot, Store, Written, change, require
from gds_mock.values import Entry, Pod, decode_pod, is_pod_name

_META = text("SELECT epoch, revision, floor, floor_seq FROM gds_meta WHERE one = 1")
_LOOKUP = text(
    "SELECT domain, pod, revision, author, made FROM gds_domains WHERE domain = ANY(CAST(:names AS text[]))"
    " ORDER BY array_position(CAST(:names AS text[]), domain) LIMIT 1"
)
_CHANGES = text(
    "SELECT c.seq, c.revision, r.author, r.made, c.op, c.kind, c.name, c.payload FROM gds_changes c"
    " LEFT JOIN gds_revisions r ON r.revision = c.revision WHERE c.seq > :seq ORDER BY c.seq LIMIT :limit"
)
_BEFORE_PUT = text(
    "SELECT EXISTS (SELECT FROM gds_pods WHERE name = :pod) AS there, d.pod, d.revision"
    " FROM (SELECT 1) one LEFT JOIN gds_domains d ON d.domain = :domain"
)
_PUT = text(
    "INSERT INTO gds_domains VALUES (:domain, :pod, :revision, :author, :made)"
    " ON CONFLICT (domain) DO UPDATE SET"
    " pod = excluded.pod, revision = excluded.revision, author = excluded.author, made = excluded.made"
)


class PostgresStore(Store):
    """The directory in the tables gds_* of one database. The URL's password stays in here."""

    def __init__(self, url: str, *, keep_changes: int = KEEP_CHANGES, limits: Limits | None = None) -> None:
        address = parse(url)
        self.name = address.shown
        self.engines = Engines(address, limits or Limits())
        self._keep_changes = max(1, keep_changes)
        try:
            with self.engines.errors(), self.engines.quick.begin() as db:
                prepare(db)
                self.epoch, self.committed = db.execute(text("SELECT epoch, revision FROM gds_meta")).one()
        except StoreUnavailable:
            self.engines.dispose()
            raise

    def close(self) -> None:
        self.engines.dispose()

    def interrupt(self) -> None:
        self.engines.interrupt()

    def snapshot(self) -> Snapshot:
        return PostgresSnapshot(self)

    def stage(self) -> Stage:
        return PostgresStage(self)

    def following(self, wake: Callable[[int], None]) -> AbstractContextManager[None]:
        return listening(self.engines, self.epoch, wake)

    def check_epoch(self, epoch: str) -> None:
        """Raises StoreUnavailable when another store has taken the place of the one that was opened."""
        if epoch != self.epoch:
            raise StoreUnavailable(
                f"the store {self.name} is another one now, of epoch {epoch}: start this server anew"
            )

    # Reading: each statement sees a state of its own.

    def _ask(self, statement: TextClause, **values: object) -> list[Row[Any]]:
        with self.engines.errors(), self.engines.asking.connect() as db:
            return list(db.execute(statement, values).all())

    def _meta(self) -> Row[Any]:
        (meta,) = self._ask(_META)
        self.check_epoch(meta.epoch)
        return meta

    def revision(self) -> int:
        return int(self._meta().revision)

    def lookup(self, domain: str) -> Entry:
        for row in self._ask(_LOOKUP, names=[domain, *wildcards_for(domain)]):
            return Entry(row.domain, row.pod, row.revision, row.author, row.made)
        raise UnknownDomain(f"no pod is known for {domain}")

    def pods(self) -> list[Pod]:
        return [decode_pod(row.body) for row in self._ask(text("SELECT body FROM gds_pods ORDER BY name"))]

    def pod(self, name: str) -> tuple[Pod, int]:
        if is_pod_name(name):  # what is none may hold what PostgreSQL's text can't
            for row in self._ask(text("SELECT body, revision FROM gds_pods WHERE name = :name"), name=name):
                return decode_pod(row.body), row.revision
        raise UnknownPod(f"there is no pod {name[:80]!r}")

    def position_after(self, epoch: str, revision: int) -> int:
        meta = self._meta()
        if epoch != self.epoch:
            raise HistoryGone(f"the epoch is {self.epoch}: take a new snapshot")
        if meta.floor <= revision <= meta.revision:
            for row in self._ask(text("SELECT last FROM gds_revisions WHERE revision = :revision"), revision=revision):
                return int(row.last)  # else the floor rose between the two reads
        raise HistoryGone(f"the changes after revision {revision} are not here: take a new snapshot")

    def changes_after(self, seq: int, limit: int) -> list[Logged]:
        rows = self._ask(_CHANGES, seq=seq, limit=limit)
        (meta,) = self._ask(_META)
        if seq < meta.floor_seq or meta.epoch != self.epoch:
            raise HistoryGone("the change log was cut: take a new snapshot")
        return [
            Logged(row.seq, row.revision, change(row.op, row.kind, row.name, row.payload), row.author, row.made)
            for row in rows
        ]

    # Writing.

    def _connection(self, given: Connection | None) -> AbstractContextManager[Connection]:
        return nullcontext(given) if given is not None else self.engines.quick.connect()

    @contextmanager
    def writing(self, by: str | None, connection: Connection | None = None) -> Iterator[Transaction]:
        """One atomic transaction: committed, and on disk, when the block ends; undone when it raises."""
        with self.engines.errors(), self._connection(connection) as db, db.begin():
            tx = Transaction(db, self._keep_changes, by)
            self.check_epoch(tx.epoch)
            yield tx
            revision = tx.finish()
        self.committed = max(self.committed, revision)

    def put_domain(self, domain: str, pod: str, condition: Condition | None = None, by: str | None = None) -> Written:
        if not is_pod_name(pod):
            raise MissingPod(f"there is no pod {pod[:80]!r} to put {domain} on")
        with self.writing(by) as tx:
            row = tx.db.execute(_BEFORE_PUT, {"pod": pod, "domain": domain}).one()
            if not row.there:
                raise MissingPod(f"there is no pod {pod[:80]!r} to put {domain} on")
            require(condition, domain, row.revision)
            if row.pod == pod:
                return Written(tx.before, row.revision)
            tx.db.execute(_PUT, {"domain": domain, "pod": pod, "revision": tx.revision, "author": tx.by, "made": tx.at})
            tx.record("put", "domain", domain, pod)
        return Written(tx.revision, tx.revision, created=row.pod is None)

    def delete_domain(self, domain: str, condition: Condition | None = None, by: str | None = None) -> None:
        with self.writing(by) as tx:
            named = {"domain": domain}
            row = tx.db.execute(text("SELECT revision FROM gds_domains WHERE domain = :domain"), named).one_or_none()
            if row is None:
                raise UnknownDomain(f"{domain} is not here")
            require(condition, domain, row.revision)
            tx.db.execute(text("DELETE FROM gds_domains WHERE domain = :domain"), named)
            tx.record("delete", "domain", domain, None)

    def put_pod(self, pod: Pod, by: str | None = None) -> Written:
        with self.writing(by) as tx:
            return write_pod(tx, pod)

    def delete_pod(self, name: str, by: str | None = None) -> None:
        if not is_pod_name(name):
            raise UnknownPod(f"there is no pod {name[:80]!r}")
        with self.writing(by) as tx:
            named = {"name": name}
            if tx.db.execute(text("DELETE FROM gds_pods WHERE name = :name"), named).rowcount == 0:
                raise UnknownPod(f"there is no pod {name[:80]!r}")
            tenant = tx.db.execute(text("SELECT domain FROM gds_domains WHERE pod = :name LIMIT 1"), named).scalar()
            if tenant is not None:
                raise PodInUse(f"domains live on {name}, {tenant} for one: move them first")
            tx.record("delete", "pod", name, None)

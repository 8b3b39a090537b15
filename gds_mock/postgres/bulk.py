"""A load on its way into PostgreSQL: copied into a temporary table of a connection of its own, then applied at once."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from gds_mock.bulk import Loaded, Row, Stage
from gds_mock.postgres.transaction import Transaction, write_pod
from gds_mock.values import Pod

if TYPE_CHECKING:
    from gds_mock.postgres.store import PostgresStore

_STAGED = 'CREATE TEMP TABLE staged(line bigint, domain text COLLATE "C" NOT NULL, pod text COLLATE "C")'
_CONTRADICTIONS = """
SELECT s.line, s.domain, s.pod, f.pod AS first_pod, f.line AS first_line FROM staged s
JOIN (SELECT DISTINCT ON (domain) domain, pod, line FROM staged ORDER BY domain, line) f ON s.domain = f.domain
WHERE s.pod IS DISTINCT FROM f.pod ORDER BY s.line"""
# Before the lock is taken: the last line about a domain wins.
_WANTED = """
CREATE TEMP TABLE wanted AS SELECT DISTINCT ON (domain) domain, pod FROM staged ORDER BY domain, line DESC"""
_HOMELESS = """
SELECT line, pod FROM staged s
WHERE pod IS NOT NULL AND NOT EXISTS (SELECT FROM gds_pods p WHERE p.name = s.pod) ORDER BY line"""
# Under the lock: what would change nothing is left out.
_MOVED = """
CREATE TEMP TABLE moved AS
SELECT row_number() OVER (ORDER BY w.domain) - 1 AS n, w.domain, w.pod, d.domain IS NOT NULL AS known
FROM wanted w LEFT JOIN gds_domains d ON d.domain = w.domain WHERE w.pod IS DISTINCT FROM d.pod"""
_COUNT = "SELECT count(pod) AS puts, count(*) - count(pod) AS deletes FROM moved"
_LOG = """
INSERT INTO gds_changes
SELECT :first + n, :revision, CASE WHEN pod IS NULL THEN 'delete' ELSE 'put' END, 'domain', domain, pod
FROM moved ORDER BY n"""
_APPLY = (
    "INSERT INTO gds_domains SELECT domain, pod, :revision, :author, :made FROM moved WHERE NOT known ORDER BY n",
    "UPDATE gds_domains d SET pod = m.pod, revision = :revision, author = :author, made = :made FROM moved m"
    " WHERE m.known AND m.pod IS NOT NULL AND d.domain = m.domain",
    "DELETE FROM gds_domains d USING moved m WHERE m.pod IS NULL AND d.domain = m.domain",
)


class PostgresStage(Stage):
    """Holds a connection, but no transaction: a slow sender keeps nothing on the server from being cleared away."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._closed = False
        with store.engines.errors():
            self._db = store.engines.long.connect()
            try:
                self._db.execution_options(isolation_level="AUTOCOMMIT")
                self._db.execute(text(_STAGED))
                self._db.execute(text("SET work_mem = '64MB'"))
                known = set(self._db.execute(text("SELECT name FROM gds_pods")).scalars())
            except BaseException:
                self._discard()
                raise
        super().__init__(known)

    def _close(self) -> None:
        if not self._closed:
            self._discard()

    def _discard(self) -> None:
        """Closes the connection for good, and the temporary tables with it."""
        self._closed = True
        with suppress(SQLAlchemyError):
            self._db.invalidate()
            self._db.close()

    def _keep(self, rows: list[Row]) -> None:
        # Nothing to escape: names of domains and pods have letters, digits, '.', '_', '-' and '*' alone.
        lines = "".join(
            f"{line}\t{domain}\t\\N\n" if pod is None else f"{line}\t{domain}\t{pod}\n" for line, domain, pod in rows
        )
        with self._store.engines.errors():
            connection = self._db.connection.driver_connection
            assert connection is not None
            with connection.cursor().copy("COPY staged FROM STDIN") as copy:
                copy.write(lines)

    def _contradictions(self) -> Iterable[tuple[int, str, str, str, int]]:
        with self._store.engines.errors():
            return [tuple(row) for row in self._db.execute(text(_CONTRADICTIONS))]

    def _write(self, pods: Iterable[Pod], by: str | None) -> Loaded:
        with self._store.engines.errors():
            for statement in ("ANALYZE staged", _WANTED, "ANALYZE wanted"):
                self._db.execute(text(statement))
            self._db.commit()
            self._db.execution_options(isolation_level="READ COMMITTED")
        with self._store.writing(by, self._db) as tx:
            for pod in pods:
                write_pod(tx, pod)
            puts, deletes = self._apply(tx)
            revision = tx.before if tx.nothing_recorded() else tx.revision
        return Loaded(revision, puts, deletes)

    def _apply(self, tx: Transaction) -> tuple[int, int]:
        for line, pod in tx.db.execute(text(_HOMELESS)):  # a pod may have gone since its line was checked
            self.reject(line, f"there is no pod {pod!r}")
        self.check()
        tx.db.execute(text(_MOVED))
        puts, deletes = tx.db.execute(text(_COUNT)).one()
        if puts + deletes:
            tx.db.execute(text("ANALYZE moved"))
            tx.db.execute(text(_LOG), {"first": tx.take(puts + deletes), "revision": tx.revision})
            _apply_moves(tx)
        return puts, deletes


def _apply_moves(tx: Transaction) -> None:
    values = {"revision": tx.revision, "author": tx.by, "made": tx.at}
    for statement in _APPLY:
        tx.db.execute(text(statement), values if ":revision" in statement else {})

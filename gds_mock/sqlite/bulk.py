"""A load on its way into a SQLite file: staged in a temporary table of a connection of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gds_mock.bulk import Loaded, Row, Stage
from gds_mock.sqlite.schema import sqlite_errors
from gds_mock.sqlite.transaction import Transaction, write_pod
from gds_mock.values import Pod

if TYPE_CHECKING:
    from gds_mock.sqlite.store import SqliteStore

# The last line about a domain wins (max() picks its row); what would change nothing is left out.
_LOG = """
INSERT INTO changes(revision, op, kind, name, payload)
SELECT ?, CASE WHEN s.pod IS NULL THEN 'delete' ELSE 'put' END, 'domain', s.domain, s.pod
FROM (SELECT domain, pod, max(line) FROM temp.staged GROUP BY domain) s
LEFT JOIN domains d ON d.domain = s.domain
WHERE s.pod IS NOT d.pod ORDER BY s.domain"""
_PUT = """
INSERT INTO domains SELECT name, payload, revision, ?, ? FROM changes
WHERE seq >= ? AND kind = 'domain' AND op = 'put' ORDER BY seq
ON CONFLICT(domain) DO UPDATE SET
  pod = excluded.pod, revision = excluded.revision, author = excluded.author, made = excluded.made"""
_DELETE = """
DELETE FROM domains WHERE domain IN
(SELECT name FROM changes WHERE seq >= ? AND kind = 'domain' AND op = 'delete')"""
_COUNT = "SELECT coalesce(sum(op = 'put'), 0), coalesce(sum(op = 'delete'), 0) FROM changes WHERE seq >= ?"
_HOMELESS = """
SELECT line, pod FROM temp.staged WHERE pod IS NOT NULL AND pod NOT IN (SELECT name FROM main.pods) ORDER BY line"""


class SqliteStage(Stage):
    """Touches the temporary table alone until it is applied."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        with sqlite_errors(store.path):
            self._db = store.connection()
            try:
                self._db.execute("CREATE TEMP TABLE staged(line INTEGER PRIMARY KEY, domain TEXT NOT NULL, pod TEXT)")
                known = {name for (name,) in self._db.execute("SELECT name FROM main.pods")}
                self._db.execute("BEGIN")  # touches the temporary table alone
            except sqlite3.Error:
                self._db.close()
                raise
        super().__init__(known)

    def _close(self) -> None:
        self._db.close()

    def _keep(self, rows: list[Row]) -> None:
        with sqlite_errors(self._store.path):
            self._db.executemany("INSERT INTO temp.staged VALUES (?, ?, ?)", rows)

    def _contradictions(self) -> Iterable[tuple[int, str, str, str, int]]:
        with sqlite_errors(self._store.path):
            torn = "SELECT 1 FROM temp.staged GROUP BY domain HAVING min(pod) <> max(pod) LIMIT 1"
            if self._db.execute(torn).fetchone() is None:
                return []
            return self._db.execute(
                "SELECT s.line, s.domain, s.pod, f.pod, f.line FROM temp.staged s JOIN"
                " (SELECT domain, pod, min(line) AS line FROM temp.staged GROUP BY domain) f ON s.domain = f.domain"
                " WHERE s.pod IS NOT f.pod ORDER BY s.line"
            )

    def _write(self, pods: Iterable[Pod], by: str | None) -> Loaded:
        with sqlite_errors(self._store.path):
            self._db.execute("COMMIT")
        with self._store.writing(by, self._db) as tx:
            for pod in pods:
                write_pod(tx, pod)
            puts, deletes = self._apply(tx)
            revision = tx.before if tx.nothing_recorded() else tx.revision
        return Loaded(revision, puts, deletes)

    def _apply(self, tx: Transaction) -> tuple[int, int]:
        for line, pod in tx.db.execute(_HOMELESS):  # a pod may have gone since its line was checked
            self.reject(line, f"there is no pod {pod!r}")
        self.check()
        begin = tx.last_seq() + 1
        tx.db.execute(_LOG, (tx.revision,))
        puts, deletes = tx.db.execute(_COUNT, (begin,)).fetchone()
        tx.db.execute(_PUT, (tx.by, tx.at, begin))
        if deletes:
            tx.db.execute(_DELETE, (begin,))
        return puts, deletes

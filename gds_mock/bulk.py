"""A load of any size as one transaction: checked line by line into a temporary table, then applied at once or not.

Staging takes no lock on the store, so a slow sender holds up nobody; memory stays small however long the load is.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from typing import Self

import msgspec

from gds_mock.errors import BadLine, BadLines, NotAHost
from gds_mock.names import normalise
from gds_mock.schema import sqlite_errors
from gds_mock.store import Store, write_pod
from gds_mock.transaction import Transaction
from gds_mock.values import Pod

_NAMED = 100  # bad lines named one by one; the others are counted

# The last line about a domain wins (max() picks its row); what would change nothing is left out.
_LOG = """
INSERT INTO changes(revision, op, kind, name, payload)
SELECT ?, CASE WHEN s.pod IS NULL THEN 'delete' ELSE 'put' END, 'domain', s.domain, s.pod
FROM (SELECT domain, pod, max(line) FROM temp.staged GROUP BY domain) s
LEFT JOIN domains d ON d.domain = s.domain
WHERE s.pod IS NOT d.pod ORDER BY s.domain"""
_PUT = """
INSERT INTO domains SELECT name, payload, revision FROM changes
WHERE seq >= ? AND kind = 'domain' AND op = 'put' ORDER BY seq
ON CONFLICT(domain) DO UPDATE SET pod = excluded.pod, revision = excluded.revision"""
_DELETE = """
DELETE FROM domains WHERE domain IN
(SELECT name FROM changes WHERE seq >= ? AND kind = 'domain' AND op = 'delete')"""
_COUNT = "SELECT coalesce(sum(op = 'put'), 0), coalesce(sum(op = 'delete'), 0) FROM changes WHERE seq >= ?"
_HOMELESS = """
SELECT line, pod FROM temp.staged WHERE pod IS NOT NULL AND pod NOT IN (SELECT name FROM main.pods) ORDER BY line"""


class Loaded(msgspec.Struct, frozen=True):
    """What a load came to: only puts and deletes that changed something count."""

    revision: int
    puts: int
    deletes: int


class Stage:
    """One load on its way in. Any thread may use it, and must close it in the end."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._using = threading.Lock()  # so that closing waits for a statement that still runs
        self._errors: list[BadLine] = []
        self.bad_lines = 0
        with sqlite_errors(store.path):
            self._db = store.connection()
            try:
                self._db.execute("CREATE TEMP TABLE staged(line INTEGER PRIMARY KEY, domain TEXT NOT NULL, pod TEXT)")
                self._known = {name for (name,) in self._db.execute("SELECT name FROM main.pods")}
                self._db.execute("BEGIN")  # touches the temporary table alone
            except sqlite3.Error:
                self._db.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drops whatever was staged. Safe to call twice."""
        with self._using:
            self._db.close()

    def promise(self, pods: Iterable[str]) -> None:
        """Lets lines name these pods, which ``apply`` will be given."""
        self._known.update(pods)

    def row(self, line: int, host: str, pod: str | None) -> tuple[int, str, str | None] | None:
        """A checked row for ``add``: the host goes to the pod, or goes away (None). Rejects the line if it can't."""
        try:
            domain = normalise(host)
        except NotAHost as error:
            self.reject(line, str(error))
            return None
        if pod is not None and pod not in self._known:
            self.reject(line, f"there is no pod {pod[:80]!r}")
            return None
        return line, domain, pod

    def reject(self, line: int, detail: str) -> None:
        """Notes a bad line: nothing will be applied, but the lines after it are still checked."""
        self.bad_lines += 1
        if len(self._errors) < _NAMED:
            self._errors.append(BadLine(line, detail))

    def add(self, rows: list[tuple[int, str, str | None]]) -> None:
        """Stages rows; after a bad line there is no use in keeping more."""
        if self.bad_lines == 0:
            with self._using, sqlite_errors(self._store.path):
                self._db.executemany("INSERT INTO temp.staged VALUES (?, ?, ?)", rows)

    def reject_contradictions(self) -> None:
        """Rejects every line that puts a domain elsewhere than the line that named it first."""
        with self._using, sqlite_errors(self._store.path):
            torn = "SELECT 1 FROM temp.staged GROUP BY domain HAVING min(pod) <> max(pod) LIMIT 1"
            if self._db.execute(torn).fetchone() is None:
                return
            rows = self._db.execute(
                "SELECT s.line, s.domain, s.pod, f.pod, f.line FROM temp.staged s JOIN"
                " (SELECT domain, pod, min(line) AS line FROM temp.staged GROUP BY domain) f ON s.domain = f.domain"
                " WHERE s.pod IS NOT f.pod ORDER BY s.line"
            )
            for line, domain, pod, first_pod, first_line in rows:
                self.reject(line, f"{domain} is on {pod} here, but on {first_pod} in line {first_line}")

    def check(self) -> None:
        """Raises BadLines if any line was rejected."""
        if self.bad_lines:
            raise BadLines(tuple(self._errors), self.bad_lines)

    def apply(self, pods: Iterable[Pod] = ()) -> Loaded:
        """Writes these pods and everything staged as one revision, on disk when it returns. Raises BadLines."""
        self.check()
        with self._using, sqlite_errors(self._store.path):
            self._db.execute("COMMIT")
        with self._using, self._store.writing(self._db) as tx:
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
        tx.db.execute(_PUT, (begin,))
        if deletes:
            tx.db.execute(_DELETE, (begin,))
        return puts, deletes

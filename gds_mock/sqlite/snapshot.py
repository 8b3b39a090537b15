"""The whole directory at one revision, read block by block from a transaction of its own."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import msgspec

from gds_mock.sqlite.schema import sqlite_errors
from gds_mock.store import Head
from gds_mock.values import encode_lines

if TYPE_CHECKING:
    from gds_mock.sqlite.store import SqliteStore

_ROWS = 1_000  # about 64 kB of NDJSON


class SqliteSnapshot:
    """While it is open, SQLite can't shorten its write-ahead log."""

    def __init__(self, store: SqliteStore) -> None:
        self._path = store.path
        self._using = threading.Lock()  # so that closing waits for a statement that still runs
        with sqlite_errors(store.path):
            self._db = store.connection(read_only=True)
            try:
                self._db.execute("BEGIN")
                (self.revision,) = self._db.execute("SELECT revision FROM meta").fetchone()
                self._domains = self._db.execute("SELECT domain, pod FROM domains ORDER BY domain")
            except sqlite3.Error:
                self._db.close()
                raise
        self._epoch = store.epoch

    def head(self) -> bytes:
        """The first line: where this snapshot stands, how many domains follow, and all pods."""
        with self._using, sqlite_errors(self._path):
            (count,) = self._db.execute("SELECT count(*) FROM domains").fetchone()
            pods = [msgspec.Raw(body.encode()) for (body,) in self._db.execute("SELECT body FROM pods ORDER BY name")]
        return Head(self._epoch, self.revision, count, pods).line()

    def block(self) -> bytes:
        """The next lines, ordered by domain; empty after the last."""
        with self._using, sqlite_errors(self._path):
            rows = self._domains.fetchmany(_ROWS)
        return encode_lines([{"domain": domain, "pod": pod} for domain, pod in rows])

    def close(self) -> None:
        """Ends the transaction. Safe to call twice."""
        with self._using:
            self._db.close()

"""The whole directory at one revision, read through a server-side cursor in one repeatable-read transaction."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from gds_mock.store import Head
from gds_mock.values import encode_lines

if TYPE_CHECKING:
    from gds_mock.postgres.store import PostgresStore

_ROWS = 2_000  # about 128 kB of NDJSON

_DOMAINS = text("SELECT domain, pod FROM gds_domains ORDER BY domain").execution_options(
    stream_results=True, max_row_buffer=_ROWS
)


class PostgresSnapshot:
    """While it is open, PostgreSQL keeps the rows that it may still read."""

    def __init__(self, store: PostgresStore) -> None:
        self._errors = store.engines.errors
        self._using = threading.Lock()  # so that closing waits for a statement that still runs
        with self._errors():
            self._db = store.engines.long.connect()
            try:
                self._db.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                self._epoch, self.revision = self._db.execute(text("SELECT epoch, revision FROM gds_meta")).one()
                store.check_epoch(self._epoch)
                self._domains = self._db.execute(_DOMAINS)
            except BaseException:
                self._db.close()
                raise

    def head(self) -> bytes:
        with self._using, self._errors():
            count = self._db.execute(text("SELECT count(*) FROM gds_domains")).scalar_one()
            pods = self._db.execute(text("SELECT body FROM gds_pods ORDER BY name")).scalars()
            return Head(self._epoch, self.revision, count, [msgspec.Raw(body.encode()) for body in pods]).line()

    def block(self) -> bytes:
        with self._using, self._errors():
            rows = self._domains.fetchmany(_ROWS)
        return encode_lines([{"domain": domain, "pod": pod} for domain, pod in rows])

    def close(self) -> None:
        with self._using, suppress(SQLAlchemyError):  # a connection that is lost is closed
            self._db.close()

"""Connections to PostgreSQL: pools with limits, a time for everything, and errors that never hold a password."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolIsEmpty

from gds_mock.errors import StoreUnavailable
from gds_mock.postgres.address import Address


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections, and how long things may take, in seconds."""

    quick_connections: int = 10
    """For what one call asks and one put writes: the service has nine threads."""
    long_connections: int = 12
    """For snapshots and loads, each of which keeps one for as long as its client takes."""
    free_connection: float = 5.0
    connect: int = 5
    statement: float = 10.0
    lock: float = 10.0
    load: float = 900.0
    """One statement of a load."""
    silent_client: float = 30.0
    """A transaction whose client says nothing for so long is ended: it may hold the lock that every write needs."""


# A peer that is gone without a word is noticed within about ten seconds.
_ALIVE = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "fallback_application_name": "gds_mock",
}
# client_connection_check_interval: the server ends what a dead client left running. synchronous_commit: an answered
# write is on disk whatever the server's default; where more than that is asked for, it stays.
_SESSION = """
SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),
  set_config('idle_in_transaction_session_timeout', %s, false),
  set_config('client_connection_check_interval', '1s', false),
  set_config('synchronous_commit',
    CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END,
    false)"""


class Engines:
    """Two pools: long work can't take the connections that quick calls need."""

    def __init__(self, address: Address, limits: Limits) -> None:
        self.address, self.limits = address, limits
        self._open: WeakSet[psycopg.Connection] = WeakSet()
        self.quick = self._engine(limits.quick_connections, limits.statement, limits.silent_client)
        # A reader of a snapshot may be silent for long: it holds no lock that anybody waits for.
        self.long = self._engine(limits.long_connections, limits.load, limits.load)
        self.asking = self.quick.execution_options(isolation_level="AUTOCOMMIT")

    def dispose(self) -> None:
        """Closes every connection that is not in use."""
        self.quick.dispose()
        self.long.dispose()

    def interrupt(self) -> None:
        """Cuts every connection, so that whoever waits for a server that says nothing waits no longer."""
        for db in list(self._open):
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(db.fileno())) as cut:
                cut.shutdown(socket.SHUT_RDWR)

    def connect(self, statement: float, silent: float) -> psycopg.Connection:
        """A connection outside the pools."""
        given: dict[str, Any] = {"connect_timeout": self.limits.connect} | _ALIVE | self.address.connecting
        db = psycopg.connect(**given, autocommit=True)
        try:
            db.execute(_SESSION, (f"{statement * 1000:.0f}", f"{self.limits.lock * 1000:.0f}", f"{silent * 1000:.0f}"))
            db.autocommit = False
        except BaseException:
            db.close()
            raise
        self._open.add(db)
        return db

    def _engine(self, connections: int, statement: float, silent: float) -> Engine:
        return create_engine(
            "postgresql+psycopg://",
            creator=lambda: self.connect(statement, silent),
            isolation_level="READ COMMITTED",
            pool_size=connections,
            max_overflow=0,
            pool_timeout=self.limits.free_connection,
            pool_pre_ping=True,  # after a restart of PostgreSQL no request meets the old connections
        )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns the driver's errors into StoreUnavailable, which names the server, never a statement's values."""
        try:
            yield
        except (SQLAlchemyError, psycopg.Error) as error:
            raise StoreUnavailable(f"the store {self.address.shown} does not answer: {_said(error)}") from error


def _said(error: Exception) -> str:
    if isinstance(error, PoolIsEmpty):
        return "all connections to it are in use"
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig if isinstance(error.orig, Exception) else error
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""Which store an address means: a PostgreSQL URL, or the path of a SQLite file."""

from __future__ import annotations

import re

from gds_mock.errors import StoreUnavailable
from gds_mock.store import KEEP_CHANGES, Store

_POSTGRES = re.compile(r"postgres(?:ql)?(?:\+psycopg)?://")


def is_postgres(address: str) -> bool:
    """Whether the address is a PostgreSQL URL."""
    return _POSTGRES.match(address) is not None


def open_store(address: str, *, keep_changes: int = KEEP_CHANGES) -> Store:
    """Opens the store, and makes it where there is none yet. Raises StoreUnavailable.

    ``keep_changes`` is how much history watchers can resume from, at least.
    """
    if is_postgres(address):
        require_extra()
        from gds_mock.postgres.store import PostgresStore

        return PostgresStore(address, keep_changes=keep_changes)
    if "://" in address:
        scheme = address.partition("://")[0][:40]
        raise StoreUnavailable(f"there is no store for {scheme}:// : give a postgresql:// URL or the path of a file")
    from gds_mock.sqlite.store import SqliteStore

    return SqliteStore(address, keep_changes=keep_changes)


def require_extra() -> None:
    """Raises StoreUnavailable, naming the extra, where the libraries for PostgreSQL are not installed."""
    try:
        import psycopg
        import sqlalchemy
    except ImportError as error:
        raise StoreUnavailable(
            f"PostgreSQL needs the extra `postgres` ({error}): pip install 'pointsman[postgres]'"
        ) from None
    del psycopg, sqlalchemy

"""The file: its tables, and how a connection to it is made."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from gds_mock.errors import StoreUnavailable

_APPLICATION = 0x47445332  # "GDS2": tells our file from any other SQLite file, and its layout from the one before
_BEFORE = 0x47445331  # "GDS1": it had nothing of who made a change, and when

# `changes` is the log that watchers replay; seq runs on without gaps over all revisions. `revisions` says where each
# one ends, who made it and when. Whatever is at or before `floor` is history that is gone, even while its rows wait to
# be swept.
_TABLES = """
CREATE TABLE meta(
    one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL, revision INTEGER NOT NULL,
    floor INTEGER NOT NULL, floor_seq INTEGER NOT NULL);
CREATE TABLE pods(name TEXT PRIMARY KEY, body TEXT NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE domains(
    domain TEXT PRIMARY KEY, pod TEXT NOT NULL, revision INTEGER NOT NULL, author TEXT, made TEXT) WITHOUT ROWID;
CREATE TABLE changes(
    seq INTEGER PRIMARY KEY, revision INTEGER NOT NULL, op TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    payload TEXT);
CREATE TABLE revisions(revision INTEGER PRIMARY KEY, last INTEGER NOT NULL, author TEXT, made TEXT);
INSERT INTO revisions VALUES (0, 0, NULL, NULL);
"""
# Of what is there already nobody knows it. None of these touches a row, however many there are.
_TO_GDS2 = """
ALTER TABLE domains ADD COLUMN author TEXT;
ALTER TABLE domains ADD COLUMN made TEXT;
ALTER TABLE revisions ADD COLUMN author TEXT;
ALTER TABLE revisions ADD COLUMN made TEXT;
"""


@contextmanager
def sqlite_errors(path: str) -> Iterator[None]:
    """Turns SQLite's errors into StoreUnavailable, which names the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the store {path} does not answer: {error}") from error


def connect(path: str, *, busy_seconds: float, read_only: bool = False) -> sqlite3.Connection:
    """A connection whose transactions are begun and ended by hand, to be used by one thread at a time."""
    db = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA temp_store = FILE")
        db.execute(f"PRAGMA cache_size = {-2_000 if read_only else -16_000}")
        db.execute("PRAGMA journal_size_limit = 67108864")
        db.execute(f"PRAGMA query_only = {int(read_only)}")
    except BaseException:
        db.close()
        raise
    return db


def prepare(db: sqlite3.Connection, path: str) -> None:
    """Makes the tables in a new file, brings those of the layout before up to this one, and proves that an old file is
    ours and can be written."""
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise StoreUnavailable(f"the store {path} can't use a write-ahead log there")
    db.execute("BEGIN IMMEDIATE")
    try:
        application = db.execute("PRAGMA application_id").fetchone()[0]
        if application == 0 and db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
            for statement in _TABLES.split(";"):
                db.execute(statement)
            db.execute("INSERT INTO meta VALUES (1, ?, 0, 0, 0)", (secrets.token_hex(8),))
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
        elif application == _BEFORE:
            for statement in _TO_GDS2.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
        elif application != _APPLICATION:
            raise StoreUnavailable(f"the store {path} is a SQLite file of something else")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise

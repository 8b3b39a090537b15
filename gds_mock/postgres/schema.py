"""The tables, their version, and how they are made once however many instances start together."""

from __future__ import annotations

import secrets

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, Table, Text, inspect, text

from gds_mock.errors import StoreUnavailable

VERSION = 2

_LOCK = 0x47445331  # "GDS1", among the advisory locks of the database

# Bytewise, as SQLite sorts and as the contract says, whatever the database's collation.
_NAME = Text(collation="C")

# `gds_changes` is the log that watchers replay; seq runs on without gaps over all revisions. `gds_revisions` says where
# each one ends, who made it and when. What is at or before `floor` is history that is gone; its rows are swept up to
# `swept` and `swept_seq`.
# Whoever writes locks the row of `gds_meta` first: commits are in the order of their revisions.
_TABLES = MetaData()
Table(
    "gds_meta",
    _TABLES,
    Column("one", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("epoch", Text, nullable=False),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("revision", "last_seq", "floor", "floor_seq", "swept", "swept_seq")
    ),
)
Table(
    "gds_pods",
    _TABLES,
    Column("name", _NAME, primary_key=True),
    Column("body", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
)
Table(
    "gds_domains",
    _TABLES,
    Column("domain", _NAME, primary_key=True),
    Column("pod", _NAME, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("author", Text),
    Column("made", Text),
)
Table(
    "gds_changes",
    _TABLES,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
    Column("op", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", _NAME, nullable=False),
    Column("payload", Text),
)
Table(
    "gds_revisions",
    _TABLES,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("author", Text),
    Column("made", Text),
)

# By the version that they lead from. Version 1 had nothing of who made a change, and when; of what is there already
# nobody knows it. None of these touches a row, however many there are.
_CHANGES = {
    1: (
        "ALTER TABLE gds_domains ADD COLUMN author text, ADD COLUMN made text",
        "ALTER TABLE gds_revisions ADD COLUMN author text, ADD COLUMN made text",
    )
}


def prepare(db: Connection) -> None:
    """Makes the tables where there are none, and brings older ones up to this version, in the transaction of ``db``.
    Raises StoreUnavailable for other ones."""
    db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if not inspect(db).has_table("gds_meta"):
        _TABLES.create_all(db)
        db.execute(
            text("INSERT INTO gds_meta VALUES (1, :version, :epoch, 0, 0, 0, 0, 0, 0)"),
            {"version": VERSION, "epoch": secrets.token_hex(8)},
        )
        db.execute(text("INSERT INTO gds_revisions VALUES (0, 0)"))
    version = db.execute(text("SELECT version FROM gds_meta")).scalar_one()
    while version in _CHANGES:
        for statement in _CHANGES[version]:
            db.execute(text(statement))
        version += 1
        db.execute(text("UPDATE gds_meta SET version = :version"), {"version": version})
    if version != VERSION:
        raise StoreUnavailable(f"the tables gds_* are of version {version}, and this gds_mock reads version {VERSION}")

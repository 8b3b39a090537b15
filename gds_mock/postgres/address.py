"""The URL of a PostgreSQL: what it means to the driver, what may be shown of it, and its password out of sight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from gds_mock.errors import StoreUnavailable


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is. ``shown`` is for messages; ``connecting`` is libpq's and may hold a password."""

    shown: str
    connecting: dict[str, Any] = field(repr=False)
    password: str | None = field(repr=False)
    without_password: str


def parse(url: str) -> Address:
    """Reads a URL; what it leaves out, libpq takes from its service file, PGPASSFILE and other PG variables.

    Raises StoreUnavailable, which never quotes what could be a password.
    """
    try:
        parsed = make_url(url).set(drivername="postgresql+psycopg")
        _, connecting = parsed.get_dialect()().create_connect_args(parsed)
    except (ArgumentError, ValueError, TypeError):
        # Not `from` the error: it may quote the password of a URL whose password is not percent-encoded.
        raise StoreUnavailable(
            "the PostgreSQL URL can't be read: postgresql://user:password@host:5432/database,"
            " with what is special in the password percent-encoded"
        ) from None
    if "sslpassword" in parsed.query:
        raise StoreUnavailable("sslpassword can't stand in the PostgreSQL URL: name it in a service file")
    asked = parsed.query.get("password")
    password = parsed.password if asked is None else asked if isinstance(asked, str) else asked[-1]
    without = URL.create(
        "postgresql",
        parsed.username,
        None,
        parsed.host,
        parsed.port,
        parsed.database,
        {key: value for key, value in parsed.query.items() if key != "password"},
    )
    shown = without.set(query={key: without.query[key] for key in ("service", "host") if key in without.query})
    return Address(str(shown), dict(connecting), password, without.render_as_string(hide_password=True))


def out_of_sight(arguments: list[str], url: str) -> tuple[list[str], str] | None:
    """The command line without the URL's password, and the password; None when it has none.

    Everybody on the machine can read a command line: the process starts itself anew with the password in PGPASSWORD.
    """
    address = parse(url)
    if address.password is None:
        return None
    return [argument.replace(url, address.without_password) for argument in arguments], address.password

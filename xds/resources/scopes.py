"""Scopes: which table answers for the first two characters of a host, for Envoy's scoped routes (SRDS).

A scope key is matched with its case while Host has none, so every case of both characters has a scope. The scopes of
a split pair lead to the re-scoping table instead of the pair's own. Each table has a scope for its number, which that
table's filter asks for; they never change, and so keep every table at Envoy whatever the pairs' scopes lead to.
"""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_letters, digits

from envoy_data_plane.envoy.config.route.v3 import (
    ScopedRouteConfiguration,
    ScopedRouteConfigurationKey,
    ScopedRouteConfigurationKeyFragment,
)

from xds.resources.rescope import ANCHOR, RESCOPE, hashed_key
from xds.resources.routes import RouteTables, table_name, table_of
from xds.resources.wire import field

FIRST = ascii_letters + digits
"""What a host name can begin with."""
SECOND = FIRST + ".-"
"""What can follow: a one-letter label ends with a dot."""

_NAME = 1  # of ScopedRouteConfiguration
_TABLE = 2
_KEY = 3
_FRAGMENTS = 1  # of its Key
_STRING_KEY = 1  # of a Fragment


def scope_keys() -> Iterator[str]:
    """Every pair of characters that a host can begin with, in every case: 62 x 64."""
    return (first + second for first in FIRST for second in SECOND)


def scope_name(key: str) -> str:
    return f"scope-{key}"


def keys_of(pair: str) -> Iterator[str]:
    """The scope keys of a lower-case pair: it in every case."""
    first, second = ({letter, letter.upper()} for letter in pair)
    return (one + other for one in sorted(first) for other in sorted(second))


def table_for(key: str, tables: RouteTables) -> str:
    """The name of the table that a pair's scope leads to now."""
    return RESCOPE if tables.is_split(key.lower()) else table_name(table_of(key, len(tables)))


def every_scope(tables: RouteTables) -> Iterator[tuple[str, str]]:
    """All keys with the tables that they lead to now: those of the pairs, of the hashes, and the anchor's."""
    yield from ((key, table_for(key, tables)) for key in scope_keys())
    yield from ((hashed_key(number), table_name(number)) for number in range(len(tables)))
    yield ANCHOR, RESCOPE


def scope(key: str, table: str) -> ScopedRouteConfiguration:
    """The scope for the header's value ``key``, named after it, leading to a table."""
    fragment = ScopedRouteConfigurationKeyFragment(string_key=key)
    return ScopedRouteConfiguration(
        name=scope_name(key),
        route_configuration_name=table,
        key=ScopedRouteConfigurationKey(fragments=[fragment]),
    )


def encoded_scope(key: str, table: str) -> bytes:
    """What ``bytes(scope(key, table))`` gives, spliced: there are thousands, and they delay the start."""
    fragment = field(_FRAGMENTS, field(_STRING_KEY, key.encode()))
    return field(_NAME, scope_name(key).encode()) + field(_TABLE, table.encode()) + field(_KEY, fragment)

"""Scopes: which table answers for the first two characters of a host, for Envoy's scoped routes (SRDS).

A scope key is matched with its case while Host has none, so every case of both characters has a scope. The scopes
depend only on the number of tables and never change while running.
"""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_letters, digits

from envoy_data_plane.envoy.config.route.v3 import (
    ScopedRouteConfiguration,
    ScopedRouteConfigurationKey,
    ScopedRouteConfigurationKeyFragment,
)

from xds.resources.routes import table_name, table_of
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


def scope(key: str, tables: int) -> ScopedRouteConfiguration:
    """The scope for hosts that begin with ``key``, named after it, leading to its table."""
    fragment = ScopedRouteConfigurationKeyFragment(string_key=key)
    return ScopedRouteConfiguration(
        name=scope_name(key),
        route_configuration_name=table_name(table_of(key, tables)),
        key=ScopedRouteConfigurationKey(fragments=[fragment]),
    )


def encoded_scope(key: str, tables: int) -> bytes:
    """What ``bytes(scope(key, tables))`` gives, spliced: there are thousands, and they delay the start."""
    fragment = field(_FRAGMENTS, field(_STRING_KEY, key.encode()))
    table = table_name(table_of(key, tables))
    return field(_NAME, scope_name(key).encode()) + field(_TABLE, table.encode()) + field(_KEY, fragment)

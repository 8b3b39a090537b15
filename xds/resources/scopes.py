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

FIRST = ascii_letters + digits
"""What a host name can begin with."""
SECOND = FIRST + ".-"
"""What can follow: a one-letter label ends with a dot."""


def scope_keys() -> Iterator[str]:
    """Every pair of characters that a host can begin with, in every case: 62 x 64."""
    return (first + second for first in FIRST for second in SECOND)


def scope(key: str, tables: int) -> ScopedRouteConfiguration:
    """The scope for hosts that begin with ``key``, named after it, leading to its table."""
    fragment = ScopedRouteConfigurationKeyFragment(string_key=key)
    return ScopedRouteConfiguration(
        name=f"scope-{key}",
        route_configuration_name=table_name(table_of(key, tables)),
        key=ScopedRouteConfigurationKey(fragments=[fragment]),
    )

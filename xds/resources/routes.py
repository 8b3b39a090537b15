"""Route tables: which table a domain stands in, and each table as an encoded RouteConfiguration.

A table holds every domain whose first two characters hash to its number, as one virtual host per pod; wildcards
have no known first characters and stand in every table. A domain's move so touches one table, however many there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost

from xds.resources.wire import field

SCOPE_HEADER = "x-pointsman-scope"
"""The internal header that carries the scope key; overwritten at the edge and never sent to a pod."""

_DOMAINS = 2  # VirtualHost.domains
_VIRTUAL_HOSTS = 2  # RouteConfiguration.virtual_hosts


def table_of(domain: str, tables: int) -> int:
    """The number, below ``tables``, of the table for a domain that is not a wildcard. Equal on every replica."""
    return int.from_bytes(hashlib.blake2b(domain[:2].lower().encode(), digest_size=8).digest(), "big") % tables


def table_name(number: int) -> str:
    return f"table-{number}"


def table_number(name: str) -> int:
    """The number of the table called ``name``."""
    return int(name.removeprefix("table-"))


def virtual_host(pod: str, domains: Iterable[str]) -> VirtualHost:
    """One pod's share of a table: all its domains there, one catch-all route to the pod's cluster."""
    return VirtualHost(
        name=pod,
        domains=list(domains),
        routes=[Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster=pod, timeout=timedelta(0)))],
    )


def route_table(number: int, shares: Mapping[str, Iterable[str]]) -> RouteConfiguration:
    """The table as a dataclass: what `RouteTables.encoded` must equal, byte for byte once parsed."""
    return RouteConfiguration(
        name=table_name(number),
        virtual_hosts=[virtual_host(pod, sorted(shares[pod])) for pod in sorted(shares)],
        request_headers_to_remove=[SCOPE_HEADER],
    )


class RouteTables:
    """All domains, laid out in ``tables`` tables. `move` returns the numbers of the tables that changed."""

    def __init__(self, tables: int) -> None:
        self._tables: list[dict[str, set[str]]] = [{} for _ in range(tables)]
        self._wildcards: dict[str, set[str]] = {}
        self._shells: dict[str, bytes] = {}
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._tables)

    def number_of(self, domain: str) -> int:
        """The table of a domain that is not a wildcard."""
        pair = domain[:2].lower()
        if pair not in self._numbers:
            self._numbers[pair] = table_of(pair, len(self._tables))
        return self._numbers[pair]

    def move(self, domain: str, old: str | None, new: str | None) -> Iterable[int]:
        """Takes ``domain`` from pod ``old`` to pod ``new``; None stands for absent."""
        if domain.startswith("*"):
            _take(self._wildcards, domain, old, new)
            return range(len(self._tables))
        number = self.number_of(domain)
        _take(self._tables[number], domain, old, new)
        return (number,)

    def shares(self, number: int) -> dict[str, list[str]]:
        """The pods of a table with their domains, wildcards included, both sorted."""
        own = self._tables[number]
        return {
            pod: sorted(own.get(pod, set()) | self._wildcards.get(pod, set()))
            for pod in sorted({*own, *self._wildcards})
        }

    def encoded(self, number: int) -> bytes:
        """The table as an encoded RouteConfiguration; equal content gives equal bytes."""
        hosts = (
            field(_VIRTUAL_HOSTS, self._shell(pod) + b"".join(field(_DOMAINS, name.encode()) for name in domains))
            for pod, domains in self.shares(number).items()
        )
        return bytes(route_table(number, {})) + b"".join(hosts)

    def _shell(self, pod: str) -> bytes:
        if pod not in self._shells:
            self._shells[pod] = bytes(virtual_host(pod, ()))
        return self._shells[pod]


def _take(shares: dict[str, set[str]], domain: str, old: str | None, new: str | None) -> None:
    if old is not None:
        shares[old].discard(domain)
        if not shares[old]:
            del shares[old]
    if new is not None:
        shares.setdefault(new, set()).add(domain)

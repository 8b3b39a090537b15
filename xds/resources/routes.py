"""Route tables: which table a domain stands in, and each table as an encoded RouteConfiguration.

A table holds every domain whose first two characters hash to its number, as one virtual host per pod; wildcards
have no known first characters and stand in every table. A domain's move so touches one table, however many there are.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost

from xds.resources.wire import field

SCOPE_HEADER = "x-pointsman-scope"
"""The internal header that carries the scope key; overwritten at the edge and never sent to a pod."""

_DOMAINS = 2  # VirtualHost.domains
_VIRTUAL_HOSTS = 2  # RouteConfiguration.virtual_hosts

_FEW = 16  # changes of a share that are cheaper one by one


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


class Share:
    """One pod's domains in one table: a sorted list, the changes that aren't in it yet, and its encoded form."""

    __slots__ = ("_changes", "_names", "encoded")

    def __init__(self) -> None:
        self._names: list[str] = []
        self._changes: dict[str, bool] | None = None
        self.encoded: bytes | None = None
        """The virtual host that it was made into last; None since it changed."""

    def put(self, domain: str) -> None:
        self._change(domain, True)

    def discard(self, domain: str) -> None:
        self._change(domain, False)

    def names(self) -> list[str]:
        """Sorted; not to be changed."""
        changes, self._changes = self._changes, None
        if changes is None:
            return self._names
        if len(changes) > _FEW:  # else a transaction of many would move the list's tail for each of them
            kept = {*self._names, *(name for name, held in changes.items() if held)}
            self._names = sorted(kept.difference(name for name, held in changes.items() if not held))
            return self._names
        for name, held in changes.items():
            place = bisect_left(self._names, name)
            there = place < len(self._names) and self._names[place] == name
            if held and not there:
                self._names.insert(place, name)
            elif there and not held:
                del self._names[place]
        return self._names

    def _change(self, domain: str, held: bool) -> None:
        self.encoded = None
        if self._changes is None:
            self._changes = {}
        self._changes[domain] = held


class RouteTables:
    """All domains, laid out in ``tables`` tables. `move` returns the numbers of the tables that changed.

    A share is encoded once and kept, so a move costs the two shares that it touches, whatever the table holds.
    """

    def __init__(self, tables: int) -> None:
        self._tables: list[dict[str, Share]] = [{} for _ in range(tables)]
        self._wildcards: dict[str, Share] = {}
        self._shells: dict[str, bytes] = {}
        self._heads: dict[int, bytes] = {}
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
        if not domain.startswith("*"):
            number = self.number_of(domain)
            _take(self._tables[number], domain, old, new)
            return (number,)
        _take(self._wildcards, domain, old, new)
        for table in self._tables:
            for pod in (old, new):
                if pod in table:
                    table[pod].encoded = None
        return range(len(self._tables))

    def shares(self, number: int) -> dict[str, list[str]]:
        """The pods of a table with their domains, wildcards included, both sorted."""
        pods = {*self._tables[number], *self._wildcards}
        return {pod: names for pod in sorted(pods) if (names := self._names(number, pod))}

    def encoded(self, number: int) -> bytes:
        """The table as an encoded RouteConfiguration; equal content gives equal bytes."""
        if number not in self._heads:
            self._heads[number] = bytes(route_table(number, {}))
        pods = sorted({*self._tables[number], *self._wildcards})
        return b"".join([self._heads[number], *(self._host(number, pod) for pod in pods)])

    def _host(self, number: int, pod: str) -> bytes:
        share = self._tables[number].get(pod) or self._wildcards[pod]
        if share.encoded is None:
            names = self._names(number, pod)
            if pod not in self._shells:
                self._shells[pod] = bytes(virtual_host(pod, ()))
            body = self._shells[pod] + b"".join([field(_DOMAINS, name.encode()) for name in names])
            share.encoded = field(_VIRTUAL_HOSTS, body) if names else b""
        return share.encoded

    def _names(self, number: int, pod: str) -> list[str]:
        own, wild = self._tables[number].get(pod), self._wildcards.get(pod)
        if wild is None:
            names = own.names() if own else []
            if own and not names:
                del self._tables[number][pod]
            return names
        return sorted({*(own.names() if own else ()), *wild.names()})


def _take(shares: dict[str, Share], domain: str, old: str | None, new: str | None) -> None:
    if old is not None:
        shares[old].discard(domain)
    if new is not None:
        if new not in shares:
            shares[new] = Share()
        shares[new].put(domain)

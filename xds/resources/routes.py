"""Route tables: which table a domain stands in, and each table as an encoded RouteConfiguration.

A table holds every domain whose first two characters are dealt to its number, as one virtual host per pod; of a pair of
characters that is crowded it holds those domains whose whole names hash to its number (`xds.resources.pairs`).
Wildcards have no known first characters and stand in every table. A domain's move so touches one table, however many
there are; two while its pair is between the one and the other.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost

from xds.delta import Content
from xds.resources.cold import POD_HEADER, TRANSFER_IDLE, unknown_host
from xds.resources.pairs import Pairs, Placement
from xds.resources.shares import Made, Share
from xds.resources.wire import field
from xds.slices import SLICE, Work, cut, drained

SCOPE_HEADER = "x-pointsman-scope"
"""The internal header that carries the scope key; overwritten at the edge and never sent to a pod."""

_DOMAINS = 2  # VirtualHost.domains
_VIRTUAL_HOSTS = 2  # RouteConfiguration.virtual_hosts

CROWDED = 3072
"""Domains of one pair of first characters, beyond which they stand in hashed tables only."""
SLICES = 32
"""Steps in which the hashed tables are filled: what else changes goes between them."""


Causes = dict[int, dict[str, Content]]
"""By number of a table: the domains that changed it, with where they were before."""


def _dealt() -> dict[str, int]:
    """The place of each pair among all, by how often names begin so, roughly: the usual ones first."""
    place = {character: number for number, character in enumerate(_USUAL, start=2)}
    pairs = (first + second for first in _USUAL for second in _USUAL)
    ordered = sorted(pairs, key=lambda pair: (place[pair[0]] * place[pair[1]], pair))
    return {pair: number for number, pair in enumerate(ordered)}


_USUAL = "esatcrimpnodblfgwhuvkjyxqz0123456789-."
_DEALT = _dealt()


def table_of(domain: str, tables: int) -> int:
    """The number, below ``tables``, of the table for a domain that is not a wildcard. Equal on every replica.

    Pairs are dealt to the tables in turn, to and fro, the usual ones first. By a hash some tables get none and others
    five, and a change costs its whole table.
    """
    round_, place = divmod(_DEALT.get(domain[:2].lower(), 0), tables)
    return tables - 1 - place if round_ % 2 else place


def hashed_table_of(host: str, tables: int) -> int:
    """The number of the table for a lower-case host whose pair is split: what the Lua filter makes of it."""
    return zlib.crc32(host.encode()) % tables


def table_name(number: int) -> str:
    return f"table-{number}"


def table_number(name: str) -> int:
    """The number of the table called ``name``."""
    return int(name.removeprefix("table-"))


def virtual_host(pod: str, domains: Iterable[str], idle: timedelta = TRANSFER_IDLE) -> VirtualHost:
    """One pod's share of a table: all its domains there, one catch-all route to the pod's cluster."""
    # No time-out of a whole answer, which large transfers outlast. The idle one takes the place of the manager's,
    # which ends a silent websocket or a download that is paused.
    action = RouteAction(cluster=pod, timeout=timedelta(0), idle_timeout=idle)
    return VirtualHost(name=pod, domains=list(domains), routes=[Route(match=RouteMatch(prefix="/"), route=action)])


def route_table(
    number: int, shares: Mapping[str, Iterable[str]], *, asking: bool = False, idle: timedelta = TRANSFER_IDLE
) -> RouteConfiguration:
    """The table as a dataclass: what `RouteTables.encoded` must equal, byte for byte once parsed. ``asking``: a host
    that isn't in it is asked for. ``idle``: for how long nothing may move on a request that is with a pod."""
    return RouteConfiguration(
        name=table_name(number),
        virtual_hosts=[
            *([unknown_host(idle)] if asking else []),
            *(virtual_host(pod, sorted(shares[pod]), idle) for pod in sorted(shares)),
        ],
        # While a host is asked for it may become known, and then its own virtual host takes the request.
        request_headers_to_remove=[SCOPE_HEADER, *([POD_HEADER] if asking else [])],
    )


@dataclass(frozen=True, slots=True)
class Step:
    """One step of pairs that are split or joined: the tables that changed, or the pairs whose scopes did."""

    tables: Collection[int] = ()
    pairs: Collection[str] = ()


class RouteTables:
    """All domains, laid out in ``tables`` tables. `move` and `apply` return the numbers of the tables that changed.

    A share is encoded once and kept, so a move costs the shares that it touches, whatever the table holds. ``asking``:
    a host that its table doesn't hold is asked for (`xds.resources.cold`). ``idle``: of every route to a pod.
    ``clock``: seconds that never go back.
    """

    def __init__(
        self,
        tables: int,
        crowded: int = CROWDED,
        *,
        asking: bool = False,
        idle: timedelta = TRANSFER_IDLE,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.asking = asking
        self._clock = clock
        self._idle = idle
        self.pairs = Pairs(tables, crowded)
        self._tables: list[dict[str, Share]] = [{} for _ in range(tables)]
        self._wildcards: dict[str, Share] = {}
        self._shells: dict[str, bytes] = {}
        self._heads: dict[int, bytes] = {}
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._tables)

    def number_of(self, host: str) -> int:
        """The table that answers for a host in lower case, which is not a wildcard."""
        if self.is_split(host[:2]):
            return hashed_table_of(host, len(self))
        return self._own(host[:2])

    def numbers_of(self, domain: str) -> Collection[int]:
        """The tables that a domain stands in, or would."""
        if domain.startswith("*"):
            return range(len(self))
        own = self._own(domain[:2])
        place = self.pairs.placed.get(domain[:2])
        if place is None:
            return (own,)
        hashed = hashed_table_of(domain, len(self))
        return {*((own,) if place.own else ()), *((hashed,) if hashed < place.hashed else ())}

    def is_split(self, pair: str) -> bool:
        """The pair's scopes lead to the re-scoping table."""
        place = self.pairs.placed.get(pair.lower())
        return place is not None and place.split

    @property
    def split_pairs(self) -> int:
        """How many pairs' scopes lead to the re-scoping table."""
        return sum(place.split for place in self.pairs.placed.values())

    def move(self, domain: str, old: str | None, new: str | None) -> Collection[int]:
        """Takes ``domain`` from pod ``old`` to pod ``new``; None stands for absent."""
        return self.apply({domain: (old, new)})

    def apply(self, moves: Mapping[str, tuple[str | None, str | None]]) -> Collection[int]:
        """Takes each domain from its old pod to its new one."""
        causes: Causes = {}
        drained(self.applying(moves, causes))
        return set(causes)

    def applying(self, moves: Mapping[str, tuple[str | None, str | None]], causes: Causes | None) -> Work[None]:
        """`apply` in slices, between which no table may be encoded. ``causes`` gets the domains that changed each
        table, with where they were before the first change that is noted there."""
        gains: dict[str, int] = {}
        for some in cut(moves.items()):
            for domain, (old, new) in some:
                if (old is None or new is None) and not domain.startswith("*"):
                    gains[domain[:2]] = gains.get(domain[:2], 0) + (1 if old is None else -1)
            if len(some) == SLICE:
                yield
        for pair in self.pairs.count(gains):
            for number in self._fill(pair, len(self)):
                if causes is not None:
                    causes.setdefault(number, {})
            yield
        for some in cut(moves.items()):
            for domain, (old, new) in some:
                numbers = self._move(domain, old, new)
                if causes is not None:
                    for number in numbers:
                        causes.setdefault(number, {}).setdefault(domain, old)
            if len(some) == SLICE:
                yield
        for pair in gains:
            self.pairs.tidy(pair)

    def step(self) -> Step | None:
        """Takes the next step of pairs that are to be split or joined; None when there is none.

        The one before must be at every Envoy: what is led to comes before what leads to it, and goes after it.
        """
        while (step := self._step()) is not None:
            if step.tables or step.pairs:
                return step
        return None

    def _step(self) -> Step | None:
        placed = self.pairs.placed
        every, slice_ = len(self), -(-len(self) // SLICES)
        if jumped := [place for place in placed.values() if place.jumped]:
            for place in jumped:
                place.jumped = False
            return Step(tables=range(every))  # as they are: they must be at every Envoy, like those of any step
        if fill := [pair for pair, place in placed.items() if place.wants_hashed and place.hashed < every]:
            until = min(every, min(placed[pair].hashed for pair in fill) + slice_)
            return Step(tables={n for pair in fill if placed[pair].hashed < until for n in self._fill(pair, until)})
        if bring := [pair for pair, place in placed.items() if place.wants_own and not place.complete]:
            return Step(tables={n for pair in bring for n in self._bring(pair)})
        if lead := [pair for pair, place in placed.items() if place.wants_split is not place.split]:
            for pair in lead:
                placed[pair].split = placed[pair].wants_split
            return Step(pairs=lead)
        if clear := [pair for pair, place in placed.items() if place.split and place.own and not place.wants_own]:
            return Step(tables={n for pair in clear for n in self._clear(pair)})
        if empty := [pair for pair, place in placed.items() if place.hashed and not place.wants_hashed]:
            until = max(0, max(placed[pair].hashed for pair in empty) - slice_)
            return Step(tables={n for pair in empty if placed[pair].hashed > until for n in self._empty(pair, until)})
        return None

    def _fill(self, pair: str, until: int) -> set[int]:
        """Puts the pair's domains into the hashed tables below ``until``."""
        place, own = self.pairs.placed[pair], self._own(pair)
        before, place.hashed = place.hashed, until
        touched = set()
        for domain, pod in self._members(pair, (own,)):
            number = hashed_table_of(domain, len(self))
            if before <= number < until and number != own:
                _take(self._tables[number], domain, None, pod)
                touched.add(number)
        return touched

    def _empty(self, pair: str, until: int) -> set[int]:
        """Takes the pair's domains out of the hashed tables from ``until`` on."""
        place, own = self.pairs.placed[pair], self._own(pair)
        before, place.hashed = place.hashed, until
        touched = set()
        for domain, pod in self._members(pair, (own,)):
            number = hashed_table_of(domain, len(self))
            if until <= number < before and number != own:
                _take(self._tables[number], domain, pod, None)
                touched.add(number)
        self.pairs.tidy(pair)
        return touched

    def _bring(self, pair: str) -> set[int]:
        """Puts the pair's domains into its own table."""
        place, own = self.pairs.placed[pair], self._own(pair)
        place.own = place.whole = True
        table = self._tables[own]
        absent = [
            (domain, pod)
            for domain, pod in self._members(pair, range(len(self)))
            if pod not in table or domain not in table[pod]
        ]
        for domain, pod in absent:
            _take(table, domain, None, pod)
        return {own} if absent else set()

    def _clear(self, pair: str) -> set[int]:
        """Takes the pair's domains out of its own table, but for those that hash to it."""
        place, own = self.pairs.placed[pair], self._own(pair)
        place.own, place.whole = False, True
        gone = [
            (domain, pod) for domain, pod in self._members(pair, (own,)) if hashed_table_of(domain, len(self)) != own
        ]
        for domain, pod in gone:
            _take(self._tables[own], domain, pod, None)
        return {own} if gone else set()

    def _members(self, pair: str, numbers: Iterable[int]) -> list[tuple[str, str]]:
        """The pair's domains in these tables, with their pods."""
        return [
            (domain, pod)
            for number in numbers
            for pod, share in self._tables[number].items()
            for domain in share.beginning(pair)
        ]

    def _own(self, pair: str) -> int:
        number = self._numbers.get(pair)
        if number is None:
            number = self._numbers[pair] = table_of(pair, len(self))
        return number

    def _move(self, domain: str, old: str | None, new: str | None) -> Collection[int]:
        if domain.startswith("*"):
            _take(self._wildcards, domain, old, new)
            for table in self._tables:
                for pod in (old, new):
                    if pod in table:
                        table[pod].outdate()
            return range(len(self))
        place = self.pairs.placed.get(domain[:2])
        if place is None:
            number = self._own(domain[:2])
            _take(self._tables[number], domain, old, new)
            return (number,)
        numbers = self.numbers_of(domain)
        for number in numbers:
            if self._belongs(domain, old, number, place):
                _take(self._tables[number], domain, old, new)
        return numbers

    def _belongs(self, domain: str, old: str | None, number: int, place: Placement) -> bool:
        """Whether a table that may hold the domain does, or should: one that isn't whole takes none that is new."""
        if place.whole or hashed_table_of(domain, len(self)) == number:
            return True
        return old is not None and old in self._tables[number] and domain in self._tables[number][old]

    def prepare(self, pod: str) -> None:
        """Encodes what all virtual hosts of a pod begin with: a millisecond or two for each pod, once."""
        if pod not in self._shells:
            self._shells[pod] = bytes(virtual_host(pod, (), self._idle))

    def listed(self, number: int, pod: str = "") -> Iterator[tuple[str, list[str]]]:
        """The pods of a table with their domains, without wildcards, sorted by domain; only ``pod``, if it is given.
        ``number`` beyond the last table: those of the wildcards."""
        held = self._wildcards if number >= len(self) else self._tables[number]
        for name in [pod] if pod else [*held]:
            if name in held:
                yield name, held[name].names()

    def numbers_beginning(self, pair: str) -> Collection[int]:
        """The tables that answer for hosts which begin so."""
        return range(len(self)) if self.is_split(pair) else (self._own(pair),)

    def shares(self, number: int) -> dict[str, list[str]]:
        """The pods of a table with their domains, wildcards included, both sorted."""
        pods = {*self._tables[number], *self._wildcards}
        return {pod: names for pod in sorted(pods) if (names := self._names(number, pod))}

    def encoded(self, number: int) -> bytes:
        """The table as an encoded RouteConfiguration; equal content gives equal bytes."""
        if number not in self._heads:
            self._heads[number] = bytes(route_table(number, {}, asking=self.asking, idle=self._idle))
        pods = sorted({*self._tables[number], *self._wildcards})
        now = self._clock()
        return b"".join([self._heads[number], *(self._host(number, pod, now) for pod in pods)])

    def made(self, number: int, pod: str) -> Made | None:
        """The pod's virtual host as it was encoded last; None when it has none there, or it changed since."""
        share = self._tables[number].get(pod) or self._wildcards.get(pod)
        return share.made if share else None

    def _host(self, number: int, pod: str, now: float) -> bytes:
        share = self._tables[number].get(pod) or self._wildcards[pod]
        if share.encoded is None:
            names = self._names(number, pod)
            self.prepare(pod)
            body = self._shells[pod] + b"".join([field(_DOMAINS, name.encode()) for name in names])
            share.become(field(_VIRTUAL_HOSTS, body) if names else b"", now)
        assert share.encoded is not None
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

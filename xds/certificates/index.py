"""Which certificates there are and whose names they cover, a few hundred bytes each; which can't be used, and why.

Pure state: what was read goes in. Chains and keys aren't held here, and what is stays out of the garbage collector's
sight: with a hundred thousand certificates its rounds would take 200 ms.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec
from msgspec import structs

from xds.certificates.checks import Facts
from xds.certificates.layouts import Place

_DAY = 86_400.0


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A certificate that can be used. ``stamp`` differs when a file of it does. ``readable``: every user of the machine
    may read the key's file. ``checked``: the key and the whole chain were, too. ``staple``: why an OCSP response
    that is there isn't used; ``staple_ends``: when one that is used does, in seconds since 1970, 0 for none. ``since``:
    when this leaf was found to be that of its name, in seconds since 1970; ``first``: that was at the start, so that it
    may have been so before."""

    place: Place
    facts: Facts
    stamp: int = 0
    readable: bool = False
    checked: bool = False
    staple: str = ""
    staple_ends: float = 0.0
    since: float = 0.0
    first: bool = True


class Aside(msgspec.Struct, frozen=True, gc=False):
    """Why a certificate isn't used as it is now; ``kind`` is one word."""

    kind: str
    reason: str
    stamp: int = 0


class Index:
    """``complete`` since every certificate of the folder was looked at once."""

    def __init__(self) -> None:
        self.complete = False
        self._entries: dict[str, Entry] = {}
        self._hosts: dict[str, str | tuple[str, ...]] = {}
        """The certificates of a host, nearly always one: by its name alone."""
        self._aside: dict[str, Aside] = {}
        self._expiring: dict[int, set[str]] = {}
        """The names by the day, since 1970, on which they expire."""
        self._readable: set[str] = set()
        self._over: set[str] = set()
        """Those at their end that are in use still."""
        self._stapled: set[str] = set()
        self._unstapled: set[str] = set()
        self._staples: list[tuple[float, str]] = []
        """A heap of when responses end, also of such as aren't used any more."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def get(self, name: str) -> Entry | None:
        return self._entries.get(name)

    @property
    def aside(self) -> Mapping[str, Aside]:
        return self._aside

    def put(self, entry: Entry, now: float) -> None:
        """It is used from now on, and no more set aside. ``now``: seconds since 1970."""
        name = entry.place.name
        before = self._entries.get(name)
        if before is not None and before.facts == entry.facts:
            since, first = before.since, before.first
        else:
            since, first = now, before is None and not self.complete
        entry = structs.replace(entry, since=since, first=first)
        self._aside.pop(name, None)
        self._entries[name] = entry
        if before is None or before.facts.names != entry.facts.names:
            if before is not None:
                self._forget_hosts(name, before)
            for host in entry.facts.names:
                self._hosts[host] = (*self._of(host), name) if host in self._hosts else name
        if before is not None:
            self._forget_day(name, before)
        self._expiring.setdefault(_day(entry), set()).add(name)
        self._over.discard(name)
        (self._readable.add if entry.readable else self._readable.discard)(name)
        (self._unstapled.add if entry.staple else self._unstapled.discard)(name)
        (self._stapled.add if entry.staple_ends else self._stapled.discard)(name)
        if entry.staple_ends and (before is None or before.staple_ends != entry.staple_ends):
            heapq.heappush(self._staples, (entry.staple_ends, name))

    def put_aside(self, name: str, aside: Aside, *, keep: bool) -> None:
        """``keep``: the one from before is in use and stays so."""
        if not keep:
            self._remove_entry(name)
        self._aside[name] = aside

    def remove(self, name: str) -> None:
        self._aside.pop(name, None)
        self._remove_entry(name)

    def covering(self, host: str) -> Entry | None:
        """The certificate for a host: one that isn't at its end, with the very name before one with a wildcard, then
        that which lasts longest."""
        exact = self._of(host)
        if len(exact) == 1 and exact[0] not in self._over:
            return self._entries[exact[0]]
        names = (*exact, *self._of("*." + host.partition(".")[2]))

        def rank(name: str) -> tuple[bool, bool, float]:
            return name not in self._over, name in exact, self._entries[name].facts.not_after

        best = max(names, key=rank, default=None)
        return None if best is None else self._entries[best]

    def ended(self, now: float) -> list[Entry]:
        """Those that came to their end since this was asked last."""
        today = int(now // _DAY)
        days = [self._expiring[day] for day in self._expiring if day <= today]
        found = [self._entries[name] for names in days for name in names if name not in self._over]
        found = [entry for entry in found if entry.facts.not_after <= now]
        self._over.update(entry.place.name for entry in found)
        return found

    def staples_over(self, now: float) -> list[str]:
        """Those whose OCSP response ended since this was asked last."""
        found: list[str] = []
        while self._staples and self._staples[0][0] <= now:
            ends, name = heapq.heappop(self._staples)
            entry = self._entries.get(name)
            if entry is not None and entry.staple_ends == ends:
                found.append(name)
        return found

    def soonest(self, count: int, after: tuple[int, str] | None = None) -> list[Entry]:
        """Those that expire first; ``after``: of those that follow the one with this `ending`."""
        found: list[Entry] = []
        first = after[0] // int(_DAY) if after else 0
        for day in sorted(day for day in self._expiring if not after or day >= first):
            if len(found) >= count:
                break
            of_day = (self._entries[name] for name in self._expiring[day])
            if after and day == first:
                of_day = (entry for entry in of_day if ending(entry) > after)
            found += heapq.nsmallest(count - len(found), of_day, key=ending)
        return found

    def expiring(self, before: Iterable[float]) -> list[int]:
        """How many expire before each of these times."""
        counts = []
        for time in before:
            today = int(time // _DAY)
            whole = sum(len(names) for day, names in self._expiring.items() if day < today)
            part = sum(1 for name in self._expiring.get(today, ()) if self._entries[name].facts.not_after < time)
            counts.append(whole + part)
        return counts

    @property
    def readable(self) -> Collection[str]:
        """Whose key others may read."""
        return self._readable

    @property
    def stapled(self) -> Collection[str]:
        """That are shown with an OCSP response, as far as they were checked."""
        return self._stapled

    @property
    def unstapled(self) -> Collection[str]:
        """That have an OCSP response which isn't used."""
        return self._unstapled

    def reasons(self) -> Mapping[str, int]:
        """How many are set aside, by kind."""
        return Counter(aside.kind for aside in self._aside.values())

    def _of(self, host: str) -> tuple[str, ...]:
        found = self._hosts.get(host, ())
        return (found,) if isinstance(found, str) else found

    def _remove_entry(self, name: str) -> None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._forget_hosts(name, entry)
            self._forget_day(name, entry)
            for names in (self._readable, self._over, self._stapled, self._unstapled):
                names.discard(name)

    def _forget_day(self, name: str, entry: Entry) -> None:
        day = _day(entry)
        self._expiring[day].discard(name)
        if not self._expiring[day]:
            del self._expiring[day]

    def _forget_hosts(self, name: str, entry: Entry) -> None:
        for host in entry.facts.names:
            others = tuple(other for other in self._of(host) if other != name)
            if others:
                self._hosts[host] = others
            else:
                self._hosts.pop(host, None)


def ending(entry: Entry) -> tuple[int, str]:
    """By which certificates are sorted: the second in which it expires, and its name."""
    return int(entry.facts.not_after), entry.place.name


def _day(entry: Entry) -> int:
    return int(entry.facts.not_after // _DAY)

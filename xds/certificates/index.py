"""Which certificates there are and whose names they cover, a few hundred bytes each; which can't be used, and why.

Pure state: what was read goes in. Chains and keys aren't held here, and what is stays out of the garbage collector's
sight: with a hundred thousand certificates its rounds would take 200 ms.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from xds.certificates.checks import Facts
from xds.certificates.layouts import Place

_DAY = 86_400.0


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A certificate that can be used. ``stamp`` differs when a file of it does. ``readable``: others than its owner
    may read the key's file. ``checked``: the key and the whole chain were, too."""

    place: Place
    facts: Facts
    stamp: int = 0
    readable: bool = False
    checked: bool = False
    staple: str = ""


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

    def put(self, entry: Entry) -> None:
        """It is used from now on, and no more set aside."""
        name = entry.place.name
        before = self._entries.get(name)
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
        (self._readable.add if entry.readable else self._readable.discard)(name)

    def put_aside(self, name: str, aside: Aside, *, keep: bool) -> None:
        """``keep``: the one from before is in use and stays so."""
        if not keep:
            self._remove_entry(name)
        self._aside[name] = aside

    def remove(self, name: str) -> None:
        self._aside.pop(name, None)
        self._remove_entry(name)

    def covering(self, host: str) -> Entry | None:
        """The certificate for a host: one with the very name before one with a wildcard, then that which lasts
        longest."""
        names = self._of(host) or self._of("*." + host.partition(".")[2])
        return max((self._entries[name] for name in names), key=lambda entry: entry.facts.not_after, default=None)

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
            self._readable.discard(name)

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

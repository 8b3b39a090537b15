"""One pod's domains in one table, and the virtual host that they are made into."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from dataclasses import dataclass

_FEW = 16  # changes of a share that are cheaper one by one


@dataclass(frozen=True, slots=True)
class Made:
    """A virtual host. ``version`` is a hash of it, equal on every replica; ``at``: since when it is so."""

    version: str
    at: float


class Share:
    """One pod's domains in one table: a sorted list, the changes that aren't in it yet, and its encoded form."""

    __slots__ = ("_before", "_changes", "_names", "encoded", "since")

    def __init__(self) -> None:
        self._names: list[str] = []
        self._changes: dict[str, bool] | None = None
        self._before: int | None = None
        """The hash of the virtual host before it changed."""
        self.encoded: bytes | None = None
        """The virtual host that it was made into last; None since it changed."""
        self.since = 0.0
        """When it first was as it is."""

    @property
    def made(self) -> Made | None:
        """The virtual host; None when it has none, or it changed since."""
        if not self.encoded:
            return None
        return Made(hashlib.blake2b(self.encoded, digest_size=8).hexdigest(), self.since)

    def become(self, encoded: bytes, now: float) -> None:
        """It was made into that virtual host, which may be the one before."""
        if self._before is None or hash(encoded) != self._before:
            self.since = now
        self._before, self.encoded = None, encoded

    def outdate(self) -> None:
        """It is to be made into a virtual host anew."""
        if self.encoded is not None:
            self._before, self.encoded = hash(self.encoded), None

    def put(self, domain: str) -> None:
        self._change(domain, True)

    def discard(self, domain: str) -> None:
        self._change(domain, False)

    def __contains__(self, domain: str) -> bool:
        if self._changes is not None and domain in self._changes:
            return self._changes[domain]
        place = bisect_left(self._names, domain)
        return place < len(self._names) and self._names[place] == domain

    def beginning(self, pair: str) -> list[str]:
        """The names that begin so."""
        names = self.names()
        return names[bisect_left(names, pair) : bisect_left(names, pair + "\x7f")]

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
        self.outdate()
        if self._changes is None:
            self._changes = {}
        self._changes[domain] = held

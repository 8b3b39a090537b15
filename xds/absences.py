"""The Envoys that left a moment ago: each may still serve by what it had, until it is back or its grace time is over.

An Envoy is known by who it is, its node with the part of it that a stream is for. Pure; times are handed in.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Absent:
    """``position``: the newest mark up to which it had everything when it left. ``left``: when that was."""

    number: int
    node: str
    who: Hashable
    position: int
    left: float


class Absences:
    """``grace``: seconds after which an Envoy isn't waited for any more. ``most``: that are remembered; beyond them the
    one that is gone the longest isn't waited for either."""

    def __init__(self, grace: float, most: int = 10_000) -> None:
        self._grace = grace
        self._most = most
        self._all: dict[int, Absent] = {}
        """By number, in the order in which they left."""
        self._of: dict[Hashable, dict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Absent]:
        return iter(self._all.values())

    def add(self, absent: Absent) -> None:
        self._all[absent.number] = absent
        self._of.setdefault(absent.who, {})[absent.number] = None

    def returned(self, who: Hashable) -> Absent | None:
        """The one that came back, no longer absent: of several of that name the one that left first."""
        numbers = self._of.get(who)
        return self._drop(next(iter(numbers))) if numbers else None

    def lacks(self, who: Hashable, mark: int) -> bool:
        """Whether one of that name lacked something up to ``mark`` when it left."""
        return any(self._all[number].position < mark for number in self._of.get(who, ()))

    def over(self, at: float) -> list[Absent]:
        """Those that aren't waited for any more, no longer absent."""
        found = []
        while self._all:
            first = next(iter(self._all.values()))
            if first.left + self._grace > at and len(self._all) <= self._most:
                break
            found.append(self._drop(first.number))
        return found

    def _drop(self, number: int) -> Absent:
        absent = self._all.pop(number)
        numbers = self._of[absent.who]
        del numbers[number]
        if not numbers:
            del self._of[absent.who]
        return absent

"""Which names were asked for most of late, in bounded memory. Pure.

It outlives the Envoys that asked: the next one may be given the busiest names before a client comes.
"""

from __future__ import annotations

import heapq


class Busiest:
    """``capacity``: names that are counted at a time, at most."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._counts: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def asked(self, name: str, weight: float = 1.0) -> None:
        """``weight``: for how long it was given. Who holds a name for longer asks for it less often."""
        self._counts[name] = self._counts.get(name, 0.0) + weight
        if len(self._counts) > self._capacity:
            self._counts = {kept: self._counts[kept] for kept in self.top(max(1, self._capacity // 2))}

    def fade(self) -> None:
        """All counts are halved, and what is hardly asked for is forgotten."""
        self._counts = {name: count / 2 for name, count in self._counts.items() if count >= 1}

    def top(self, number: int) -> list[str]:
        """The busiest first."""
        return heapq.nsmallest(number, self._counts, key=lambda name: (-self._counts[name], name))

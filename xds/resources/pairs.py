"""Pairs of first characters: how many domains each has, and whether it is so crowded that it is to be split.

A pair is *split* when its scopes lead to the re-scoping table, and its domains stand in the tables that their whole
names hash to. On the way there and back they stand in both, the pair's own table and the hashed ones. How far a pair
is on that way follows from its number of domains, with marks in eighths of ``crowded`` of which the first of each two
is for the way back:

    3, 4   its domains stand in the hashed tables too
    5, 6   its scopes lead there
    7, 8   its domains don't stand in its own table any more

So between two replicas that saw the same directory, or before and after a restart, at most the scopes differ, and they
lead to tables that hold the domains, whichever of the two an Envoy has them from.
"""

from __future__ import annotations

from collections.abc import Mapping

JUMP = 2
"""A pair that comes to more than this many times ``crowded`` in one transaction is never laid out in its own table."""


class Placement:
    """Where a pair's domains stand, and where they should. ``own``: in the pair's own table; ``whole``: all of them
    do, else ``hashed`` is all tables. ``hashed``: in the tables below this number that they hash to. ``jumped``: they
    came there with other changes, and not in a step. ``split``: the pair's scopes lead there."""

    __slots__ = ("hashed", "jumped", "own", "split", "wants_hashed", "wants_own", "wants_split", "whole")

    def __init__(self) -> None:
        self.own = self.whole = self.wants_own = True
        self.split = self.jumped = self.wants_split = self.wants_hashed = False
        self.hashed = 0

    @property
    def complete(self) -> bool:
        """The pair's own table holds all of its domains."""
        return self.own and self.whole

    @property
    def ordinary(self) -> bool:
        """As a pair is without a placement."""
        return self.complete and self.wants_own and not (self.split or self.hashed or self.wants_hashed)

    def count(self, domains: int, crowded: int) -> None:
        """So many domains it has now."""
        eighths = 8 * domains
        self.wants_hashed = eighths > (3 if self.wants_hashed else 4) * crowded
        self.wants_split = eighths > (5 if self.wants_split else 6) * crowded
        self.wants_own = eighths <= (8 if self.wants_own else 7) * crowded


class Pairs:
    """The pairs that have a placement of their own are few; the others stand in their own tables alone."""

    def __init__(self, tables: int, crowded: int) -> None:
        self.crowded = crowded
        self.placed: dict[str, Placement] = {}
        self._tables = tables
        self._counts: dict[str, int] = {}
        self._fresh = True

    def count(self, gains: Mapping[str, int]) -> list[str]:
        """Takes by how much each pair grew; returns the pairs that are to be filled into the hashed tables at once,
        and whose own tables take no new domains from now on. The first time all is laid out as it should be."""
        if self._tables == 1:
            return []  # there is nothing to be gained
        fresh, self._fresh = self._fresh, False
        jumped = []
        for pair, gain in gains.items():
            domains = self._counts[pair] = self._counts.get(pair, 0) + gain
            place = self.placed.get(pair)
            if place is None:
                if 8 * domains <= (3 if fresh else 4) * self.crowded:
                    continue
                place = self.placed[pair] = Placement()
            if fresh:
                # What is between two marks stands as if it had been split before: so it may be at an Envoy.
                place.wants_hashed = place.wants_split = True
                place.count(domains, self.crowded)
                place.own = place.wants_own
                place.hashed = self._tables
                place.split = place.wants_split
                continue
            place.count(domains, self.crowded)
            if place.complete and not place.split and domains > JUMP * self.crowded:
                place.whole, place.jumped = False, True
                jumped.append(pair)
        return jumped

    def tidy(self, pair: str) -> None:
        """Forgets the placement of a pair that is as it would be without."""
        place = self.placed.get(pair)
        if place is not None and place.ordinary:
            del self.placed[pair]

"""The Envoys that take what is published: who is here, who left a moment ago, and up to which publish each has all.

Of each one number is kept, its position: the newest mark up to which it has everything. Pure; times are handed in.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import islice

from xds.absences import Absences, Absent

OVERLAP = 60.0
"""Seconds for which a connection may seem to live while its Envoy has another one already: the time until a ping that
nobody answers ends it, and some more."""
_GONE = 2_000
"""Names of Envoys that left that are remembered, for traces."""


@dataclass(slots=True, eq=False)
class Taker:
    """An Envoy that is here. ``who``: its node, with the part of it that its stream is for."""

    number: int
    node: str
    who: Hashable
    joined: float
    target: int
    """The latest publish when it came: until it has that, it is joining."""
    owed: int
    """What it is taken to have while it hasn't said: the latest publish when it came, or what it had when it left."""
    position: int = -1
    serves: bool = False
    """It has asked for routes."""
    followed: bool = False
    """It is known as the return of one that left."""

    @property
    def had(self) -> int:
        """What it is taken to have, when it leaves."""
        return self.position if self.position >= 0 else self.owed

    def follows(self, mark: int) -> None:
        """It is the return of one that had everything up to ``mark``."""
        self.followed = True
        self.owed = min(self.owed, mark)


class Takers:
    """``grace``: seconds for which one that left is waited for."""

    def __init__(self, grace: float) -> None:
        self.absent = Absences(grace)
        self.behind: dict[Hashable, None] = {}
        """Those that lack the latest publish."""
        self.joining: dict[Hashable, None] = {}
        """Those that haven't said yet what they have."""
        self._here: dict[Hashable, Taker] = {}
        self._of: dict[Hashable, dict[Hashable, None]] = {}
        """Those that are here, by who they are, in the order in which they came."""
        self._having: list[int] = []
        """The positions of those that serve, in order."""
        self._names: dict[int, str] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._here)

    def get(self, key: Hashable) -> Taker | None:
        return self._here.get(key)

    def name_of(self, number: int) -> str:
        """The node id of an Envoy that is or was here."""
        return self._names.get(number, "")

    def having(self, mark: int) -> int:
        """How many have everything up to it, of those that have asked for routes."""
        return len(self._having) - bisect_left(self._having, mark)

    def lacking(self, mark: int, since: float) -> Iterator[Hashable]:
        """Those that came by then and lack something up to ``mark``."""
        return (key for key, taker in self._here.items() if taker.position < mark and taker.joined <= since)

    def without(self, mark: int) -> Iterator[str]:
        """The nodes of those that are here and lack something up to ``mark``: who lacks that lacks the latest, too."""
        return (taker.node for key in self.behind if (taker := self._here[key]).position < mark)

    def lacks(self, who: Hashable, mark: int) -> bool:
        """Whether that Envoy, here or gone for a time, lacks something up to ``mark``."""
        here = any(self._here[key].position < mark for key in self._of.get(who, ()))
        return here or self.absent.lacks(who, mark)

    def published(self, mark: int) -> int:
        """How many lack it now; they are behind."""
        self.behind = {key: None for key, taker in self._here.items() if taker.position < mark}
        return len(self.behind)

    def joined(self, key: Hashable, node: str, part: str, at: float, latest: int) -> Taker:
        self._count += 1
        who = node, part
        taker = self._here[key] = Taker(self._count, node, who, at, latest, latest)
        self._of.setdefault(who, {})[key] = None
        self._names[self._count] = node
        self.behind[key] = self.joining[key] = None
        if len(self._names) > len(self._here) + len(self.absent) + _GONE:
            known = {one.number for some in (self._here.values(), self.absent) for one in some}
            for number in [number for number in islice(self._names, _GONE // 2) if number not in known]:
                del self._names[number]
        return taker

    def left(self, key: Hashable) -> Taker | None:
        taker = self._here.pop(key, None)
        if taker is None:
            return None
        self.behind.pop(key, None)
        self.joining.pop(key, None)
        if taker.serves:
            del self._having[bisect_left(self._having, taker.position)]
        others = self._of[taker.who]
        del others[key]
        if not others:
            del self._of[taker.who]
        return taker

    def follower(self, gone: Taker, at: float) -> Taker | None:
        """The one as which it was back before it was seen to have left: the newest that isn't another one's return."""
        for key in reversed(self._of.get(gone.who, {})):
            one = self._here[key]
            if one.number > gone.number and not one.followed and at - one.joined < OVERLAP:
                return one
        return None

    def leaves_for_a_time(self, gone: Taker, at: float) -> None:
        self.absent.add(Absent(gone.number, gone.node, gone.who, gone.had, at))

    def reached(self, key: Hashable, mark: int, latest: int, *, serves: bool) -> None:
        """It has everything up to ``mark``; ``latest`` is the latest publish's. ``serves``: it has asked for routes."""
        taker = self._here[key]
        position = max(mark, taker.position)
        if position == taker.position and serves <= taker.serves:
            return
        if taker.serves:
            del self._having[bisect_left(self._having, taker.position)]
        taker.position, taker.serves = position, taker.serves or serves
        if taker.serves:
            insort(self._having, position)
        if position >= taker.target:
            self.joining.pop(key, None)
        if position >= latest:
            self.behind.pop(key, None)

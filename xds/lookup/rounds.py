"""What is asked again, and when: all known hosts in turn, evenly over the refresh time, or as fast as the rate lets.

Where a round takes longer than the refresh time, every second question is for a busy host, as long as one is due; and
at most every fourth for a host that is to be asked at its own time (`at`). Pure: time is handed in, in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

_SKIPPED = 1_000
_TOGETHER = 100
_LATE = 0.05
MARGIN = 0.9
"""Of the refresh time a round takes so much, so that an answer and the push have their time, too."""
_WINDOW, _PART = 60.0, 5.0
"""Seconds over which it is looked how long a round takes, and those of each part of them."""


class _Pace:
    """How much longer than planned the questions take that are a round: some are for busy hosts, and a slow GDS keeps
    the next ones waiting."""

    def __init__(self) -> None:
        self._parts: deque[list[float]] = deque()
        """When each began, and the seconds that were planned for its questions."""

    def asked(self, now: float, planned: float) -> None:
        if not self._parts or now - self._parts[-1][0] >= _PART:
            self._parts.append([now, 0.0])
        self._parts[-1][1] += planned
        self._forget(now)

    def factor(self, now: float, planned: float) -> float:
        """``planned``: of one question."""
        self._forget(now)
        if not self._parts:
            return 1.0
        return max(1.0, (now - self._parts[0][0]) / (sum(part[1] for part in self._parts) + planned))

    def _forget(self, now: float) -> None:
        while len(self._parts) > 1 and now - self._parts[1][0] >= _WINDOW:
            self._parts.popleft()


class Rounds:
    """The host that was asked longest ago is next. ``rate``: questions a second, at most."""

    def __init__(self, refresh: float, rate: float) -> None:
        self.refresh = refresh
        """Seconds in which each should be asked again."""
        self._refresh = refresh * MARGIN
        self._least = 1 / rate
        self._queue: deque[str] = deque()
        self._known: set[str] = set()
        self._gone: set[str] = set()
        """Hosts that are known no more and still have their place in the queue."""
        self._busy: dict[str, float] = {}
        """When each was asked, the oldest first."""
        self._at_time: dict[str, tuple[float, int]] = {}
        """When each is to be asked besides, the earliest first, and how many questions there must have been by then."""
        self._asked = 0
        self._turn = 0
        self._pace = _Pace()
        self._last = self._free = float("-inf")
        """When the latest of the round was due; and when the rate allows for any."""

    def __len__(self) -> int:
        return len(self._known)

    def seconds(self, now: float) -> float:
        """How long a round takes, as the questions of the last minute went."""
        return self._planned * self._pace.factor(now, self._between)

    @property
    def _planned(self) -> float:
        return len(self) * self._between

    @property
    def _between(self) -> float:
        return max(self._refresh / len(self), self._least) if len(self) else self._refresh

    def add(self, host: str) -> None:
        """It is known from now on; it has just been asked."""
        if host in self._known:
            return
        if not self._known:
            self._pace = _Pace()  # nothing was asked, as there was nothing
        self._known.add(host)
        if host in self._gone:
            self._gone.discard(host)
        else:
            self._queue.append(host)

    def drop(self, host: str) -> None:
        """It isn't known any more."""
        if host in self._known:
            self._known.discard(host)
            self._gone.add(host)
            self._busy.pop(host, None)
            self._at_time.pop(host, None)

    def at(self, host: str, when: float, others: int) -> None:
        """It is asked then, too, once, when so many others were asked meanwhile; neither is less than before."""
        if host in self._known:
            self._at_time.setdefault(host, (when, self._asked + others))

    def not_at(self, host: str) -> None:
        """What it was to be asked for is known."""
        self._at_time.pop(host, None)

    def favour(self, hosts: Iterable[str]) -> None:
        """These are the busy ones, as far as they are known."""
        busy = {host: None for host in hosts if host in self._known}
        fresh = {host: float("-inf") for host in busy if host not in self._busy}
        self._busy = fresh | {host: at for host, at in self._busy.items() if host in busy}

    def wait(self, now: float) -> float:
        """Seconds until `next` has a host, if none is added meanwhile."""
        if not len(self):
            return self._refresh
        due = min([self._last + self._between, *(when for when, asked in self._first() if asked <= self._asked)])
        return max(0.0, due - now, self._free - now)

    def next(self, now: float, known: Callable[[str], bool]) -> str | None:
        """The host to be asked now; None when it isn't time yet, or there is none. Who isn't ``known`` any more loses
        its place."""
        if not len(self) or self.wait(now) > 0:
            return None
        # Much time that was lost isn't made up for: the questions would come in a crowd.
        self._free = max(self._free, now - _LATE) + self._least
        regular = self._last + self._between <= now
        self._turn = (self._turn + 1) % 4
        host = self._of_its_time(now, known) if not regular or self._turn == 0 else None
        if host is None and regular:
            host = self._of_the_round(now, known)
        self._asked += host is not None
        return host

    def _of_the_round(self, now: float, known: Callable[[str], bool]) -> str | None:
        between = self._between
        self._last = max(self._last + between, now - _LATE)
        if self._turn % 2 and (host := self._busy_due(now)) is not None:
            return host
        self._pace.asked(now, between)
        for _ in range(min(len(self._queue), _SKIPPED)):
            host = self._queue.popleft()
            if host in self._gone:
                self._gone.discard(host)
            elif known(host):
                self._queue.append(host)
                return host
            else:
                self._known.discard(host)
        return None

    def _first(self) -> list[tuple[float, int]]:
        return [*islice(self._at_time.values(), 1)]

    def _of_its_time(self, now: float, known: Callable[[str], bool]) -> str | None:
        for host, (when, asked) in [*islice(self._at_time.items(), _TOGETHER)]:
            if when > now or asked > self._asked:
                return None
            del self._at_time[host]
            if known(host):
                return host
        return None

    def _busy_due(self, now: float) -> str | None:
        if not self._busy or self._planned <= self._refresh * 1.01:
            return None
        host = next(iter(self._busy))
        if now - self._busy[host] < self._refresh:
            return None
        del self._busy[host]
        self._busy[host] = now
        return host

"""What is asked again, and when: all known hosts in turn, evenly over the refresh time, or as fast as the rate lets.

Where a round takes longer than the refresh time, every second question is for a busy host, as long as one is due. Pure:
time is handed in, in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

_SKIPPED = 1_000
_LATE = 0.05
MARGIN = 0.9
"""Of the refresh time a round takes so much, so that an answer and the push have their time, too."""


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
        self._busy_turn = False
        self._at = float("-inf")

    def __len__(self) -> int:
        return len(self._known)

    @property
    def seconds(self) -> float:
        """How long a round takes."""
        return len(self) * self._between

    @property
    def _between(self) -> float:
        return max(self._refresh / len(self), self._least) if len(self) else self._refresh

    def add(self, host: str) -> None:
        """It is known from now on; it has just been asked."""
        if host in self._known:
            return
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

    def favour(self, hosts: Iterable[str]) -> None:
        """These are the busy ones, as far as they are known."""
        busy = {host: None for host in hosts if host in self._known}
        fresh = {host: float("-inf") for host in busy if host not in self._busy}
        self._busy = fresh | {host: at for host, at in self._busy.items() if host in busy}

    def wait(self, now: float) -> float:
        """Seconds until `next` has a host, if none is added meanwhile."""
        return max(0.0, min(self._at, now + self._between) - now) if len(self) else self._refresh

    def next(self, now: float, known: Callable[[str], bool]) -> str | None:
        """The host to be asked now; None when it isn't time yet, or there is none. Who isn't ``known`` any more loses
        its place."""
        if not len(self) or self.wait(now) > 0:
            return None
        # Much time that was lost isn't made up for: the questions would come in a crowd.
        self._at = max(self._at, now - _LATE) + self._between
        self._busy_turn = not self._busy_turn
        if self._busy_turn and (host := self._busy_due(now)) is not None:
            return host
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

    def _busy_due(self, now: float) -> str | None:
        if not self._busy or self.seconds <= self._refresh * 1.01:
            return None
        host = next(iter(self._busy))
        if now - self._busy[host] < self._refresh:
            return None
        del self._busy[host]
        self._busy[host] = now
        return host

"""The known hosts asked for most, of a sample of the requests, in bounded memory: of late, and not since ever. Pure."""

from __future__ import annotations

from xds.unknown_hosts import UnknownHosts

CAPACITY = 10_000


class BusyHosts:
    """Two counts: one that goes on, and one from before the last `turn`."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._now = UnknownHosts(capacity)
        self._before = UnknownHosts(capacity)

    def add(self, host: str) -> None:
        """One request of the sample."""
        self._now.add(host)

    def turn(self) -> None:
        """What was counted before the last turn is forgotten."""
        self._now, self._before = UnknownHosts(self._now.capacity), self._now

    def top(self, number: int) -> list[str]:
        """The busiest first: those of before fill what those of now leave."""
        hosts = {asked.host: None for count in (self._now, self._before) for asked in count.top(number)}
        return [*hosts][:number]

"""The unknown hosts asked for most: counted in bounded memory, whatever is asked for. Pure.

Space-saving (Metwally, Agrawal, El Abbadi: "Efficient Computation of Frequent and Top-k Elements", 2005): a host that
isn't counted yet takes the place of the one with the lowest count, and inherits it as its error. A host that had more
than 1/capacity of all requests is always among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xds.resources.wire import delimited

HOST_BYTES = 253

# Of StreamAccessLogsMessage, HTTPAccessLogEntries, HTTPAccessLogEntry and HTTPRequestProperties.
_IDENTIFIER = 1
_LOG_NAME = 2
_HTTP_LOGS = 2
_LOG_ENTRY = 1
_REQUEST = 3
_AUTHORITY = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """``count`` is at most ``error`` too high."""

    host: str
    count: int
    error: int


class UnknownHosts:
    """``capacity``: how many hosts are counted at a time."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.requests = 0
        self._counts: dict[str, int] = {}
        self._errors: dict[str, int] = {}
        self._with: dict[int, dict[str, None]] = {}
        self._lowest = 0

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, host: str) -> None:
        """One request for ``host``."""
        self.requests += 1
        count = self._counts.get(host, 0)
        if not count and len(self._counts) >= self.capacity:
            count = self._lowest
            gone = next(iter(self._with[count]))
            self._take(gone, count)
            del self._counts[gone], self._errors[gone]
            self._errors[host] = count
        elif count:
            self._take(host, count)
        else:
            self._errors[host] = 0
            self._lowest = 0
        self._counts[host] = count + 1
        self._with.setdefault(count + 1, {})[host] = None
        if self._lowest not in self._with:
            # A count that nobody has any more, or none yet: what was just added is one above it, or there are lower.
            self._lowest = count + 1 if self._lowest == count else min(self._with)

    def top(self, number: int) -> list[Asked]:
        """The most asked for first."""
        best = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[:number]
        return [Asked(host, count, self._errors[host]) for host, count in best]

    def frequent(self, number: int, share: float) -> list[Asked]:
        """Of the `top` those that surely had ``share`` of all requests: few, and they change seldom."""
        return [asked for asked in self.top(number) if asked.count - asked.error >= share * self.requests]

    def _take(self, host: str, count: int) -> None:
        del self._with[count][host]
        if not self._with[count]:
            del self._with[count]


def log_name_of(message: bytes) -> str:
    """The name of the log that a stream of messages is of, which its first one says; empty when it doesn't."""
    names = [*_inside(message, _IDENTIFIER, _LOG_NAME)]
    return names[0].decode("utf-8", "replace") if names else ""


def hosts_of(message: bytes) -> Iterator[str]:
    """The hosts in a StreamAccessLogsMessage, cut at what a host name can have. Raises ValueError when it
    isn't such a message."""
    for entry in _inside(message, _HTTP_LOGS, _LOG_ENTRY):
        for name in _inside(entry, _REQUEST, _AUTHORITY):
            host = name[:HOST_BYTES].decode("ascii", "replace").lower()
            if host.isprintable() and host:
                yield host


def _inside(message: bytes, outer: int, inner: int) -> Iterator[bytes]:
    for number, part in delimited(message):
        if number == outer:
            yield from (value for found, value in delimited(part) if found == inner)

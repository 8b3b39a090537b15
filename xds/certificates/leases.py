"""Which names' certificates each Envoy was given on demand, how many at most, and for how long.

Envoy keeps what it was given until that is withdrawn, and never says whether it still needs it. So every name is a
lease: it is withdrawn when it is over, and an Envoy that needs the name again asks again, which costs one handshake a
few milliseconds. A name that is asked for again soon is a busy one, and its lease lasts twice as long as before. Over
the cap, the certificate with the most names gives one up: a wildcard's thousand names don't drive others out. Over
the cap of all together, it is the holder with the most.

Pure: the clock is handed in. A holder is whoever holds names: an Envoy, by its peer and node.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 32
"""A lease lasts at most so many times as long as the first."""
_SLACK = 1_000


@dataclass(slots=True)
class Lease:
    """``times``: how many first leases long it is. ``until``: when it is over."""

    certificate: str
    times: int
    until: float


class Leases:
    """``each``: names that one holder may have. ``idle``: seconds that a first lease lasts. ``together``: names of all
    holders, each counted for each of them."""

    def __init__(self, each: int, idle: float, together: int | None = None) -> None:
        self._each = each
        self._together = together
        self._count = 0
        self._idle = idle
        self._held: dict[str, dict[str, Lease]] = {}
        self._groups: dict[str, dict[str, OrderedDict[str, None]]] = {}
        self._ends: list[tuple[float, str, str]] = []
        self._over: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def asked(
        self, holder: str, name: str, certificate: str, now: float, *, most: int | None = None
    ) -> list[tuple[str, str]]:
        """``holder`` is given ``name``; returns the holders and names that must be given up for that. ``most``: names
        of this certificate that it may have."""
        held = self._held.setdefault(holder, {})
        before = held.get(name)
        if before is not None:
            times = before.times
            self._forget(holder, name)
        else:
            ended, times = self._over.pop((holder, name), (float("-inf"), 1))
            times = min(2 * times, LONGEST) if now < ended + self._idle else 1
        lease = Lease(certificate, times, now + times * self._idle)
        self._held.setdefault(holder, {})[name] = lease
        self._count += 1
        group = self._groups.setdefault(holder, {}).setdefault(certificate, OrderedDict())
        group[name] = None
        heapq.heappush(self._ends, (lease.until, holder, name))
        self._tidy()
        victims: list[tuple[str, str]] = []
        if most is not None and len(group) > most:
            victims.append(self._give_up(holder, group, now))
        if len(self._held[holder]) > self._each:
            victims.append(self._give_up(holder, self._largest(holder), now))
        if self._together is not None and self._count > self._together:
            richest = max(self._held, key=lambda one: len(self._held[one]))
            victims.append(self._give_up(richest, self._largest(richest), now))
        return victims

    def dropped(self, holder: str, name: str) -> None:
        """It doesn't hold it any more."""
        self._forget(holder, name)

    def times(self, holder: str, name: str) -> int:
        """How many first leases its lease is long; 0 when it holds none."""
        lease = self._held.get(holder, {}).get(name)
        return lease.times if lease else 0

    def due(self, now: float) -> Iterator[tuple[str, str]]:
        """The holders and names whose lease is over; each is held no longer."""
        while self._ends and self._ends[0][0] <= now:
            until, holder, name = heapq.heappop(self._ends)
            lease = self._held.get(holder, {}).get(name)
            if lease is not None and lease.until == until:
                self._end(holder, name, now)
                yield holder, name

    def _largest(self, holder: str) -> OrderedDict[str, None]:
        return max(self._groups[holder].values(), key=len)

    def _give_up(self, holder: str, group: OrderedDict[str, None], now: float) -> tuple[str, str]:
        name = next(iter(group))
        self._end(holder, name, now)
        return holder, name

    def _end(self, holder: str, name: str, now: float) -> None:
        times = self._held[holder][name].times
        self._forget(holder, name)
        self._over[holder, name] = now, times
        while len(self._over) > self._each:
            self._over.popitem(last=False)

    def _tidy(self) -> None:
        """Leases given up leave their ends behind: whoever names host after host would fill memory with them."""
        if len(self._ends) > 2 * self._count + _SLACK:
            self._ends = [
                (lease.until, holder, name) for holder, held in self._held.items() for name, lease in held.items()
            ]
            heapq.heapify(self._ends)

    def _forget(self, holder: str, name: str) -> None:
        lease = self._held.get(holder, {}).pop(name, None)
        if lease is None:
            return
        self._count -= 1
        groups = self._groups[holder]
        del groups[lease.certificate][name]
        if not groups[lease.certificate]:
            del groups[lease.certificate]
        if not self._held[holder]:
            del self._held[holder], self._groups[holder]

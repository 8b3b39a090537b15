"""What GDS says of hosts that are known from an old map alone, and when those go that it hasn't got. Pure.

An old map was never invalidated, so many of its entries are of customers who left or moved. GDS never said a word of
them: what it says first takes nothing away that it ever gave, and the guard doesn't count it. But a GDS that isn't
itself may say 404 of everything, so it is doubted while more of an import differ than agree: then what it says counts
as of any known domain, and those that are gone go together.
"""

from __future__ import annotations

from collections.abc import Iterable

SHOWN = 1_000
"""Hosts that went, which are kept for the report."""


class Imported:
    """``grace`` in seconds: for so long GDS must say that it hasn't got a host. Fewer than ``few`` raise no doubt.

    ``agreed``, ``moved``: hosts that GDS has where the map said, and elsewhere; ``gone``: that it hasn't got, and that
    were withdrawn; ``left``: the first of these. All of the latest import, or of several that overlap."""

    def __init__(self, grace: float, few: int) -> None:
        self.agreed = self.moved = self.gone = 0
        self.left: list[str] = []
        self._grace = grace
        self._few = few
        self._unheard: dict[str, float | None] = {}
        """Hosts that GDS was never heard to have, and since when it says that it hasn't got them."""
        self._missing = 0
        self._ripe: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._unheard)

    def __contains__(self, host: str) -> bool:
        return host in self._unheard

    @property
    def missing(self) -> int:
        """Hosts that GDS hasn't got, and that are still routed."""
        return self._missing

    @property
    def differs(self) -> bool:
        """GDS says otherwise than the map of more hosts than it agrees on."""
        differing = self._missing + self.moved + self.gone
        return differing >= self._few and differing > self.agreed

    @property
    def doubtful(self) -> bool:
        """It differs, and that would withdraw some."""
        return self._missing > 0 and self.differs

    def add(self, hosts: Iterable[str]) -> None:
        """They are known from now on, by the map's word."""
        if not self._unheard:
            self.agreed = self.moved = self.gone = 0
            self.left = []
        for host in hosts:
            self._unheard.setdefault(host, None)

    @property
    def counts(self) -> dict[str, int]:
        """Of the hosts of an import: by what GDS said."""
        waiting = len(self._unheard) - self._missing
        return {
            "not_asked": waiting,
            "agreed": self.agreed,
            "moved": self.moved,
            "missing": self._missing,
            "gone": self.gone,
        }

    def there(self, host: str, *, agrees: bool) -> bool:
        """GDS has ``host``, where the map said or elsewhere. Whether the guard needn't count what that changes."""
        if not self._drop(host):
            return False
        self.agreed += agrees
        self.moved += not agrees
        return not self.differs

    def absent(self, host: str, now: float) -> None:
        """GDS hasn't got ``host``, which is one of them."""
        since = self._unheard[host]
        if since is None:
            since = self._unheard[host] = now
            self._missing += 1
        if now - since >= self._grace:
            self._ripe[host] = None

    def due(self) -> list[str]:
        """Those to be withdrawn now; while GDS is doubted all together, once it was asked for each."""
        if self.doubtful and len(self._ripe) < len(self._unheard):
            return []
        due = [*self._ripe]
        for host in due:
            self.leaves(host)
        return due

    def leaves(self, host: str) -> bool:
        """It is withdrawn. Whether the guard needn't count that: it is one of them, and GDS isn't doubted."""
        doubted = self.doubtful
        if not self._drop(host):
            return False
        self.gone += 1
        if len(self.left) < SHOWN:
            self.left.append(host)
        return not doubted

    def _drop(self, host: str) -> bool:
        if host not in self._unheard:
            return False
        self._missing -= self._unheard.pop(host) is not None
        self._ripe.pop(host, None)
        return True

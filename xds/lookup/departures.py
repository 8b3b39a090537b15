"""When a domain that was known is taken for gone: GDS has said so for the grace time, and seems to be itself. Pure.

A GDS that was restored empty, or whose database is away, may answer 404 for everything. So while many of the latest
answers for known domains say that, nothing is withdrawn, until all known domains were asked meanwhile: then all that
are gone go together, and the guard judges them as it judges any large change.
"""

from __future__ import annotations

from collections import deque

WINDOW = 500
"""Of so many latest answers for known domains the share is looked at."""


class Departures:
    """``grace`` in seconds. ``share``: more of the latest answers than this, and at least ``minimum`` of them, say that
    domains are gone, or that of all that are ``known``, and of at least ``few``: then GDS is doubted."""

    def __init__(self, grace: float, share: float, minimum: int, few: int | None = None) -> None:
        self.known = 0
        """How many there are; whoever knows it keeps it here."""
        self._grace = grace
        self._share = share
        self._minimum = min(minimum, WINDOW)
        self._few = min(minimum, few or minimum)
        self._since: dict[str, float] = {}
        self._ripe: dict[str, None] = {}
        self._latest: deque[bool] = deque(maxlen=WINDOW)
        self._gone = 0
        self._doubted = 0
        """Answers since GDS is doubted."""

    def __len__(self) -> int:
        """Domains that GDS has no more, and that are still routed."""
        return len(self._since)

    @property
    def doubtful(self) -> bool:
        """GDS says of too many known domains that it hasn't got them."""
        of_latest = self._gone >= self._minimum and self._gone > self._share * len(self._latest)
        missing = len(self._since)
        return of_latest or (missing >= self._few and missing > self._share * self.known) or self._everybody

    def there(self, host: str) -> None:
        """GDS has the known domain ``host``."""
        self.forget(host)
        self._note(False)

    def missing(self, host: str, now: float) -> float | None:
        """GDS hasn't got the known domain ``host``. When it is to be asked for it again, as the grace time is over by
        then; None for at its turn."""
        first = host not in self._since
        since = self._since.setdefault(host, now)
        ripe = now - since >= self._grace
        if ripe:
            self._ripe[host] = None
        self._note(True)
        return since + self._grace if first and not ripe and not self.doubtful else None

    def forget(self, host: str) -> None:
        """Whether it is there is no question any more."""
        self._since.pop(host, None)
        self._ripe.pop(host, None)

    @property
    def _everybody(self) -> bool:
        return len(self._since) >= self.known > 1

    def due(self) -> list[str]:
        """The domains to be withdrawn now; all at once when GDS is doubted."""
        if not self._ripe:
            return []
        heard = self._everybody or self._doubted >= self.known
        if self.doubtful and not (heard and len(self._ripe) == len(self._since)):
            return []
        self._doubted = 0  # what follows needs a round of its own
        ripe, self._ripe = self._ripe, {}
        if len(ripe) == len(self._since):
            self._since = {}
        else:
            for host in ripe:
                del self._since[host]
        return [*ripe]

    def _note(self, gone: bool) -> None:
        if len(self._latest) == WINDOW:
            self._gone -= self._latest[0]
        self._latest.append(gone)
        self._gone += gone
        self._doubted = self._doubted + 1 if self.doubtful else 0

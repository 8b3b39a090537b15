"""GDS's latest answers, for a short while: who asks again for what nobody has costs no question. Pure."""

from __future__ import annotations

from collections import OrderedDict


class Answers:
    """Each for ``lasts`` seconds, at most ``most`` of them: the oldest go first."""

    def __init__(self, lasts: float, most: int) -> None:
        self._lasts = lasts
        self._most = most
        self._held: OrderedDict[str, tuple[str | None, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def put(self, host: str, pod: str | None, now: float) -> None:
        """GDS says ``pod``; None: it has no such domain."""
        self._held[host] = pod, now + self._lasts
        self._held.move_to_end(host)
        while len(self._held) > self._most or (self._held and self._oldest() <= now):
            self._held.popitem(last=False)

    def get(self, host: str, now: float) -> tuple[str | None] | None:
        """What GDS said, in a tuple; None when that isn't remembered."""
        pod, until = self._held.get(host, (None, now))
        return (pod,) if now < until else None

    def _oldest(self) -> float:
        return next(iter(self._held.values()))[1]

"""GDS's latest answers, for a short while: who asks again for what nobody has costs no question. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Answers(Generic[T]):
    """What GDS said of hosts. Each for ``lasts`` seconds, at most ``most`` of them: the oldest go first."""

    def __init__(self, lasts: float, most: int) -> None:
        self._lasts = lasts
        self._most = most
        self._held: OrderedDict[str, tuple[T, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def put(self, host: str, said: T, now: float) -> None:
        self._held[host] = said, now + self._lasts
        self._held.move_to_end(host)
        while len(self._held) > self._most or (self._held and self._oldest() <= now):
            self._held.popitem(last=False)

    def get(self, host: str, now: float) -> tuple[T] | None:
        """What GDS said, in a tuple; None when that isn't remembered."""
        held = self._held.get(host)
        return (held[0],) if held and now < held[1] else None

    def drop(self, host: str) -> None:
        self._held.pop(host, None)

    def _oldest(self) -> float:
        return next(iter(self._held.values()))[1]

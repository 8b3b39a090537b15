"""What went out lately: how many different names changed within some seconds, so that many small changes count as the
large one that they add up to. Pure: the time is passed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

from xds.slices import SLICE, Work


class Recent:
    """Remembers each name for ``seconds``. ``now`` is monotonic seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at: OrderedDict[str, float] = OrderedDict()

    def add(self, names: Iterable[str], now: float) -> None:
        for name in names:
            self._at[name] = now
            self._at.move_to_end(name)

    def forget(self, now: float) -> Work[None]:
        """Those whose time is over; in slices."""
        gone = 0
        while self._at and next(iter(self._at.values())) <= now - self._seconds:
            self._at.popitem(last=False)
            gone += 1
            if gone % SLICE == 0:
                yield

    def clear(self) -> None:
        self._at.clear()

    def beside(self, names: Collection[str]) -> int:
        """How many it remembers that aren't among ``names``."""
        if len(names) < len(self._at):
            return len(self._at) - sum(map(self._at.__contains__, names))
        return sum(name not in names for name in self._at)

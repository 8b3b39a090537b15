"""Answers that go out at a pace, several together: what is done in crowds costs less than one by one."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

_TOGETHER = 0.1
"""Seconds whose answers go together."""


class Paced:
    """``rate`` answers a second; what would be there longer than ``longest`` seconds goes then, and isn't counted."""

    def __init__(
        self,
        rate: float,
        longest: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._each = 1 / rate
        self._longest = longest
        self._clock = clock
        self._sleep = sleep
        self._next = float("-inf")

    async def turn(self, waited: float = 0.0) -> None:
        """Returns when the next answer may go: at once, unless there were many. ``waited``: seconds that its question
        has been here already."""
        now = self._clock()
        left = max(0.0, self._longest - waited)
        due = max(self._next, now - _TOGETHER)
        if due - now <= left:
            self._next = due + self._each
        if due > now:
            crowd = math.ceil(due / _TOGETHER) * _TOGETHER
            await self._sleep(min(crowd - now, left))

"""A time limit for what is done again and again, without making a timer for each time.

Time in which our own event loop was held up isn't the peer's, and is given to it once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

_HELD_UP = 0.1
"""Seconds by which a timer is late when the event loop was held up."""


class Deadline:
    """``passed`` is called when something took longer than so many seconds. One timer is kept, which goes on to the
    newest end when it fires: most things are done long before theirs."""

    def __init__(self, seconds: float, passed: Callable[[], None]) -> None:
        self._seconds = seconds
        self._passed = passed
        self._loop = asyncio.get_running_loop()
        self._end: float | None = None
        self._timer: asyncio.Handle | None = None

    def begin(self) -> None:
        """Something begins. What began before is over."""
        self._end = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(self._end, self._look)

    def done(self) -> None:
        """It is over."""
        self._end = None

    def close(self) -> None:
        """``passed`` isn't called any more."""
        self._end = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._end is None:
            return
        now = self._loop.time()
        late = now - self._end
        if 0 <= late < _HELD_UP:
            # It may have been done in this very round: who does it is told first.
            self._timer = self._loop.call_soon(self._judge, self._end)
            return
        if late > 0:
            self._end = now + late
        self._timer = self._loop.call_at(self._end, self._look)

    def _judge(self, end: float) -> None:
        self._timer = None
        if self._end == end:
            self._end = None
            self._passed()
        elif self._end is not None:
            self._timer = self._loop.call_at(self._end, self._look)


async def in_time(doing: asyncio.Future[Any], seconds: float) -> bool:
    """Whether it is done in so many seconds."""
    clock = asyncio.get_running_loop().time
    while True:
        end = clock() + seconds
        done, _ = await asyncio.wait([doing], timeout=seconds)
        if done:
            return True
        seconds = clock() - end
        if seconds < _HELD_UP:
            return False

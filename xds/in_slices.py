"""Runs long work that is cut in slices: the event loop has its turn between, and no two works are under way at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing

from xds.slices import Work

TURN = 0.008
"""Seconds of long work between two turns of the event loop."""
_ROUNDS = 3
"""Of the event loop in a turn. The next round runs the work before what came meanwhile, and what waits for that, like
the task of a timer, is run one round later: with a single one it waits for three pieces of work."""


class InSlices:
    """``await in_slices(work)`` does all of it, once those that were begun before are done."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._one = asyncio.Lock()

    async def __call__(self, work: Work[None]) -> None:
        async with self._one:
            with closing(work):
                until = self._clock() + TURN
                for _ in work:
                    if self._clock() >= until:
                        for _ in range(_ROUNDS):
                            await asyncio.sleep(0)
                        until = self._clock() + TURN

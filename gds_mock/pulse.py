"""The wake-up of watchers: the newest known revision, and a wait for one newer than one's own."""

from __future__ import annotations

import asyncio


class Pulse:
    """Belongs to one event loop and is touched only there. A slow waiter holds up nobody."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.closed = False
        self._moved = asyncio.Event()

    def advance(self, revision: int) -> None:
        """Wakes everyone if ``revision`` is news."""
        if revision > self.revision:
            self.revision = revision
            self._wake()

    def close(self) -> None:
        """Wakes everyone for the last time: the server is going."""
        self.closed = True
        self._wake()

    async def newer_than(self, revision: int, *, patience: float) -> bool:
        """Waits until there is a newer revision, or the end, and answers True; False when patience ran out first."""
        if self.closed or self.revision > revision:
            return True
        try:
            async with asyncio.timeout(patience):
                await self._moved.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

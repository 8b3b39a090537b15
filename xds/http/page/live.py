"""What moves on the status page: its sections, sent to each viewer when they have changed.

They are rendered once for all viewers, and only while there is one. A viewer that is slow misses what is in between and
gets the newest: nothing is queued.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass

TICK = 1.0
"""Seconds between two looks at what changes by itself, such as ages."""
LOOK = 0.1
"""Seconds between two looks at whether something happened."""
APART = 0.25
"""Seconds at least between two renderings: a burst of changes is shown as one."""


@dataclass(frozen=True, slots=True)
class Shown:
    """``now``: seconds since 1970. ``sections`` are HTML by name."""

    now: float
    sections: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Message:
    """``section`` is None for one that only says that time goes on."""

    now: float
    section: str | None = None
    html: str = ""


class Live:
    """``look`` renders everything. ``happened`` is cheap, and says something else once something has happened."""

    def __init__(
        self,
        look: Callable[[], Shown],
        happened: Callable[[], Hashable],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._look = look
        self._happened = happened
        self._clock = clock
        self._sleep = sleep
        self._seen: Hashable = None
        self._at = float("-inf")
        self._shown = Shown(0.0, {})

    async def follow(self, leaving: Callable[[], bool]) -> AsyncGenerator[Message]:
        """For one viewer, until we leave: first everything, then what is new, and a message without a section each
        second. Close it when the viewer has gone."""
        sent: dict[str, str] = {}
        ticked = float("-inf")
        while not leaving():
            shown = self._newest()
            for name, html in shown.sections.items():
                if sent.get(name) != html:
                    sent[name] = html
                    yield Message(shown.now, name, html)
            if self._clock() - ticked >= TICK:
                ticked = self._clock()
                yield Message(shown.now)
            await self._sleep(LOOK)

    def _newest(self) -> Shown:
        age = self._clock() - self._at
        if age >= TICK or (age >= APART and self._happened() != self._seen):
            self._seen = self._happened()
            self._at = self._clock()
            self._shown = self._look()
        return self._shown

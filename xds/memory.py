"""Gives memory back to the system after a large change or a snapshot: what was freed, the C library would keep."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

LOOK = 5.0
"""Seconds between two looks at how much has changed."""
MANY = 50_000
"""Records that were handled between two looks that make it worth while."""


def trim() -> None:
    """Returns what glibc holds and nobody uses; other C libraries have nothing to ask for. Whoever allocates meanwhile
    waits: 40 ms for 200 MB."""
    asked = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if asked is not None:
        asked(0)


async def giving_back(
    handled: Callable[[], int], quiet: Callable[[], bool], trim: Callable[[], object] = trim, look: float = LOOK
) -> None:
    """For ever. ``handled``: how many records there were so far, in changes and in snapshots; ``quiet``: no large
    change is under way."""
    seen, much = 0, False
    while True:
        await asyncio.sleep(look)
        now = handled()
        seen, much = now, much or now - seen > MANY
        if much and quiet():
            much = False
            await asyncio.to_thread(trim)

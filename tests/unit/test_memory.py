"""When memory is given back, and that it is."""

from __future__ import annotations

import asyncio
import ctypes
import random

import psutil
import pytest

from xds.memory import MANY, giving_back, trim


@pytest.mark.parametrize(
    ("states", "times"),
    [
        ([(MANY + 1, True), (MANY + 2, True)], 1),
        ([(MANY, True), (2 * MANY, True)], 0),
        ([(MANY + 1, False), (MANY + 1, True)], 1),
        ([(2 * MANY, True), (4 * MANY, True)], 2),
    ],
    ids=["a large change", "many small ones", "when it is no more under way", "two large ones"],
)
async def test_memory_is_given_back_once_after_a_large_change(states: list[tuple[int, bool]], times: int) -> None:
    now, given = states[0], []
    task = asyncio.create_task(giving_back(lambda: now[0], lambda: now[1], lambda: given.append(now), look=0.001))
    for now in states:  # noqa: B007
        await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(given) == times


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library than glibc")
def test_what_was_freed_between_what_is_held_goes_back_to_the_system() -> None:
    chance = random.Random(1)
    held = [bytes(chance.randrange(1_000, 16_000)) for _ in range(20_000)]
    chance.shuffle(held)
    del held[len(held) // 2 :]
    before = psutil.Process().memory_info().rss
    trim()
    assert psutil.Process().memory_info().rss < before - 20_000_000

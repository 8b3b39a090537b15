"""A deadline for each of many things: one timer, whoever is too slow is told of, and our own delays don't count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from xds.server.deadline import Deadline

LIMIT = 30.0


class Clock:
    """The event loop's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.timers = 0
        loop = asyncio.get_running_loop()
        real = loop.call_at

        def call_at(when: float, callback: Callable[..., object], *args: object) -> asyncio.TimerHandle:
            self.timers += 1
            return real(when, callback, *args)

        monkeypatch.setattr(loop, "time", lambda: self.now)
        monkeypatch.setattr(loop, "call_at", call_at)

    async def goes_on(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(4):
            await asyncio.sleep(0)


async def test_what_takes_too_long_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(monkeypatch), list[float]()
    deadline = Deadline(LIMIT, lambda: told.append(clock.now))
    deadline.begin()
    await clock.goes_on(LIMIT - 1)
    assert told == []
    await clock.goes_on(1)
    await clock.goes_on(10 * LIMIT)
    assert told == [1_000.0 + LIMIT]


async def test_each_has_the_whole_time_whenever_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(monkeypatch), list[float]()
    deadline = Deadline(LIMIT, lambda: told.append(clock.now))
    deadline.begin()
    await clock.goes_on(LIMIT - 1)
    deadline.done()
    deadline.begin()
    await clock.goes_on(1)  # the first one's end
    await clock.goes_on(LIMIT - 2)
    assert told == []
    await clock.goes_on(1)
    assert told == [1_000.0 + LIMIT - 1 + LIMIT]


async def test_many_that_are_done_in_time_share_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(monkeypatch), list[float]()
    deadline = Deadline(LIMIT, lambda: told.append(clock.now))
    for _ in range(1_000):
        deadline.begin()
        await asyncio.sleep(0)
        deadline.done()
    assert clock.timers == 1
    await clock.goes_on(LIMIT)
    assert told == []
    deadline.begin()
    await clock.goes_on(LIMIT)
    assert told == [1_000.0 + 2 * LIMIT]


async def test_time_in_which_the_loop_was_held_up_is_given_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(monkeypatch), list[float]()
    deadline = Deadline(LIMIT, lambda: told.append(clock.now))
    deadline.begin()
    await clock.goes_on(LIMIT + 5)
    assert told == []
    await clock.goes_on(4)
    assert told == []
    await clock.goes_on(1)
    assert told == [1_000.0 + LIMIT + 10]


async def test_what_is_done_in_the_round_of_its_end_is_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(monkeypatch), list[float]()
    deadline = Deadline(LIMIT, lambda: told.append(clock.now))
    deadline.begin()
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, deadline.done)  # as a future does: it is answered, and then who waits for it goes on
    await clock.goes_on(LIMIT)
    await clock.goes_on(LIMIT)
    assert told == []


async def test_what_is_closed_says_nothing_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(monkeypatch), list[float]()
    deadline = Deadline(LIMIT, lambda: told.append(clock.now))
    deadline.begin()
    deadline.close()
    await clock.goes_on(LIMIT)
    assert told == []

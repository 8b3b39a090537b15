"""Turns: in order, a slice in each round of the event loop, and one stream's trouble is its own."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from xds.errors import ProtocolError
from xds.server.turns import Turns


class Clock:
    """Each piece of work takes one second of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done: list[int] = []

    def work(self, number: int) -> int:
        self.now += 1
        self.done.append(number)
        return number


async def rounds(clock: Clock) -> list[int]:
    """How much was done in each round of the event loop, until nothing more is."""
    found: list[int] = []
    for _ in range(50):
        before = len(clock.done)
        await asyncio.sleep(0)
        found.append(len(clock.done) - before)
    return [count for count in found if count]


async def test_a_round_ends_with_its_slice_and_all_are_served_in_order() -> None:
    clock = Clock()
    turns = Turns(3.0, lambda: clock.now)
    asked = [asyncio.create_task(turns.take(partial(clock.work, number))) for number in range(8)]
    assert await rounds(clock) == [3, 3, 2]
    assert clock.done == list(range(8))
    assert [await one for one in asked] == list(range(8))


async def test_what_takes_longer_than_a_slice_has_a_round_of_its_own() -> None:
    clock = Clock()
    turns = Turns(0.5, lambda: clock.now)
    asked = [asyncio.create_task(turns.take(partial(clock.work, number))) for number in range(3)]
    assert await rounds(clock) == [1, 1, 1]
    await asyncio.gather(*asked)


async def test_who_comes_later_is_served_too() -> None:
    clock = Clock()
    turns = Turns(3.0, lambda: clock.now)
    assert await turns.take(lambda: clock.work(1)) == 1
    assert await turns.take(lambda: clock.work(2)) == 2


async def test_what_the_work_raises_is_its_callers() -> None:
    def broken() -> int:
        raise ProtocolError("not a request")

    clock = Clock()
    turns = Turns(3.0, lambda: clock.now)
    asked = [asyncio.create_task(turns.take(broken)), asyncio.create_task(turns.take(lambda: clock.work(1)))]
    with pytest.raises(ProtocolError, match="not a request"):
        await asked[0]
    assert await asked[1] == 1


async def test_what_nobody_waits_for_any_more_is_not_done() -> None:
    clock = Clock()
    turns = Turns(3.0, lambda: clock.now)
    asked = [asyncio.create_task(turns.take(partial(clock.work, number))) for number in range(2)]
    await asyncio.sleep(0)
    asked[0].cancel()
    assert await asked[1] == 1
    assert clock.done == [1]


async def test_an_iterator_that_ends_within_the_work_stops_nobody_else() -> None:
    clock = Clock()
    turns = Turns(3.0, lambda: clock.now)
    asked = [asyncio.create_task(turns.take(lambda: next(iter(())))), asyncio.create_task(turns.take(lambda: 1))]
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asked[0]
        assert await asked[1] == 1


async def test_who_goes_first_is_served_before_all_who_wait() -> None:
    clock = Clock()
    turns = Turns(3.0, lambda: clock.now)
    asked = [asyncio.create_task(turns.take(partial(clock.work, number), first=number >= 5)) for number in range(8)]
    await asyncio.gather(*asked)
    assert clock.done[:3] == [5, 6, 7]
    assert clock.done[3:] == [0, 1, 2, 3, 4]


async def test_those_who_wait_have_a_turn_in_each_round_however_many_go_first() -> None:
    clock = Clock()
    turns = Turns(3.0, lambda: clock.now)
    asked = [asyncio.create_task(turns.take(partial(clock.work, number), first=number >= 3)) for number in range(12)]
    assert await rounds(clock) == [4, 4, 4]
    assert clock.done == [3, 4, 5, 0, 6, 7, 8, 1, 9, 10, 11, 2]
    await asyncio.gather(*asked)

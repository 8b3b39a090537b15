"""Whose turn it is: what many streams have to do at once is done one after the other, a slice of time in each round of
the event loop, so that the loop is never held up for longer, however many they are. Who has what it needs and wants
what is new goes before those that come: a thousand Envoys that come back keep nobody else waiting."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_Waiting = tuple[Callable[[], Any], asyncio.Future[Any]]

SLICE = 0.004
"""Seconds of one round. What is begun in it, as writes are, goes on outside of it, and takes a few times as long."""


class Turns:
    """First come, first served, of those that go first and of the others, who have at least one turn in each round.
    Of one event loop. ``clock`` is seconds."""

    def __init__(self, slice_: float = SLICE, clock: Callable[[], float] = time.perf_counter) -> None:
        self._slice = slice_
        self._clock = clock
        self._first: deque[_Waiting] = deque()
        self._others: deque[_Waiting] = deque()
        self._serving = False

    async def take(self, work: Callable[[], T], *, first: bool = False) -> T:
        """Does ``work`` when it is its turn; it isn't begun when the caller is cancelled before. Raises what it
        raises."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.ask(work, done, first=first)
        return await done

    def ask(self, work: Callable[[], T], done: asyncio.Future[T], *, first: bool = False) -> None:
        """Does ``work`` when it is its turn, unless ``done`` is done before, which has what it returns or raises."""
        (self._first if first else self._others).append((work, done))
        if not self._serving:
            self._serving = True
            done.get_loop().call_soon(self._serve)

    def _serve(self) -> None:
        end = self._clock() + self._slice
        others = 0
        while self._first or self._others:
            late = self._clock() >= end
            if late and (others or not self._others):
                break
            queue = self._first if self._first and not late else self._others
            others += queue is self._others
            _do(*queue.popleft())
        self._serving = bool(self._first or self._others)
        if self._serving:
            asyncio.get_running_loop().call_soon(self._serve)


def _do(work: Callable[[], Any], done: asyncio.Future[Any]) -> None:
    if done.done():
        return
    try:
        done.set_result(work())
    except Exception as error:  # it is the caller's; a future takes any but this one
        done.set_exception(RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)

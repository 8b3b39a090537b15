"""What one stream sends: woken when there may be something, it makes each response when it is its turn, and writes it.

A publish wakes every stream at once, so what is done for each counts: whoever wakes it asks for its turn, and it
itself goes on only when its response is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from xds.measures import Measures
from xds.protocol.messages import Response
from xds.protocol.stream import Stream
from xds.resources.types import BY_URL
from xds.server.deadline import Deadline
from xds.server.turns import Turns

_Made = tuple[str, bytes]
"""The type of a response, and its bytes."""


class Writable(Protocol):
    """The call: `grpc.aio.ServicerContext`."""

    async def write(self, message: bytes, /) -> None: ...


class Writer:
    """``first()``: whether its turn comes before that of the others. ``hold`` and ``write_timeout`` are those of
    `Limits`; ``overdue`` is called when a client doesn't take a response within the latter. ``clock`` is seconds."""

    def __init__(
        self,
        protocol: Stream,
        turns: Turns,
        measures: Measures,
        clock: Callable[[], float],
        *,
        first: Callable[[], bool],
        hold: float,
        write_timeout: float,
        overdue: Callable[[], None],
    ) -> None:
        self._protocol = protocol
        self._turns = turns
        self._measures = measures
        self._clock = clock
        self._first = first
        self._hold = hold
        self._write_timeout = write_timeout
        self._loop = asyncio.get_running_loop()
        self._deadline = Deadline(write_timeout, overdue)
        self._task: asyncio.Task[None] | None = None
        self._writing = False
        self._ended = False
        self._awake = False
        """Something was said meanwhile: when this round of responses is over, there is to be another one."""
        self._asleep: asyncio.Future[_Made | None] | None = None
        self._responses: Iterator[Response] = iter(())
        self._wanted = 0.0
        self._release_at: float | None = None
        self._release: asyncio.TimerHandle | None = None

    def start(self, call: Writable) -> asyncio.Task[None]:
        """It writes from now on; the task ends only by an error, or by `stop`."""
        self._task = asyncio.create_task(self._run(call))
        self._task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._task

    async def stop(self) -> None:
        """Nothing more is begun. A write that is begun can't be called off: its stream may end before it does."""
        self._ended = True
        self._deadline.close()
        if self._release is not None:
            self._release.cancel()
        if self._task is not None and not self._writing:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def written(self) -> None:
        """When the client has taken what was begun to be written, or is gone: before that no status can be sent. It has
        ``write_timeout`` for that, once more; after that the call ends without one."""
        if self._writing and self._task is not None:
            await asyncio.wait([self._task], timeout=self._write_timeout)

    def stir(self) -> None:
        """Something happened. Does nothing when there is nothing to write nor to wait for any more."""
        if self._release_at is None and self._protocol.idle:
            return
        asleep = self._asleep
        if asleep is None:
            self._awake = True
            return
        self._asleep = None
        if self._release is not None:
            self._release.cancel()
            self._release = None
        self._ask(self._begin, asleep)

    async def _run(self, call: Writable) -> None:
        asked = self._sleep()
        while True:
            made = await asked
            del asked
            if made is not None:
                await self._write(*made, call)
                if self._ended:
                    return
            # Nothing of it is kept: a thousand streams would keep megabytes each.
            if made is None or self._protocol.idle:
                made, self._responses = None, iter(())
                asked = self._sleep()
            else:
                made = None
                asked = self._loop.create_future()
                self._ask(self._next, asked)

    def _sleep(self) -> asyncio.Future[_Made | None]:
        """Until it is stirred, or what is held goes, and then its turn to write has come."""
        asked: asyncio.Future[_Made | None] = self._loop.create_future()
        # From the first response that is held on: what comes meanwhile must not put the end off.
        if not self._protocol.holding:
            self._release_at = None
        elif self._release_at is None:
            self._release_at = self._loop.time() + self._hold
        if self._awake:
            self._ask(self._begin, asked)
            return asked
        self._asleep = asked
        if self._release_at is not None:
            self._release = self._loop.call_at(self._release_at, self._let_go)
        return asked

    def _let_go(self) -> None:
        asleep, self._asleep, self._release = self._asleep, None, None
        self._protocol.release()
        self._release_at = None  # what is held after this has its own time
        if asleep is not None:
            self._ask(self._begin, asleep)

    def _ask(self, make: Callable[[], _Made | None], asked: asyncio.Future[_Made | None]) -> None:
        self._wanted = self._clock()
        self._turns.ask(make, asked, first=self._first())

    def _begin(self) -> _Made | None:
        self._awake = False
        self._responses = self._protocol.responses()
        return None if self._protocol.idle else self._next()

    def _next(self) -> _Made | None:
        # Made when it is its turn, so that it is of the newest state.
        self._measures.queue.observe(self._clock() - self._wanted)
        response = next(self._responses, None)
        return None if response is None else (BY_URL[response.type_url].name, response.encode())

    async def _write(self, kind: str, encoded: bytes, call: Writable) -> None:
        self._protocol.sent_at = begun = self._clock()
        self._deadline.begin()
        self._writing = True
        try:
            await call.write(encoded)
        finally:
            self._writing = False
            self._deadline.done()
        ended = self._clock()
        self._measures.pushed(kind, len(encoded), ended - self._wanted, ended - begun)

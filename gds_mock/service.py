"""The blocking store, for an event loop: one thread writes, a few read, and commits wake the watchers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

from gds_mock.errors import StoreUnavailable
from gds_mock.pulse import Pulse
from gds_mock.store import Store

_Ts = TypeVarTuple("_Ts")
_T = TypeVar("_T")

_READERS = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server behaves; all times in seconds."""

    heartbeat: float = 5.0
    look_for_others: float = 0.5
    """How often to look for commits of other processes, such as an import."""
    answer_limit: float = 20.0
    """What the store has not answered by then is answered with an error; a write may still come to be."""
    load_limit: float = 900.0
    """The same for applying a load."""
    snapshot_limit: float = 600.0
    """A reader of a snapshot that takes longer is cut off: it would keep the store from clearing away what is old."""
    end_limit: float = 3.0
    """At the end, a store that has not answered by then is not waited for."""
    send_limit: float = 60.0
    """A watcher that takes nothing for so long is cut off."""


class Service:
    """Built outside, then run (``async with service.running()``) by the loop that uses it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self.pulse = Pulse(store.committed)
        self.store_answers = True
        """Whether it did when last looked at: watchers are sent no heartbeats while it does not."""
        self._writer = ThreadPoolExecutor(1, "gds-writer")
        self._readers = ThreadPoolExecutor(_READERS, "gds-reader")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks for other processes' commits until the block ends, then ends the watches and the threads."""
        loop = asyncio.get_running_loop()

        def wake(revision: int) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self.pulse.advance, revision)

        looking = asyncio.create_task(self._look_for_others())
        try:
            with self.store.following(wake):
                yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            self.pulse.close()
            await self._end_threads()

    async def _end_threads(self) -> None:
        ending = asyncio.ensure_future(asyncio.to_thread(self._wait_for_threads))
        if not (await asyncio.wait([ending], timeout=self.settings.end_limit))[0]:
            self.store.interrupt()
        await ending

    def _wait_for_threads(self) -> None:
        self._readers.shutdown()
        self._writer.shutdown()

    async def read(self, function: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Runs a blocking function that writes nothing to the store. Raises StoreUnavailable when it takes too long."""
        running = asyncio.get_running_loop().run_in_executor(self._readers, function, *args)
        return await self._in_time(running, self.settings.answer_limit)

    async def write(self, function: Callable[[*_Ts], _T], *args: *_Ts, limit: float | None = None) -> _T:
        """Runs a blocking function that writes, after all writes before it; its commit wakes the watchers at once.

        Raises StoreUnavailable when it takes longer than ``limit`` seconds, or the settings' ``answer_limit``; what
        has not begun by then is not written.
        """
        loop = asyncio.get_running_loop()

        def work() -> _T:
            try:
                return function(*args)
            finally:
                loop.call_soon_threadsafe(self.pulse.advance, self.store.committed)

        return await self._in_time(loop.run_in_executor(self._writer, work), limit or self.settings.answer_limit)

    async def _in_time(self, running: asyncio.Future[_T], limit: float) -> _T:
        try:
            async with asyncio.timeout(limit):
                return await running
        except TimeoutError:
            raise StoreUnavailable(f"the store {self.store.name} has not answered within {limit:g} seconds") from None

    async def _look_for_others(self) -> None:
        while True:
            await asyncio.sleep(self.settings.look_for_others)
            try:
                self.pulse.advance(await self.read(self.store.revision))
            except StoreUnavailable:
                self.store_answers = False  # healthz says so too; the next look may do better
            else:
                self.store_answers = True

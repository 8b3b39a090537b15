"""Keeps the directory on disk: what changes is noted, and written by a thread a moment later, never while others wait.

The journal takes a change as soon as it was taken, `GATHER` seconds after the one before at most: from then on it
outlives this process, however that ends. An Envoy must not be brought back to where a customer was before a move. The
machine's own end it outlives ``pause`` seconds later, when it is synced, beside what is written meanwhile. A whole
state is written when there is none yet, when the journal has grown as large as its state, and after a failure; at a
million domains it is a second of a thread's work, so it isn't done at each change. While the disk fails, the directory
goes on in memory, and the failure is said each time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from xds.delta import Delta
from xds.errors import StateError
from xds.slices import drained, emptied
from xds.state.folder import StateFolder
from xds.state.format import Entry, State

log = structlog.get_logger()

GATHER = 0.01
"""Seconds from one write to the next: changes that come together are written together."""
PAUSE = 0.2
"""Seconds from a write until it is synced, with those that follow it."""
RETRY = 5.0
"""Seconds from a failure to the next attempt."""
BACKLOG = 500_000
"""Changes that wait for a slow disk; with more, a whole state is written in their place."""


@dataclass
class Writes:
    """How writing goes. ``error`` is the newest failure's, empty while all is well."""

    states: int = 0
    entries: int = 0
    failures: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Change:
    delta: Delta
    epoch: str
    revision: int
    at: float

    def entry(self) -> Entry:
        """Once: it is emptied, little by little, since the event loop needs the interpreter, too."""
        domains = {name: new for name, (_, new) in self.delta.domains.items()}
        pods = {name: new for name, (_, new) in self.delta.pods.items()}
        drained(emptied(self.delta.domains))
        return Entry(self.epoch, self.revision, self.at, domains, pods)


class Keeper:
    """One task runs `run`. ``picture()`` is the whole directory as it is now, cheaply, or None while it isn't complete,
    and then no state is written; ``now()`` is the wall clock."""

    def __init__(
        self,
        folder: StateFolder,
        picture: Callable[[], State | None],
        now: Callable[[], float],
        *,
        pause: float = PAUSE,
    ) -> None:
        self.writes = Writes()
        self._folder = folder
        self._picture = picture
        self._now = now
        self._pause = pause
        self._changes: list[_Change] = []
        self._files: dict[str, bytes | None] = {}
        self._waiting = 0
        self._whole = False
        self._due = asyncio.Event()
        self._unsynced = asyncio.Event()
        self._one = asyncio.Lock()
        """The folder is written by one at a time."""

    def changed(self, delta: Delta, epoch: str, revision: int) -> None:
        """The edge has taken ``delta``, which is ours from now on, and stands at this revision."""
        self._changes.append(_Change(delta, epoch, revision, self._now()))
        self._waiting += len(delta)
        if self._waiting > BACKLOG:
            self.anew()
        self._due.set()

    def anew(self) -> None:
        """The edge has another directory than what is on disk: a whole state is due."""
        self._changes, self._waiting, self._whole = [], 0, True
        self._due.set()

    def put(self, name: str, content: bytes | None) -> None:
        """A small file of the folder is to hold this, before what changes from now on is written; None removes it."""
        self._files[name] = content
        self._due.set()

    def heard(self) -> None:
        """GDS was heard just now."""
        self._folder.heard(self._now())

    async def run(self) -> None:
        """Writes until it is cancelled; no failure ends it."""
        syncing = asyncio.create_task(self._syncing(), name="journal")
        try:
            while True:
                await self._due.wait()
                if await self.write():
                    await asyncio.sleep(GATHER)
                else:
                    await asyncio.sleep(RETRY)
                    self._due.set()
        finally:
            syncing.cancel()
            await asyncio.gather(syncing, return_exceptions=True)

    async def _syncing(self) -> None:
        while True:
            await self._unsynced.wait()
            await asyncio.sleep(self._pause)
            if not await self._sync():
                await asyncio.sleep(RETRY)
                self._due.set()

    async def _sync(self) -> bool:
        try:
            async with self._one:
                self._unsynced.clear()
                sync = self._folder.syncing()
            await _in_thread(sync)
        except StateError as error:
            async with self._one:
                self._folder.abandon()  # nobody knows what of it is on disk
                self._failed(error, lost=True)
            return False
        return True

    async def write(self) -> bool:
        """Writes what waits. False when it failed: it is to be tried again."""
        self._due.clear()
        changes, self._changes, self._waiting = self._changes, [], 0
        files, self._files = self._files, {}
        anew, self._whole = self._whole or not self._folder.writable, False
        try:
            # Of the same moment as the changes: those that come while it is written are for the journal after it.
            picture = self._picture() if anew or self._folder.full else None
            self._whole = anew and picture is None
            async with self._one:
                await _in_thread(partial(self._write, files, changes, picture, anew))
            self._unsynced.set()
        except Exception as error:  # whatever the disk does, it doesn't end the keeper
            if not isinstance(error, StateError):
                log.exception("state.unexpected")
            self._files = files | self._files
            self._failed(error, anew or bool(changes))
            return False
        if self.writes.error:
            log.info("state.written", after_failures=self.writes.failures)
        self.writes.error = ""
        return True

    def _write(self, files: dict[str, bytes | None], changes: list[_Change], picture: State | None, anew: bool) -> None:
        for name, content in files.items():
            if content is None:
                self._folder.remove(name)
            else:
                self._folder.replace(name, [content])
        if changes and not anew:
            self._folder.append(change.entry() for change in changes)
            self.writes.entries += len(changes)
            changes.clear()  # those that are left after a failure aren't on disk
        if picture is not None:
            self._folder.write(picture, joins=not anew)
            self.writes.states += 1

    async def close(self) -> None:
        """Writes what is left, and gives the folder up."""
        if self._due.is_set() or self.writes.error:
            await self.write()
        if self._unsynced.is_set():
            await self._sync()
        with contextlib.suppress(OSError):
            self._folder.close()

    def _failed(self, error: Exception, lost: bool) -> None:
        """``lost``: not all that changed is in the journal, so what would be added to it wouldn't follow."""
        if lost or not self._folder.writable:
            self._changes, self._waiting, self._whole = [], 0, True
        self.writes.failures += 1
        self.writes.error = str(error) or repr(error)
        log.error("state.not_written", reason=str(error), kept="what is on disk stays; the directory goes on in memory")


async def _in_thread(call: Callable[[], None]) -> None:
    """To its end, also when we are cancelled meanwhile: two threads must never write at once."""
    task = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise

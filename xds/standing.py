"""What stands between GDS and the edge, with its memory on disk: the gate, and who keeps the directory.

At the start what is on disk is read, and served once GDS hasn't answered: at once when GDS can't be reached, after
PATIENCE seconds when it is slow. Not before: another replica may have brought the Envoys further than our disk knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from xds import hold, tokens
from xds.delta import Delta
from xds.directory import Directory
from xds.errors import StateError
from xds.gate import Gate
from xds.gds.mirror import MirrorStatus
from xds.guard import Limits
from xds.in_slices import InSlices
from xds.kept import Kept
from xds.pipeline import Pipeline
from xds.slices import Work
from xds.state.folder import Loaded, StateFolder
from xds.state.format import State
from xds.state.keeper import Keeper, Writes

log = structlog.get_logger()

PATIENCE = 10.0
"""Seconds that GDS has for its first answer, before the Envoys get what was on disk."""
HEARD = 5.0
"""Seconds between two notes on disk that GDS was heard."""


class Following(Protocol):
    """Who follows GDS: `xds.gds.mirror.Mirror`, or `xds.lookup.learner.Learner`."""

    status: MirrorStatus

    async def run(self) -> None: ...


@dataclass(slots=True)
class _Disk:
    """What was found there. ``age``: seconds since GDS was heard, at ``read_at`` of the monotonic clock."""

    epoch: str = ""
    revision: int = 0
    age: float = 0.0
    read_at: float = 0.0
    found: bool = False


class Standing:
    """``gate`` is the mirror's follower. Without a ``folder`` nothing is kept, and the rest is the same. ``token``: the
    folder is to have one. ``unserved``: see `Gate`."""

    def __init__(
        self,
        pipeline: Pipeline,
        folder: StateFolder | None,
        limits: Limits,
        *,
        token: bool = False,
        unserved: Callable[[str], None] = lambda why: None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.in_slices = InSlices()
        self.gate = Gate(
            pipeline,
            limits,
            now=now,
            clock=clock,
            remember=self._remember,
            began=self._began,
            unserved=unserved,
        )
        self.disk = _Disk()
        self._pipeline = pipeline
        self._now = now
        self._clock = clock
        self._token = token
        self._keeper = Keeper(folder, self._picture, now) if folder else None

    def view(self) -> Kept:
        """How all of this stands now."""
        writes = self._keeper.writes if self._keeper else Writes()
        from_disk = self.disk.found and self._pipeline.directory.complete and self.gate.position is None
        age = self.disk.age + self._clock() - self.disk.read_at if self.disk.found else None
        return Kept(age, from_disk, self.gate.defers, self.gate.hold, writes)

    def taken(self, delta: Delta) -> None:
        """The pipeline's directory changed by ``delta``."""
        if self._keeper:
            self._keeper.changed(delta, self._pipeline.directory.epoch, self._pipeline.directory.revision)

    async def run(self, mirror: Following) -> None:
        """Follows GDS until it is cancelled, and keeps what it says."""
        await self._load()
        async with self._keeping():
            tasks = [asyncio.create_task(mirror.run()), asyncio.create_task(self._beside(mirror.status))]
            try:
                for ended in (await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))[0]:
                    ended.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _keeping(self) -> AsyncIterator[None]:
        if self._keeper is None:
            yield
            return
        writing = asyncio.create_task(self._keeper.run(), name="keeper")
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await self._keeper.close()

    async def _load(self) -> None:
        if self.folder is None:
            return
        begun = self._clock()
        loaded = await asyncio.to_thread(self.folder.load)
        for reason in loaded.refused:
            log.error("state.refused", reason=reason)
        if self._token and self._keeper and not (self.folder.path / tokens.FILE).exists():
            self._keeper.put(tokens.FILE, tokens.made())
        if loaded.state is None:
            if await asyncio.to_thread(self._held):
                log.error("hold.lost", reason="no state on disk can be used: what was held is not known any more")
                self._remember(None)
            return
        await self.in_slices(self._resuming(loaded.state, await asyncio.to_thread(self._held)))
        self._told(loaded, loaded.state)
        log.info(
            "state.loaded",
            epoch=loaded.state.epoch,
            revision=loaded.state.revision,
            domains=len(loaded.state.domains),
            age=round(self.disk.age, 1),
            seconds=round(self._clock() - begun, 3),
        )

    def _told(self, loaded: Loaded, state: State) -> None:
        age = max(0.0, self._now() - max(loaded.heard, state.at))
        self.disk = _Disk(state.epoch, state.revision, age, self._clock(), True)

    def _resuming(self, state: State, held: hold.Hold | None) -> Work[None]:
        self.gate.resume((yield from Directory.loaded(state.snapshot())), held)

    def _held(self) -> hold.Hold | None:
        assert self.folder
        try:
            data = self.folder.content(hold.FILE)
        except StateError as error:
            log.error("state.refused", reason=str(error))
            data = b""
        return None if data is None else hold.decode(data, self._now())

    async def _beside(self, mirror: MirrorStatus) -> None:
        end = self._clock() + PATIENCE
        while not (self._pipeline.directory.complete or mirror.last_error or self._clock() > end):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if not self._pipeline.directory.complete and self.disk.found:
            log.warning("state.served", revision=self.disk.revision, reason=mirror.last_error or "GDS is slow")
            await self.in_slices(self.gate.serving_kept())
        heard = mirror.heard_at
        while True:
            await asyncio.sleep(HEARD)
            if mirror.heard_at != heard and self._keeper:
                heard = mirror.heard_at
                await asyncio.to_thread(self._keeper.heard)

    def _picture(self) -> State | None:
        directory = self._pipeline.directory
        if not directory.complete:
            return None  # an empty one on disk would be served, while GDS is away, to Envoys that hold a full one
        # A mapping's copy() is the dict's own, which takes a million names in hundredths of a second.
        pods, domains = dict(directory.pods), directory.domains.copy()  # type: ignore[attr-defined]
        return State(directory.epoch, directory.revision, self._now(), pods, domains)

    def _remember(self, held: hold.Hold | None) -> None:
        if self._keeper:
            self._keeper.put(hold.FILE, hold.encode(held) if held else None)

    def _began(self, delta: Delta | None) -> None:
        if self._keeper is None:
            return
        if delta is None:
            self._keeper.anew()
        elif delta:
            self.taken(delta)

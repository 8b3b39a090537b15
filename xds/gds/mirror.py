"""Keeps following GDS: a snapshot, then the watch from its revision, for as long as it runs.

A watch that breaks is resumed from the revision that is held; a gap, a 410 or another epoch leads to a new snapshot.
Between attempts it waits, a random part of a time that doubles, so that a fleet doesn't come back all at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, Protocol

import structlog

from xds.errors import GdsError, HistoryGone
from xds.gds.model import Snapshot, Transaction
from xds.gds.watch import Heartbeat
from xds.in_slices import InSlices
from xds.slices import Work, emptied

log = structlog.get_logger()

FIRST_WAIT = 0.1
LONGEST_WAIT = 10.0
LONGEST_PAUSE = 0.8
"""Before a watch is tried again, or what GDS refused at once, which costs it little: what changed while it was away is
due within a second of its return."""
SHARE = 10.0
"""A snapshot may cost GDS much: after one that broke, at most so many times as long as that took is waited."""


class Source(Protocol):
    """Where the directory comes from: `xds.gds.client.GdsClient`."""

    async def snapshot(self) -> Snapshot: ...

    def watch(self, epoch: str, after: int) -> AsyncIterator[Transaction | Heartbeat]: ...


class Follower(Protocol):
    """Who is told, and does it in slices. `applying` raises HistoryGone when the transaction doesn't follow what is
    held."""

    @property
    def position(self) -> tuple[str, int] | None:
        """The epoch and revision held; None before the first snapshot."""

    def replacing(self, snapshot: Snapshot) -> Work[None]: ...

    def applying(self, transaction: Transaction) -> Work[None]: ...


@dataclass
class MirrorStatus:
    """How the mirror stands with GDS. ``heard_at`` is monotonic seconds, None before the first answer; ``read`` is how
    many domains all its snapshots held together."""

    state: Literal["starting", "following", "reconnecting"] = "starting"
    gds_revision: int = 0
    heard_at: float | None = None
    snapshots: int = 0
    read: int = 0
    reconnects: int = 0
    last_error: str = ""


class Mirror:
    """One task runs `run`; ``status`` may be read at any time. Cancel the task to end it."""

    def __init__(
        self,
        source: Source,
        follower: Follower,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        in_slices: InSlices | None = None,
    ) -> None:
        self.status = MirrorStatus()
        self._in_slices = in_slices or InSlices()
        self._source = source
        self._follower = follower
        self._sleep = sleep
        self._chance = chance
        self._clock = clock
        self._failures = 0
        self._resuming = False
        self._asked_at = 0.0

    async def run(self) -> None:
        """Follows until it is cancelled; no fault of GDS ends it."""
        position = None
        while True:
            self._asked_at = self._clock()
            try:
                if position is None:
                    await self._resync()
                await self._follow()
            except HistoryGone as error:
                position, self._resuming = None, False
                self._broke(error)
            except GdsError as error:
                position = self._follower.position
                self._broke(error)
            if self._failures > 1 or position is not None or self._follower.position is None:
                await self._sleep(self._wait())

    async def _resync(self) -> None:
        self._resuming = False
        snapshot = await self._source.snapshot()
        domains = len(snapshot.domains)
        await self._in_slices(self._follower.replacing(snapshot))
        self.status.snapshots += 1
        self.status.read += domains
        self._heard(snapshot.revision)
        log.info("gds.snapshot", epoch=snapshot.epoch, revision=snapshot.revision, domains=domains)
        await self._in_slices(emptied(snapshot.domains))

    async def _follow(self) -> None:
        held = self._follower.position
        if held is None:
            raise GdsError("a snapshot was taken, yet no revision is held")
        self._resuming = True
        async with aclosing(self._source.watch(*held)) as watch:  # type: ignore[type-var]
            async for value in watch:
                if isinstance(value, Transaction):
                    await self._in_slices(self._follower.applying(value))
                    if isinstance(value.changes, list):
                        await self._in_slices(emptied(value.changes))
                else:
                    self._check(value)
                # Not before: one that always sends us back to a snapshot must not be asked without a pause.
                self._failures = 0
                self.status.state, self.status.last_error = "following", ""
                self._heard(value.revision)

    def _check(self, beat: Heartbeat) -> None:
        epoch, revision = self._follower.position or ("", 0)
        if beat.epoch != epoch or beat.revision < revision:
            raise HistoryGone(
                f"GDS stands at {beat.epoch}:{beat.revision}, which is not ahead of {epoch}:{revision}: "
                "it was replaced or restored, a new snapshot is needed"
            )

    def _heard(self, revision: int) -> None:
        self.status.gds_revision = revision
        self.status.heard_at = self._clock()

    def _broke(self, error: GdsError) -> None:
        self._failures += 1
        self.status.last_error = str(error)
        self.status.reconnects += 1
        if self._follower.position is not None:
            self.status.state = "reconnecting"
        log.warning("gds.lost", reason=str(error), failures=self._failures)

    def _wait(self) -> float:
        took = 0.0 if self._resuming else self._clock() - self._asked_at
        most = min(LONGEST_WAIT, max(LONGEST_PAUSE, SHARE * took))
        longest = min(most, FIRST_WAIT * 2.0 ** min(self._failures - 1, 20))
        return float(longest * self._chance())

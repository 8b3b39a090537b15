"""What happens, told to who listens: each has a short queue, and one who doesn't read it is let go.

The latest events are kept for who comes back, and says which one it had last. Nobody listening costs nothing; any
number of listeners cost one encoding of each event.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from xds.receipt import Nack, Publish, Receipt

QUEUE = 500
"""Events that wait for one listener."""
RATE = 200
"""Events of a second that are told; those beyond are only counted, in the next one that is told."""
KEPT = 1_000
"""Events that are kept for who comes back."""
AWAY = 300.0
"""Seconds since the last listener went, after which nobody is thought to come back."""
MISSED = "missed"
"""The event that tells one who came back that there were others which aren't kept any more."""
_CHANGES = 5
"""Changes of a revision in its event."""

Told = tuple[str, str, str]
"""An event's name, its data as JSON, and its id."""


class Happening(msgspec.Struct, omit_defaults=True):
    """``at``: seconds since 1970. ``seconds``: since the publish. ``skipped``: events before this one that weren't
    told. ``by`` and ``committed_at``: who made the change at GDS, and when (seconds since 1970), if GDS says so."""

    event: str
    at: float
    revision: int | None = None
    epoch: str = ""
    node: str = ""
    changes: int | None = None
    first_changes: tuple[dict[str, str | None], ...] = ()
    by: str = ""
    committed_at: float | None = None
    envoys: int | None = None
    pending: int | None = None
    seconds: float | None = None
    type: str = ""
    reason: str = ""
    skipped: int = 0


class Feed:
    """``tell`` is the receipts' listener."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._queues: dict[asyncio.Queue[Told | None], None] = {}
        self._kept: deque[Told] = deque(maxlen=KEPT)
        self._numbers = 0
        self._series = _series()
        """The ids of one series have no gap: another begins when events aren't kept for a while."""
        self._until = float("-inf")
        self._second = 0
        self._told = self._skipped = 0

    @contextmanager
    def listening(self, last: str = "") -> Iterator[tuple[list[Told], asyncio.Queue[Told | None]]]:
        """What came after the event with the id ``last``, as far as it is kept, and a queue of what happens while the
        block runs; None in it says that the listener was too slow."""
        queue: asyncio.Queue[Told | None] = asyncio.Queue(QUEUE + 1)
        self._queues[queue] = None
        try:
            yield self._since(last), queue
        finally:
            self._queues.pop(queue, None)
            self._until = self._clock() + AWAY

    def tell(self, event: str, about: Receipt | Publish | Nack | None, node: str) -> None:
        if not self._queues and self._clock() >= self._until:
            if self._kept:
                self._kept.clear()
                self._series = _series()
            return
        if not self._may_tell():
            return
        happening = self._made(event, about, node)
        happening.skipped, self._skipped = self._skipped, 0
        self._numbers += 1
        told = (event, msgspec.json.encode(happening).decode(), f"{self._series}-{self._numbers}")
        self._kept.append(told)
        self._send(told)

    def _since(self, last: str) -> list[Told]:
        if not last:
            return []
        series, _, number = last.rpartition("-")
        kept = [*self._kept]
        if series == self._series and number.isascii() and number.isdecimal() and len(number) < 19:
            new = self._numbers - int(number)
            if 0 <= new <= len(kept):
                return kept[len(kept) - new :]
        gap = msgspec.json.encode(Happening(MISSED, round(self._wall(), 3))).decode()
        before = f"{self._series}-{self._numbers - len(kept)}"
        return [(MISSED, gap, before), *kept]

    def _may_tell(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._told = second, 0
        self._told += 1
        if self._told > RATE:
            self._skipped += 1
        return self._told <= RATE

    def _send(self, told: Told) -> None:
        for queue in [*self._queues]:
            queue.put_nowait(told)
            if queue.qsize() > QUEUE:
                del self._queues[queue]
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)

    def _made(self, event: str, about: Receipt | Publish | Nack | None, node: str) -> Happening:
        made = Happening(event, round(self._wall(), 3), node=node)
        match about:
            case Receipt():
                made.revision, made.epoch, made.changes = about.revision, about.epoch, about.changes
                made.by, made.committed_at = about.author.by, about.author.at
                made.first_changes = tuple(
                    {"kind": one.kind, "name": one.name, "from": one.before, "to": one.after}
                    for one in about.first[:_CHANGES]
                )
            case Publish():
                made.revision, made.envoys, made.pending = about.revision, about.envoys, about.pending
                made.epoch = about.epoch
                if event != "published":
                    made.seconds = round(self._clock() - about.at, 6)
            case Nack():
                made.type, made.reason = about.type, about.reason
        return made


def _series() -> str:
    return secrets.token_hex(4)

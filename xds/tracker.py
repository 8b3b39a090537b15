"""Follows each change from GDS to the Envoys' ACKs, and wakes who waits for one: the receipts, joined to what happens.

It stands between the mirror and the gate, and is told what the pipeline publishes and what the streams settle.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable
from itertools import count, islice
from typing import Protocol

from xds.delta import Key
from xds.directory import Directory
from xds.errors import GdsError, WaitError
from xds.gds.mirror import Follower
from xds.gds.model import BadRecord, Change, DeleteDomain, DeletePod, PutDomain, PutPod, Snapshot, Transaction
from xds.measures import Measures
from xds.protocol.stream import Settled, Stream
from xds.receipt import SHOWN, Move, Nack, Publish, Receipt, Standing
from xds.receipts import Receipts
from xds.resources.types import LISTENER, ROUTE, SECRET
from xds.slices import Work, cut

LOOK = 0.25
"""Seconds between two looks at Envoys that are behind: one that lacks nothing sends no ACK."""
JOINING = 10.0
"""Seconds within which an Envoy asks for its routes; one that doesn't is taken for a client that needs none."""
LATE = 5.0
"""Seconds after which an Envoy that lacks something is worth an alarm."""
WAITERS = 500
"""Callers that wait at a time."""

_Waiting = tuple[int, int, "asyncio.Future[None]", int, str]
"""The revision, a number to tell them apart, what is set when it is there, how many Envoys must have it, and the epoch
that is meant, where there is a receipt of it already."""
Listener = Callable[[str, Receipt | Publish | Nack | None, str], None]


class Witness(Protocol):
    """Who is told all that happens, each ACK too: `xds.traces.tracer.Tracer`, where there are traces."""

    def told(self, event: str, about: Receipt | Publish | Nack | None, node: str) -> None: ...

    def acked(self, publish: Publish, key: Hashable, at: float) -> None: ...


class Tracker:
    """``directory`` is the edge's, ``followed()`` what GDS said, also of what is held. ``publishes()`` is the number of
    the cache's last publish, ``changes()`` how many changes the pipeline has taken, ``grace`` how many seconds an Envoy
    that left is waited for, ``held()`` whether something of GDS is held from the edge. ``listener`` is told what
    happens, when somebody listens."""

    def __init__(
        self,
        directory: Directory,
        *,
        keep: int = 1_000,
        grace: float = 0.0,
        publishes: Callable[[], int],
        changes: Callable[[], int],
        held: Callable[[], bool],
        searching: Callable[[], bool] = lambda: False,
        followed: Callable[[], Directory] | None = None,
        listener: Listener = lambda event, about, node: None,
        measures: Measures | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.receipts = Receipts(
            keep,
            grace=grace,
            tell=self._told,
            acked=self._acked,
            bad=lambda: directory.withheld,
            unused=self._unused,
            unused_at=self._unused_at,
            held=held,
            searching=searching,
        )
        self._directory = directory
        self._followed = followed or (lambda: directory)
        self._publishes = publishes
        self._changes = changes
        self._held = held
        self._listener = listener
        self._measures = measures or Measures()
        self.witness: Witness | None = None
        self._clock = clock
        self.wall = wall
        self._here: dict[Stream, None] = {}
        self._rejecting: dict[Stream, None] = {}
        self.waiters = 0
        self._waiting: list[_Waiting] = []
        """By revision, the lowest first: a change looks at those that it may be for, and at no other."""
        self._awaiting: dict[int, list[_Waiting]] = {}
        """Those whose revision is published: by the publish's mark."""
        self._stuck: list[_Waiting] = []
        """Those that wait for something else, a hold's end or an Envoy that just came: looked at now and then."""
        self._numbers = count()
        self._snapshots: deque[Receipt] = deque(maxlen=SHOWN)
        """Those of which it isn't noted yet what isn't used of them."""
        self._was_held = False
        self._published: tuple[str, int, int] | None = None

    # Between the mirror and the gate

    def following(self, gate: Follower) -> Follower:
        """The gate, with a receipt for all that goes through it."""
        return _Noted(gate, self)

    def replacing(self, gate: Follower, snapshot: Snapshot) -> Work[None]:
        receipt = Receipt(snapshot.epoch, snapshot.revision, "snapshot", 0, (), self._clock(), self.wall())
        self.receipts.received(receipt)
        first = None if self._directory.complete else len(snapshot.domains) + len(snapshot.pods)
        before = self._changes()
        yield from gate.replacing(snapshot)
        receipt.changes = self._changes() - before if first is None else first
        self._note_held(receipt)
        self._snapshots.append(receipt)
        self._note_snapshots()

    def applying(self, gate: Follower, transaction: Transaction) -> Work[None]:
        first = tuple(_moves(islice(transaction.changes, SHOWN), self._directory))
        epoch, revision, changes = transaction.epoch, transaction.revision, len(transaction.changes)
        position = gate.position
        if position is not None and epoch == position[0] and revision <= position[1]:
            yield from gate.applying(transaction)
            return
        made = self._clock(), self.wall()
        receipt = Receipt(epoch, revision, "change", changes, first, *made, author=transaction.author)
        receipt.held = self._held() and self._removes_pods(transaction.changes)
        self.receipts.received(receipt)
        try:
            yield from gate.applying(transaction)
        except GdsError:
            self.receipts.forget(receipt)
            raise
        self._note_held(receipt)
        yield from self._note_unused(receipt, transaction.changes)

    def _note_unused(self, receipt: Receipt, changes: Iterable[Change]) -> Work[None]:
        """Which of its records the directory has set aside: they are at no Envoy, whatever these ACK."""
        directory = self._followed() if receipt.held else self._directory
        if not directory.set_aside_total:
            return
        for some in cut(changes):
            for kind, name in _put(some):
                aside = directory.unused(kind, name)
                if aside is not None:
                    receipt.note_bad((kind, aside.name), aside.reason)
            yield

    def _note_snapshots(self) -> None:
        """Which records the directory has set aside of a snapshot, which has them all: of one that is held it isn't
        known before it is released."""
        waiting, self._snapshots = self._snapshots, deque(maxlen=SHOWN)
        for receipt in waiting:
            if receipt.held:
                self._snapshots.append(receipt)
            elif self._directory.set_aside_total:
                aside = self._directory.set_aside
                for key, one in aside.items():
                    if one.revision <= receipt.revision:
                        receipt.note_bad(key, one.reason)
                receipt.more_bad += self._directory.set_aside_total - len(aside)

    def _unused(self, key: Key, revision: int) -> bool:
        aside = self._directory.unused(*key)
        return aside is not None and aside.revision <= max(revision, self._directory.base)

    def _unused_at(self, revision: int | None) -> bool:
        return self._directory.set_aside_total > 0 if revision is None else self._directory.unused_at(revision)

    def _note_held(self, receipt: Receipt) -> None:
        at_edge = (self._directory.epoch, self._directory.revision) == (receipt.epoch, receipt.revision)
        if self._held() and (receipt.held or not at_edge):
            self.receipts.hold(receipt)
        elif receipt.held:
            self.receipts.released()
        self._see_hold()

    def _removes_pods(self, changes: Iterable[Change]) -> bool:
        """While something is held such a removal waits, though the rest of its change goes out (`xds.gate`)."""
        return any(isinstance(one, DeletePod) and one.name in self._directory.pods for one in changes)

    # What the rest says

    def published(self, epoch: str, revision: int) -> None:
        """The pipeline has published everything up to this revision."""
        told = epoch, revision, self._publishes()
        if told == self._published:
            self.receipts.nothing_new()
        else:
            self._published = told
            self.receipts.published(*told, self._clock())
        if self._snapshots:
            self._note_snapshots()

    @property
    def streams(self) -> Collection[Stream]:
        """Those that have said who they are, but for those of names on demand."""
        return self._here.keys()

    @property
    def rejecting(self) -> list[Stream]:
        """Those of ``streams`` that reject something now."""
        return [stream for stream in self._rejecting if stream.rejecting is not None]

    @property
    def late(self) -> list[Hashable]:
        """Those that lack something which was published more than `LATE` seconds ago, but for those that reject."""
        return [stream for stream in self.receipts.late(self._clock() - LATE) if stream not in self._rejecting]

    def joined(self, stream: Stream, node: str) -> None:
        self._here[stream] = None
        if stream.only not in (LISTENER, SECRET):
            self.receipts.joined(stream, node, self._clock(), stream.only.name if stream.only else "")

    def connected_since(self, stream: Stream) -> float | None:
        """By the tracker's clock; None for one that isn't followed."""
        return self.receipts.joined_at(stream)

    def left(self, stream: Stream) -> None:
        self._here.pop(stream, None)
        self._rejecting.pop(stream, None)
        self.receipts.left(stream, self._clock())

    def settled(self, stream: Stream, settled: Settled) -> None:
        """An Envoy ACKed or NACKed something."""
        self.receipts.searched()
        if settled.error is not None and stream in self._here:
            self._rejecting[stream] = None
        elif stream in self._rejecting and stream.rejecting is None:
            del self._rejecting[stream]
        position = self.receipts.position(stream)
        if position is None:
            return
        if settled.error is not None:
            at = stream.rejected_at(settled.kind)
            self.receipts.refused(stream, at, settled.kind.name, settled.error, self._clock())
        self._weigh(stream, position, acked=True)

    def look(self) -> None:
        """At what nobody says: a hold that ended, Envoys that lack nothing or don't come back, and who waits in vain so
        far."""
        self._see_hold()
        self.receipts.over(self._clock())
        self.receipts.searched()
        for stream in [one for one in self.receipts.behind if isinstance(one, Stream)]:
            self._weigh(stream, self.receipts.position(stream) or 0, acked=False)
        stuck, self._stuck = self._stuck, []
        self._sort(stuck)

    def _see_hold(self) -> None:
        held = self._held()
        if self._was_held and not held:
            self.receipts.released()
            self._note_snapshots()
        self._was_held = held

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK)
            self.look()

    def _weigh(self, stream: Stream, position: int, *, acked: bool) -> None:
        if position < 0 and not self._has_begun(stream):
            return
        self.receipts.reached(stream, stream.reached, self._clock(), acked=acked, serves=stream.has(ROUTE))

    def _has_begun(self, stream: Stream) -> bool:
        if stream.only is not None:
            return stream.has(stream.only)
        return stream.has(ROUTE) or self._clock() - (self.receipts.joined_at(stream) or 0.0) > JOINING

    # Who waits

    async def wait(self, revision: int, seconds: float, least: int = 0) -> Standing:
        """How a revision stands: as soon as every Envoy has it, and so many do, or it won't be so by waiting; else
        after so many seconds. Raises WaitError when too many wait."""
        standing = self.receipts.standing(revision, least)
        if standing.final or seconds <= 0:
            return standing
        if self.waiters >= WAITERS:
            raise WaitError(f"{WAITERS} callers wait for a revision already: ask again without `wait`, or later")
        self.waiters += 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Another GDS may have a revision of that number, too: it isn't the one that was begun to be waited for.
        epoch = standing.receipt.epoch if standing.receipt else ""
        self._sort([(revision, next(self._numbers), done, least, epoch)])
        try:
            await asyncio.wait([done], timeout=seconds)
        finally:
            self.waiters -= 1
            done.cancel()
            self._forget_gone()
        return self.receipts.standing(revision, least, epoch)

    def _forget_gone(self) -> None:
        """Those that went before their time; what else waits may be many, so that it is only looked at now and then."""
        if sum(map(len, (self._waiting, self._stuck, *self._awaiting.values()))) <= 2 * self.waiters + 10:
            return
        self._waiting = [entry for entry in self._waiting if not entry[2].done()]
        heapq.heapify(self._waiting)
        self._stuck = [entry for entry in self._stuck if not entry[2].done()]
        left = {mark: [entry for entry in entries if not entry[2].done()] for mark, entries in self._awaiting.items()}
        self._awaiting = {mark: entries for mark, entries in left.items() if entries}

    def _sort(self, entries: Iterable[_Waiting]) -> None:
        """Each to what it waits for."""
        for entry in entries:
            if entry[2].done():
                continue
            standing = self.receipts.standing(entry[0], entry[3], entry[4])
            if standing.final:
                entry[2].set_result(None)
            elif standing.state == "expected":
                heapq.heappush(self._waiting, entry)
            elif standing.publish is not None and standing.publish.pending:
                self._awaiting.setdefault(standing.publish.mark, []).append(entry)
            else:
                self._stuck.append(entry)

    def _acked(self, publish: Publish, key: Hashable, at: float) -> None:
        if publish.received is not None:
            self._measures.convergence.observe(at - publish.received)
        if self.witness is not None:
            self.witness.acked(publish, key, at)

    def _told(self, event: str, about: Receipt | Publish | Nack | None, node: str) -> None:
        if event == "published":
            due = []
            while self._waiting and self._waiting[0][0] <= self.receipts.revision:
                due.append(heapq.heappop(self._waiting))
            self._sort(due)
        elif event == "complete" and isinstance(about, Publish):
            if about.received is not None and about.last_ack is not None:
                self._measures.fleet_convergence.observe(about.last_ack - about.received)
            self._sort(self._awaiting.pop(about.mark, ()))
        self._listener(event, about, node)
        if self.witness is not None:
            self.witness.told(event, about, node)


class _Noted:
    def __init__(self, gate: Follower, tracker: Tracker) -> None:
        self._gate = gate
        self._tracker = tracker

    @property
    def position(self) -> tuple[str, int] | None:
        return self._gate.position

    def replacing(self, snapshot: Snapshot) -> Work[None]:
        yield from self._tracker.replacing(self._gate, snapshot)

    def applying(self, transaction: Transaction) -> Work[None]:
        yield from self._tracker.applying(self._gate, transaction)


def _put(changes: Iterable[Change]) -> Iterable[Key]:
    for change in changes:
        match change:
            case PutDomain(domain, _):
                yield "domain", domain
            case PutPod(pod):
                yield "pod", pod.name
            case BadRecord(kind, name, _):
                yield kind, name
            case _:
                continue


def _moves(changes: Iterable[Change], directory: Directory) -> Iterable[Move]:
    for change in changes:
        match change:
            case PutDomain(domain, pod):
                yield Move("domain", domain, directory.domains.get(domain), pod)
            case DeleteDomain(domain):
                yield Move("domain", domain, directory.domains.get(domain), None)
            case PutPod(pod):
                yield Move("pod", pod.name, pod.name if pod.name in directory.pods else None, pod.name)
            case DeletePod(name):
                yield Move("pod", name, name if name in directory.pods else None, None)
            case _:
                continue

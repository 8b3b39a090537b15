"""``GET /watch``: where a watcher goes on, and the events it is sent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import groupby
from operator import attrgetter

import msgspec
from sse_starlette import ServerSentEvent

from gds_mock.errors import BadRequest, HistoryGone, StoreUnavailable
from gds_mock.service import Service
from gds_mock.store import Logged, Store
from gds_mock.values import Change, encode

CHANGES_PER_EVENT = 1_000

_REVISION = re.compile(r"[0-9]{1,18}")


class _ChangeEvent(msgspec.Struct, omit_defaults=True):
    revision: int
    changes: list[Change]
    more: bool
    by: str | None = None
    at: str | None = None


class _Heartbeat(msgspec.Struct):
    epoch: str
    revision: int


def parse_position(last_event_id: str | None, epoch: str | None, after: str | None) -> tuple[str, int]:
    """The epoch and revision a watcher has: from ``Last-Event-ID: E:N``, else from the query. Raises BadRequest."""
    if last_event_id:
        epoch, _, after = last_event_id.rpartition(":")
        if not epoch or not _REVISION.fullmatch(after):
            raise BadRequest(f"Last-Event-ID must be <epoch>:<revision>, not {last_event_id[:80]!r}")
    elif not epoch or after is None or not _REVISION.fullmatch(after):
        raise BadRequest("say where to go on: ?epoch=<epoch>&after=<revision>, or Last-Event-ID")
    return epoch, int(after)


def cut(epoch: str, logged: list[Logged], limit: int = CHANGES_PER_EVENT) -> list[bytes]:
    """The events for the first ``limit`` of these changes. One change beyond them tells whether a revision goes on.

    Only the last event of a revision has an id, so that nobody resumes in the middle of one.
    """
    taken = logged[:limit]
    beyond = logged[limit].revision if len(logged) > limit else None
    events = []
    for revision, group in groupby(taken, attrgetter("revision")):
        more, entries = revision == beyond, [*group]
        event = _ChangeEvent(revision, [entry.change for entry in entries], more, entries[0].by, entries[0].at)
        data = encode(event).decode()
        events.append(
            ServerSentEvent(data, event="change", id=None if more else f"{epoch}:{revision}", sep="\n").encode()
        )
    return events


async def watch(service: Service, seq: int, revision: int) -> AsyncIterator[bytes]:
    """Everything after ``seq``, where ``revision`` ended, as it is committed, and heartbeats between revisions.

    Ends when the server goes, or when history is cut under a watcher that is too slow: it then resumes into 410.
    """
    store, clock = service.store, asyncio.get_running_loop().time
    beat_at = clock()
    whole = True  # all of `revision` has been sent
    while not service.pulse.closed:
        if whole and clock() >= beat_at:
            if service.store_answers:
                yield _heartbeat(store.epoch, max(revision, service.pulse.revision))
            beat_at = clock() + service.settings.heartbeat
        if whole and not await service.pulse.newer_than(revision, patience=max(0.0, beat_at - clock())):
            continue
        try:
            position, events = await service.read(_next_events, store, seq)
        except HistoryGone:
            return
        except StoreUnavailable:  # goes on where it is when the store answers again; without heartbeats until then
            await asyncio.sleep(service.settings.look_for_others)
            continue
        for event in events:
            yield event
        if position is not None:
            seq, revision, whole = position


def _next_events(store: Store, seq: int) -> tuple[tuple[int, int, bool] | None, list[bytes]]:
    logged = store.changes_after(seq, CHANGES_PER_EVENT + 1)
    if not logged:
        return None, []
    last = logged[:CHANGES_PER_EVENT][-1]
    whole = len(logged) <= CHANGES_PER_EVENT or logged[-1].revision != last.revision
    return (last.seq, last.revision, whole), cut(store.epoch, logged)


def _heartbeat(epoch: str, revision: int) -> bytes:
    return ServerSentEvent(encode(_Heartbeat(epoch, revision)).decode(), event="heartbeat", sep="\n").encode()

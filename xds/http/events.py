"""Server-sent events: changes as they flow, and the status each second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from xds.http.feed import Feed
from xds.http.places import Places
from xds.http.problems import problems
from xds.http.serve import is_leaving
from xds.http.status import status_of
from xds.http.view import View

LISTENERS = 100
EVERY = 1.0
"""Seconds between two `status` events."""
_LOOK = 0.3
"""Seconds between two looks at whether the control plane ends."""

_SAMPLE = (
    "id: 5f2c09aa-41\nevent: complete\n"
    'data: {"event":"complete","at":1764107999.2,"revision":7,"envoys":3,"seconds":0.012}\n\n'
)


def events_api(view: View, feed: Feed) -> APIRouter:
    api = APIRouter(prefix="/api/v1", tags=["status"])
    latest = _Latest(view)
    places = Places(LISTENERS, "too many listen already: try again later")

    @api.get(
        "/events",
        response_class=Response,
        responses={
            200: {"content": {"text/event-stream": {"example": _SAMPLE}}, "description": "Server-sent events."},
            **problems(503),
        },
    )
    async def events(
        request: Request,
        last_event_id: Annotated[
            str, Header(max_length=100, description="the `id` of the event that was heard last, by who comes back")
        ] = "",
    ) -> Response:
        """What happens, as it does, and `status` each second with what `/api/v1/status` says. The others are
        `received`, `held`, `released`, `published`, `first_ack`, `complete`, `nack`, `connected`, `disconnected`:
        `data` names the `revision`, the `node`, the first changes, seconds since the publish, as far as each applies.
        Of more than 200 events in a second the rest is only counted (`skipped`). Who doesn't read is let go. Who comes
        back with `Last-Event-ID` is told first what it missed, of the newest 1,000 events; `missed` comes first when
        there were others."""
        told = _told(latest, feed, last_event_id, partial(is_leaving, request.app))
        # It ends by itself, and whole.
        return places.held(EventSourceResponse(told, sep="\n", ping=15, shutdown_grace_period=2 * EVERY))

    return api


class _Latest:
    """The status as JSON, made once for all who listen."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._at = float("-inf")
        self._json = ""

    def json(self) -> str:
        now = time.monotonic()
        if now - self._at > 0.8 * EVERY:
            self._at, self._json = now, status_of(self._view).model_dump_json()
        return self._json


async def _told(latest: _Latest, feed: Feed, last: str, leaving: Callable[[], bool]) -> AsyncIterator[ServerSentEvent]:
    clock = asyncio.get_running_loop().time
    due = clock()
    with feed.listening(last) as (missed, queue):
        for event, data, number in missed:
            yield ServerSentEvent(data, event=event, id=number, sep="\n")
        while not leaving():
            if clock() >= due:
                due = clock() + EVERY
                yield ServerSentEvent(latest.json(), event="status", sep="\n")
            try:
                async with asyncio.timeout_at(min(due, clock() + _LOOK)):
                    told = await queue.get()
            except TimeoutError:
                continue
            if told is None:
                return
            event, data, number = told
            yield ServerSentEvent(data, event=event, id=number, sep="\n")

"""The pages' addresses, and the headers that keep what is on them from being more than text. Everything here reads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, StreamingResponse

from xds.http.page import render
from xds.http.page.content import CopyRow, Explanation, Listing, OneChange, Status
from xds.http.page.live import Live, Shown
from xds.http.page.words import clock
from xds.http.paging import REVISIONS
from xds.http.places import Places
from xds.http.serve import is_leaving

VIEWERS = 50
"""Of what moves, at most so many at a time."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types pointsman"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_TYPES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


class Facts(Protocol):
    """What the pages show: `xds.http.page.gather`. ``after`` is a listing's cursor, empty for its beginning; ValueError
    when it is none."""

    def happened(self) -> Hashable:
        """Something else once something has happened. Cheap."""

    def status(self) -> Status: ...

    async def listing(self, page: str, after: str) -> tuple[Listing[Any], str]:
        """Some rows of one of `render.PAGES`, and a sentence about them."""

    async def explain(self, host: str) -> Explanation:
        """Of any text that somebody may have written."""

    async def copies(self, host: str, after: str) -> Listing[CopyRow]:
        """What every Envoy has of it, in pages. Raises HTTPException for what is no host."""

    def change(self, number: int, after: str) -> OneChange | None:
        """The receipt of that number; None when it isn't remembered."""


def pages(facts: Facts, *, monotonic: Callable[[], float]) -> APIRouter:
    """``monotonic``: seconds."""
    router = APIRouter(include_in_schema=False)
    live = Live(lambda: _look(facts), facts.happened, clock=monotonic)
    places = Places(VIEWERS, "as many are watching the status page as may at a time; reload it instead")

    @router.get("/")
    async def status() -> HTMLResponse:
        return _page(render.status_page(facts.status()))

    @router.get("/live")
    async def moving(request: Request) -> Response:
        events = _events(live, partial(is_leaving, request.app))
        return places.held(StreamingResponse(events, media_type="text/event-stream", headers=HEADERS))

    @router.get("/explain")
    async def explain(host: Annotated[str, Query(max_length=300)] = "") -> HTMLResponse:
        asked = host.strip()
        return _page(render.explain_page(asked, await facts.explain(asked) if asked else None))

    @router.get("/explain-envoys")
    async def explain_envoys(
        host: Annotated[str, Query(max_length=300)], after: Annotated[str, Query(max_length=600)] = ""
    ) -> HTMLResponse:
        asked = host.strip()
        try:
            copies = await facts.copies(asked, after)
        except ValueError:
            raise HTTPException(400, f"{after!r} is no place in this list; begin without `after`") from None
        return _page(render.copies_page(asked, copies, first=bool(after)))

    @router.get("/change")
    async def change(
        number: Annotated[int, Query(ge=0, le=REVISIONS)], after: Annotated[str, Query(max_length=600)] = ""
    ) -> HTMLResponse:
        try:
            found = facts.change(number, after)
        except ValueError:
            raise HTTPException(400, f"{after!r} is no place in this list; begin without `after`") from None
        if found is None:
            raise HTTPException(
                404, "that change isn't remembered (setting http.receipts); /changes has those that are"
            )
        return _page(render.change_page(found, first=bool(after)))

    @router.get("/static/{name}")
    async def static(name: str) -> FileResponse:
        if name not in _TYPES:
            raise HTTPException(404, "no such file")
        headers = {**HEADERS, "cache-control": "public, max-age=31536000, immutable"}
        return FileResponse(render.STATIC / name, media_type=_TYPES[name], headers=headers)

    for name in render.PAGES:
        router.add_api_route(f"/{name}", _listing(facts, name))
    return router


def _listing(facts: Facts, name: str) -> Any:
    async def listing(after: Annotated[str, Query(max_length=4_000)] = "") -> HTMLResponse:
        try:
            rows, said = await facts.listing(name, after)
        except ValueError:
            raise HTTPException(400, f"{after!r} is no place in this list; begin at /{name}") from None
        return _page(render.list_page(name, rows, said, first=bool(after)))

    return listing


def _look(facts: Facts) -> Shown:
    status = facts.status()
    return Shown(status.now, render.sections(status))


async def _events(live: Live, leaving: Callable[[], bool]) -> AsyncIterator[str]:
    async with aclosing(live.follow(leaving)) as messages:
        async for message in messages:
            if message.section is None:
                yield f"event: tick\ndata: {clock(message.now)}\n\n"
            else:
                data = json.dumps({"id": message.section, "html": message.html})
                yield f"event: section\ndata: {data}\n\n"


def _page(html: str) -> HTMLResponse:
    return HTMLResponse(html, headers=HEADERS)

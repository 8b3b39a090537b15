"""What the edge would get against what it has: what is held back, and what each Envoy lacks."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from xds.http.paging import Limit, Mark, MarkCursor, Page, cursor_of, mark_of
from xds.http.problems import problems
from xds.http.view import View
from xds.protocol.stream import DIRECTORY, Stream
from xds.resources.types import LISTENER
from xds.slices import cut

Held = Callable[[], Sequence[str]]
"""The domains that are held back."""
Waits = Callable[[str], tuple[str | None, str | None] | None]
"""Of a domain that is held back: its pod at the edge, and at GDS."""
_SLICE = 20_000
"""Domains that are looked at between two turns of the event loop."""
_HELD, _ENVOY = 0, 1
"""The numbers of the marks of what is held, and of what an Envoy lacks."""


class Difference(BaseModel):
    """``kind`` "held": the domain ``name`` would go ``from`` its pod at the edge ``to`` the one that GDS says, and
    waits for a release. ``kind`` "envoy": the resource ``name`` of ``type`` isn't ACKed by ``node`` in the version that
    is published: it has version ``from``, null for none that is known, and is to have ``to``, null for a removal;
    ``reason``: why it rejected that."""

    model_config = ConfigDict(populate_by_name=True)
    kind: Literal["held", "envoy"]
    name: str
    before: Annotated[str | None, Field(alias="from")]
    after: Annotated[str | None, Field(alias="to")]
    node: str | None = None
    type: str | None = None
    reason: str | None = None


_Marked = tuple[Mark, Difference]


def differences_api(view: View, held: Held = tuple, waits: Waits = lambda domain: None) -> APIRouter:
    api = APIRouter(prefix="/api/v1", tags=["revisions"])

    @api.get("/diff", responses=problems(404))
    async def diff(
        limit: Limit = 100,
        cursor: MarkCursor = "",
        node: Annotated[str, Query(max_length=300, description="only what this Envoy lacks")] = "",
    ) -> Page[Difference]:
        """What the edge would get against what it has; nothing when every Envoy has all that GDS says. First what is
        held, by name, then Envoy by Envoy. ``total`` is null: what differs is only looked for as far as a page
        goes."""
        if node and all(stream.node is None or stream.node.id != node for stream in view.streams()):
            raise HTTPException(404, f"no Envoy with the node id {node[:80]!r} is connected")
        after = mark_of(cursor)
        found: list[tuple[Mark, Difference]] = []
        if not node and (after is None or after[0] <= _HELD):
            found = await _held(held(), waits, after, limit + 1)
        found += islice(_at_envoys(view, node, after), limit + 1 - len(found))
        more = cursor_of(found[limit - 1][0]) if len(found) > limit else None
        return Page[Difference](items=[one for _, one in found[:limit]], next=more, total=None)

    return api


async def held_page(
    held: Sequence[str], waits: Waits, cursor: MarkCursor, limit: int
) -> tuple[list[tuple[str, str | None, str | None]], str | None]:
    """Domains that are held back, by name, each with its pod at the edge and at GDS; and the cursor of the next
    page."""
    names = await _named(held, mark_of(cursor), limit + 1)
    found = [(name, waits(name)) for name in names[:limit]]
    more = cursor_of((_HELD, names[limit - 1])) if len(names) > limit else None
    return [(name, *pods) for name, pods in found if pods is not None], more


async def _held(held: Sequence[str], waits: Waits, after: Mark | None, most: int) -> list[_Marked]:
    found = [(name, waits(name)) for name in await _named(held, after, most)]
    return [
        ((_HELD, name), Difference(kind="held", name=name, before=pods[0], after=pods[1]))
        for name, pods in found
        if pods is not None  # it was held when the names were looked at
    ]


async def _named(held: Sequence[str], after: Mark | None, most: int) -> list[str]:
    """By name. A rollback may hold every domain that there is: so they are looked at in slices."""
    found: list[str] = []
    for some in cut(held, _SLICE):
        found = heapq.nsmallest(most, chain(found, (name for name in some if after is None or (_HELD, name) > after)))
        await asyncio.sleep(0)
    return found


def _at_envoys(view: View, node: str, after: Mark | None) -> Iterator[_Marked]:
    """By node id and, of several streams of one, by when they came; then by type and name: so a page goes on where the
    one before ended, whatever came or went."""
    newest = view.cache.publishes
    lacking = [
        (f"{stream.node.id}\0{_came(view, stream):015d}\0", stream)
        for stream in view.streams()
        if stream.node is not None and (not node or stream.node.id == node) and _lacks(stream, newest)
    ]
    for begins, stream in sorted(lacking, key=itemgetter(0)):
        if after is None or after < (_ENVOY, begins + "\U0010ffff"):
            yield from (one for one in _of(view, stream, begins) if after is None or one[0] > after)


def _came(view: View, stream: Stream) -> int:
    """In milliseconds of some clock; 0 for one that asks for nothing of the directory."""
    return int(1_000 * (view.tracker.connected_since(stream) or 0.0))


def _lacks(stream: Stream, newest: int) -> bool:
    return stream.reached < newest or stream.rejecting is not None


def _of(view: View, stream: Stream, begins: str) -> Iterator[_Marked]:
    assert stream.node is not None
    for place, kind in enumerate((*DIRECTORY, LISTENER)):
        published = view.cache.view(kind)
        for name in stream.lacking(kind):
            wanted = published.get(name)
            version = wanted.version if wanted else None
            status, acked = stream.resource(kind, name)
            if version != (acked or None):
                yield (
                    (_ENVOY, f"{begins}{place}\0{name}"),
                    Difference(
                        kind="envoy",
                        name=name,
                        before=acked or None,
                        after=version,
                        node=stream.node.id,
                        type=kind.name,
                        reason=(status.error or None) if status else None,
                    ),
                )

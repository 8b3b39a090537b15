"""What the edge would get against what it has: what is held back, and what each Envoy lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from xds.http.paging import Cursor, Limit, Page, number_of
from xds.http.problems import problems
from xds.http.view import View
from xds.protocol.stream import DIRECTORY, Stream
from xds.resources.types import LISTENER

Held = Callable[[], Iterable[tuple[str, str | None, str | None]]]
"""The domains that are held back: each with its pod at the edge, and at GDS."""


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


def differences_api(view: View, held: Held = tuple) -> APIRouter:
    api = APIRouter(prefix="/api/v1", tags=["revisions"])

    @api.get("/diff", responses=problems(400, 404))
    async def diff(
        limit: Limit = 100,
        cursor: Cursor = "",
        node: Annotated[str, Query(max_length=1000, description="only of this Envoy, by its node id")] = "",
    ) -> Page[Difference]:
        """What the edge would get against what it has; nothing when every Envoy has all that GDS says. ``total`` is
        null: what differs is only looked for as far as a page goes. A cursor counts from the beginning, so that what
        comes or goes meanwhile may be missed, or come twice."""
        if node and all(stream.node is None or stream.node.id != node for stream in view.streams()):
            raise HTTPException(404, f"no Envoy with the node id {node[:80]!r} is connected")
        skip = number_of(cursor) or 0
        found = _differences(view, held, node)
        some = list(islice(found, skip, skip + limit + 1))
        more = str(skip + limit) if len(some) > limit else None
        return Page[Difference](items=some[:limit], next=more, total=None)

    return api


def _differences(view: View, held: Held, node: str) -> Iterator[Difference]:
    if not node:
        for domain, edge, gds in held():
            yield Difference(kind="held", name=domain, before=edge, after=gds)
    newest = view.cache.publishes
    for stream in view.streams():
        if stream.node is not None and (not node or stream.node.id == node) and _lacks(stream, newest):
            yield from _of(view, stream, stream.node.id)


def _lacks(stream: Stream, newest: int) -> bool:
    return stream.reached < newest or stream.rejecting is not None


def _of(view: View, stream: Stream, node: str) -> Iterator[Difference]:
    for kind in (*DIRECTORY, LISTENER):
        published = view.cache.view(kind)
        for name in stream.lacking(kind):
            wanted = published.get(name)
            version = wanted.version if wanted else None
            status, acked = stream.resource(kind, name)
            if version != (acked or None):
                yield Difference(
                    kind="envoy",
                    name=name,
                    before=acked or None,
                    after=version,
                    node=node,
                    type=kind.name,
                    reason=(status.error or None) if status else None,
                )

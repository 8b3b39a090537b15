"""The connected Envoys in the API: what each was sent, ACKed and NACKed, type by type."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from xds.http.paging import Cursor, Limit, Page, number_of
from xds.http.problems import problems
from xds.http.view import View
from xds.server.streams import NodeState


class TypeShown(BaseModel):
    """One resource type on one stream; counts are of responses. ``version_…`` name the content of a response, the same
    on every replica. ``rejecting``: resources that it rejects now. ``spared``: resources that it came back with, other
    than what is published, and keeps for now. ``rejected``: the first names in the response that was NACKed last."""

    type: str
    wildcard: bool
    subscribed: int
    resources: int
    sent: int
    acked: int
    nacked: int
    in_flight: int
    rejecting: int
    spared: int
    version_sent: str
    version_acked: str
    version_nacked: str
    last_nack: str
    rejected: list[str]


class NodeShown(BaseModel):
    """One stream of an Envoy. ``converged``: it ACKed everything that is published of the directory. ``identity``: its
    certificate's; empty on plaintext. ``variant``: "delta" or "sotw"."""

    node: str
    cluster: str
    user_agent: str
    peer: str
    identity: str
    variant: str
    connected_seconds: float
    converged: bool
    rejecting: bool
    types: list[TypeShown]


class Node(BaseModel):
    """All streams of an Envoy; an Envoy has one, unless several say the same node id."""

    node: str
    streams: list[NodeShown]


def nodes_api(view: View) -> APIRouter:
    api = APIRouter(prefix="/api/v1/nodes", tags=["envoys"])

    @api.get("", responses=problems(400))
    async def nodes(limit: Limit = 100, cursor: Cursor = "") -> Page[NodeShown]:
        """The connected Envoys, those that came first first; a stream of names on demand isn't listed."""
        found = view.nodes_after(number_of(cursor) or 0, limit + 1)
        more = str(found[limit - 1].number) if len(found) > limit else None
        items = [_shown(view, state) for state in found[:limit]]
        return Page[NodeShown](items=items, next=more, total=len(view.tracker.streams))

    @api.get("/{node}", responses=problems(404))
    async def one(node: str) -> Node:
        """By its node id."""
        streams = (stream for stream in view.streams() if stream.node is not None and stream.node.id == node)
        found = [_shown(view, state) for state in view.nodes_of(streams)]
        if not found:
            raise HTTPException(404, f"no Envoy with the node id {node[:200]!r} is connected here")
        return Node(node=node, streams=found)

    return api


def _shown(view: View, state: NodeState) -> NodeShown:
    rejecting = any(one.rejecting for one in state.types)
    return NodeShown(
        node=state.node,
        cluster=state.cluster,
        user_agent=state.user_agent,
        peer=state.peer,
        identity=state.identity,
        variant=state.variant,
        connected_seconds=state.connected_seconds,
        converged=state.reached >= view.cache.publishes and not rejecting,
        rejecting=rejecting,
        types=[TypeShown.model_validate(one, from_attributes=True) for one in state.types],
    )

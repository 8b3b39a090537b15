"""One ADS stream: its types side by side, in the order in which a publish must arrive.

Pure: `receive` and `changed` take what happened, `responses` gives what is to be sent. Two things wait for the client:
what may lead to a cluster, until the client ACKed the clusters; and the removal of what may be led to, until it ACKed
what led to it. The rim bounds either wait with a timer, and then calls `release`.

While ``defers()``, what comes from the directory may be older here than at a client that comes back: one that asks for
differences, and so says what it has, keeps that (`xds.protocol.subscription`), until `catch_up`. What it lacks it is
sent, and so is a new client. One that asks for the state of the world is sent all of it as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count

from xds.cache import Changed
from xds.errors import ProtocolError
from xds.protocol.delta import DeltaType
from xds.protocol.messages import DeltaRequest, Node, Request, Response, SotwRequest
from xds.protocol.sotw import SotwType
from xds.protocol.state import Bounds, ResourceStatus, Settled, TypeState
from xds.resources.types import BY_URL, CLUSTER, ENDPOINT, ROUTE, SCOPE, SECRET, TYPES, Resource, ResourceType

__all__ = ["Settled", "Stream"]

View = Callable[[ResourceType], Mapping[str, Resource]]

DIRECTORY = (CLUSTER, ENDPOINT, SCOPE, ROUTE)
"""The types whose resources are made from the directory."""
_UNKNOWN_TYPES = 16
_SHOWN = 200
"""Characters of what a client says of itself and nothing depends on."""
_NODE_ID = 1_000


class Stream:
    """``view`` gives the live resources of a type: `xds.cache.Cache.view`. ``only`` is the one type of a stream that
    carries a single type; None for an aggregated one. ``response_bytes`` bounds the resources of one delta response:
    below the 4 MiB that gRPC clients accept unless told otherwise. ``max_names`` bounds what one type may subscribe
    to. ``newest`` is the number of the cache's last publish, where one cares."""

    def __init__(
        self,
        view: View,
        only: ResourceType | None = None,
        *,
        response_bytes: int = 3_500_000,
        max_names: int = 100_000,
        newest: Callable[[], int] | None = None,
        defers: Callable[[], bool] = lambda: False,
    ) -> None:
        self.node: Node | None = None
        self.sent_at = 0.0
        """When its newest response began to be written, as the rim says."""
        self.unknown: dict[str, None] = {}
        """Types asked for that aren't served; the first few."""
        self._view = view
        self.only = only
        self._bounds = Bounds(response_bytes, max_names)
        self._types: dict[ResourceType, DeltaType | SotwType] = {}
        self._counted = newest is not None
        self._newest = newest or (lambda: 0)
        self._defers = defers
        self._nonces = count(1)
        self._pushes_released = False
        self._removals_released = False
        self._disturbed = False

    def receive(self, request: Request) -> Settled | None:
        """Takes a request; returns what it ACKed or NACKed. Raises ProtocolError when the stream can't go on."""
        if self.node is None:
            if request.node is None or not request.node.id:
                raise ProtocolError("the first request has no node.id; set `node.id` in Envoy's bootstrap")
            self.node = _bounded(request.node)
        kind = self._kind(request.type_url)
        if kind is None:
            if len(self.unknown) < _UNKNOWN_TYPES:
                self.unknown[request.type_url[:_SHOWN]] = None
            return None
        if kind not in self._types:
            if isinstance(request, DeltaRequest):
                spares = kind in DIRECTORY and self._defers()
                # Of secrets each stream has a view of its own, which mustn't be kept for others.
                published = self._newest() if self._counted and kind is not SECRET else None
                self._types[kind] = DeltaType(kind, self._view(kind), self._bounds, spares=spares, published=published)
            else:
                self._types[kind] = SotwType(kind, self._view(kind), self._bounds)
        match self._types[kind], request:
            case DeltaType() as delta, DeltaRequest():
                return delta.receive(request)
            case SotwType() as sotw, SotwRequest():
                return sotw.receive(request)
            case _:
                raise ProtocolError("delta and state-of-the-world requests came over one stream")

    def changed(self, changed: Changed) -> None:
        """These names differ now in the cache."""
        self._disturbed = True
        if CLUSTER in changed:
            self._pushes_released = False
        if any(kind.held for kind in changed):
            self._removals_released = False
        for kind, names in changed.items():
            if kind in self._types:
                self._types[kind].changed(names)

    def catch_up(self) -> None:
        """What is here is the newest again: who was spared is sent it."""
        self._disturbed = True
        self._pushes_released = self._removals_released = False
        for held in self._types.values():
            held.catch_up()

    @property
    def spared(self) -> int:
        """How many resources the client has otherwise, or may have, and isn't sent."""
        return sum(held.spared for held in self._types.values())

    def release(self) -> None:
        """The client had its time to ACK: what is held goes now. Removals have their own time after that of pushes."""
        if self._pushes_wait:
            self._pushes_released = True
        else:
            self._removals_released = True

    @property
    def holding(self) -> bool:
        """Something is held that `release` would let go."""
        return self._pushes_wait or self._removals_wait

    @property
    def idle(self) -> bool:
        """Nothing is to be sent, now or when something is let go."""
        for held in self._types.values():  # noqa: SIM110  several times for each response: a generator costs as much
            if not held.idle:
                return False
        return True

    def responses(self) -> Iterator[Response]:
        """What is to be sent now, in order; each is counted as sent when it is taken."""
        removals = not self._leaves or self._may_remove
        yield from self._in_order()
        if not removals and self._may_remove:
            # What they waited for turned out to need no sending: no ACK will come to send them after.
            yield from self._in_order()

    def _in_order(self) -> Iterator[Response]:
        place = 0
        while place < len(TYPES):
            kind = TYPES[place]
            held = self._types.get(kind)
            if held is None or held.idle:
                place += 1
                continue
            nonce = str(next(self._nonces))
            pushes = not (kind.held and self._clusters_unsettled)
            response = held.next_response(nonce, pushes=pushes, removals=held.leaving and self._may_remove)
            if response is None:
                place += 1
                continue
            if not held.pushing and not held.spared:
                held.holdings.carries(nonce, self._newest())
            if kind is CLUSTER and ENDPOINT in self._types:
                # Envoy warms a changed cluster until its endpoints come again, changed or not.
                self._types[ENDPOINT].again(held.holdings.brought(nonce))
            self._disturbed = False
            yield response
            if self._disturbed:  # what changed while this was written goes in order, too
                place = 0

    def resources(self, kind: ResourceType) -> Iterator[ResourceStatus]:
        """Each resource of a type as the client has it, by name."""
        return self._types[kind].statuses() if kind in self._types else iter(())

    def has(self, kind: ResourceType) -> bool:
        """The client asked for that type."""
        return kind in self._types

    def resource(self, kind: ResourceType, name: str) -> tuple[ResourceStatus | None, str]:
        """One resource as the client has it, and the version of it that it ACKed last."""
        held = self._types.get(kind)
        return (None, "") if held is None else (held.holdings.status(name), held.holdings.acked(name))

    def has_acked(self, wanted: Mapping[tuple[ResourceType, str], str | None]) -> bool:
        """Of the types that it asked for the client ACKed these versions last, None being none."""
        types = self._types
        for (kind, name), version in wanted.items():
            held = types.get(kind)
            if held is not None and held.holdings.acked(name) != (version or ""):
                return False
        return True

    def lacking(self, kind: ResourceType) -> list[str]:
        """The names of a type of which something is due, not answered, or rejected; sorted."""
        return sorted(self._types[kind].lacking()) if kind in self._types else []

    @property
    def reached(self) -> int:
        """The publish up to which the client ACKed everything that comes from the directory, or needs none of it."""
        reached = self._newest()
        for kind in DIRECTORY:
            held = self._types.get(kind)
            if held is not None and not held.current:
                reached = min(reached, held.holdings.reached)
        return reached

    @property
    def settled(self) -> bool:
        """The client asked for route tables, the last that it asks for, and has all that is published of what it asked
        for."""
        return ROUTE in self._types and all(held.current for held in self._types.values())

    def rejected_at(self, kind: ResourceType) -> int:
        """The publish that the response of a type which was NACKed last carried."""
        return self._types[kind].holdings.rejected_at if kind in self._types else 0

    @property
    def rejecting(self) -> tuple[str, str] | None:
        """The type of which the client rejects something now, with the reason; None when it rejects nothing."""
        for kind, held in self._types.items():
            if held.holdings.any_rejected:
                return kind.name, held.state.last_nack
        return None

    def states(self) -> list[TypeState]:
        return [self._types[kind].state for kind in TYPES if kind in self._types]

    @property
    def _clusters_unsettled(self) -> bool:
        clusters = self._types.get(CLUSTER)
        return not self._pushes_released and clusters is not None and clusters.unsettled

    @property
    def _pushes_wait(self) -> bool:
        return self._clusters_unsettled and any(held.pushing for kind, held in self._types.items() if kind.held)

    @property
    def _leaves(self) -> bool:
        return any(held.leaving for held in self._types.values())

    @property
    def _leading(self) -> list[DeltaType | SotwType]:
        return [held for kind, held in self._types.items() if kind.held]

    @property
    def _may_remove(self) -> bool:
        # What the client rejected leads on to where it did, for as long as nothing else replaces it: no timer ends
        # that, as nothing else waits for it.
        return not any(held.holdings.any_rejected or self._unanswered(held) for held in self._leading)

    @property
    def _removals_wait(self) -> bool:
        return (
            self._leaves
            and any(self._unanswered(held) for held in self._leading)
            and not any(held.holdings.any_rejected for held in self._leading)
        )

    def _unanswered(self, held: DeltaType | SotwType) -> bool:
        return held.unsettled and not self._removals_released

    def _kind(self, type_url: str) -> ResourceType | None:
        if self.only is not None:
            if type_url not in ("", self.only.url):
                raise ProtocolError(f"{type_url} was asked for on a stream of {self.only.url}")
            return self.only
        if not type_url:
            raise ProtocolError("a request on the aggregated stream names no type_url")
        return BY_URL.get(type_url)


def _bounded(node: Node) -> Node:
    if len(node.id) > _NODE_ID:
        raise ProtocolError(f"node.id has {len(node.id)} characters; at most {_NODE_ID} are taken")
    return Node(node.id, node.cluster[:_SHOWN], node.user_agent[:_SHOWN])

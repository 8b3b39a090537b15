"""One ADS stream: its types side by side, in the order in which a publish must arrive.

Pure: `receive` and `changed` take what happened, `responses` gives what is to be sent. While a cluster isn't ACKed,
what may lead to it is held; the rim bounds that with a timer and then calls `release`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count

from xds.cache import Changed
from xds.errors import ProtocolError
from xds.protocol.delta import DeltaType
from xds.protocol.messages import DeltaRequest, Node, Request, Response, SotwRequest
from xds.protocol.sotw import SotwType
from xds.protocol.state import ResourceStatus, Settled, TypeState
from xds.resources.types import BY_URL, CLUSTER, ENDPOINT, TYPES, Resource, ResourceType

__all__ = ["Settled", "Stream"]

View = Callable[[ResourceType], Mapping[str, Resource]]


class Stream:
    """``view`` gives the live resources of a type: `xds.cache.Cache.view`. ``only`` is the one type of a stream that
    carries a single type; None for an aggregated one. ``response_bytes`` bounds the resources of one delta response:
    below the 4 MiB that gRPC clients accept unless told otherwise. ``max_names`` bounds what one type may subscribe
    to."""

    def __init__(
        self,
        view: View,
        only: ResourceType | None = None,
        *,
        response_bytes: int = 3_500_000,
        max_names: int = 100_000,
    ) -> None:
        self.node: Node | None = None
        self.unknown: set[str] = set()
        self._view = view
        self._only = only
        self._response_bytes = response_bytes
        self._max_names = max_names
        self._types: dict[ResourceType, DeltaType | SotwType] = {}
        self._nonces = count(1)
        self._released = False

    def receive(self, request: Request) -> Settled | None:
        """Takes a request; returns what it ACKed or NACKed. Raises ProtocolError when the stream can't go on."""
        if self.node is None:
            if request.node is None or not request.node.id:
                raise ProtocolError("the first request has no node.id; set `node.id` in Envoy's bootstrap")
            self.node = request.node
        kind = self._kind(request.type_url)
        if kind is None:
            self.unknown.add(request.type_url)
            return None
        if kind not in self._types:
            self._types[kind] = self._started(kind, request)
        match self._types[kind], request:
            case DeltaType() as delta, DeltaRequest():
                return delta.receive(request)
            case SotwType() as sotw, SotwRequest():
                return sotw.receive(request)
            case _:
                raise ProtocolError("delta and state-of-the-world requests came over one stream")

    def changed(self, changed: Changed) -> None:
        """These names differ now in the cache."""
        if CLUSTER in changed:
            self._released = False
        for kind, names in changed.items():
            if kind in self._types:
                self._types[kind].changed(names)

    def release(self) -> None:
        """The client had its time to ACK the clusters: what is held goes now."""
        self._released = True

    @property
    def holding(self) -> bool:
        """Something is held for a cluster's ACK."""
        return self._holds and any(held.unsettled for kind, held in self._types.items() if kind.held)

    def responses(self) -> Iterator[Response]:
        """What is to be sent now, in order; each is counted as sent when it is taken."""
        for kind in TYPES:
            while (held := self._types.get(kind)) is not None:
                response = held.next_response(str(next(self._nonces)), pushes=not (kind.held and self._holds))
                if response is None:
                    break
                yield response
                if kind is CLUSTER and ENDPOINT in self._types:
                    # Envoy warms a changed cluster until its endpoints come again, changed or not.
                    self._types[ENDPOINT].again(resource.name for resource in response.resources)

    def resources(self, kind: ResourceType) -> Iterator[ResourceStatus]:
        """Each resource of a type as the client has it, by name."""
        return self._types[kind].statuses() if kind in self._types else iter(())

    def states(self) -> list[TypeState]:
        return [self._types[kind].state for kind in TYPES if kind in self._types]

    def _started(self, kind: ResourceType, request: Request) -> DeltaType | SotwType:
        if isinstance(request, DeltaRequest):
            return DeltaType(kind, self._view(kind), self._response_bytes)
        return SotwType(kind, self._view(kind))

    @property
    def _holds(self) -> bool:
        clusters = self._types.get(CLUSTER)
        return not self._released and clusters is not None and clusters.unsettled

    def _kind(self, type_url: str) -> ResourceType | None:
        if self._only is not None:
            if type_url not in ("", self._only.url):
                raise ProtocolError(f"{type_url} was asked for on a stream of {self._only.url}")
            return self._only
        if not type_url:
            raise ProtocolError("a request on the aggregated stream names no type_url")
        return BY_URL.get(type_url)

"""An xDS client of the tests' own, on grpc's synchronous API: it shares nothing with the server but Envoy's messages.

It keeps what Envoy keeps (the names asked for and the last nonce of each type), sends its node in the first message
only, and checks each response by itself: no name twice, every body of the response's type and named as announced.
"""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any as Body
from typing import TypeAlias

import grpc
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, ScopedRouteConfiguration
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.google.rpc import Status

CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
SDS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
LDS = "type.googleapis.com/envoy.config.listener.v3.Listener"
SRDS = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
RDS = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
VHDS = "type.googleapis.com/envoy.config.route.v3.VirtualHost"

NAMED = (EDS, SDS, RDS)
"""Types that a client asks for by name."""
WHOLE = (CDS, LDS, SRDS)
"""Types of which a client may ask for all, and of which a SotW response holds all."""

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHODS: Mapping[str, tuple[str, str]] = {
    CDS: ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"),
    EDS: ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"),
    SDS: ("envoy.service.secret.v3.SecretDiscoveryService", "Secrets"),
    LDS: ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"),
    SRDS: ("envoy.service.route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes"),
    RDS: ("envoy.service.route.v3.RouteDiscoveryService", "Routes"),
    VHDS: ("envoy.service.route.v3.VirtualHostDiscoveryService", "VirtualHosts"),
}
"""The service of each type, and the noun in its methods' names."""

PATIENCE = 20.0
"""Seconds until a response that is due counts as not coming; never a time that a passing test waits for."""


def short(kind: str) -> str:
    return kind.rpartition(".")[2]


@dataclass(frozen=True)
class Response:
    """What came, whichever the variant. ``contents`` tell bodies apart: see `CONTENT`. ``versions`` are delta's."""

    kind: str
    nonce: str
    version: str
    contents: dict[str, str]
    bodies: dict[str, Body]
    versions: dict[str, str]
    removed: list[str]
    raw: DeltaDiscoveryResponse | DiscoveryResponse
    size: int

    @property
    def names(self) -> set[str]:
        return set(self.contents)

    def __repr__(self) -> str:
        held = {name: content[:20] for name, content in list(self.contents.items())[:9]}
        return f"<{short(self.kind)} {held} removed={self.removed[:9]} nonce={self.nonce}>"


@dataclass(frozen=True)
class Ended:
    """How a stream ended: ``code`` is OK when the server closed it without complaint."""

    code: grpc.StatusCode
    details: str


def _zone(assignment: ClusterLoadAssignment) -> str:
    endpoints = assignment.endpoints
    return endpoints[0].locality.zone if endpoints and endpoints[0].locality else ""


def _host(table: RouteConfiguration) -> str:
    return table.virtual_hosts[0].name if table.virtual_hosts else ""


def _inline(secret: Secret) -> str:
    held = secret.generic_secret.secret if secret.generic_secret else None
    return (held.inline_string or "") if held else ""


CONTENT: Mapping[str, tuple[Callable[[bytes], Body], str, Callable[[Body], str]]] = {
    CDS: (Cluster.parse, "name", lambda body: str(body.alt_stat_name)),
    EDS: (ClusterLoadAssignment.parse, "cluster_name", _zone),
    SDS: (Secret.parse, "name", _inline),
    LDS: (Listener.parse, "name", lambda body: str(body.stat_prefix)),
    SRDS: (ScopedRouteConfiguration.parse, "name", lambda body: str(body.route_configuration_name)),
    RDS: (RouteConfiguration.parse, "name", _host),
}
"""Per type: how a body is read, which field names it, and the content that the tests set apart by."""

_PASS = 0.02
"""Seconds in which a server that has nothing to send any more ends its pass over the types."""
Arrived: TypeAlias = Response | Ended


class Stream(ABC):
    """One stream. Requests go out in the order of the calls; what comes is read by a thread and kept until taken.

    ``probe`` is the type by which `quiet` asks for something else, so that its answer shows that nothing came before.
    """

    def __init__(self, channel: grpc.Channel, method: str, node: Node | None, probe: str) -> None:
        self.names: dict[str, list[str]] = {}
        self.nonces: dict[str, str] = {}
        self._node = node
        self._probe = probe
        self._probes = count(1)
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._arrived: queue.SimpleQueue[Arrived] = queue.SimpleQueue()
        self._ended: Ended | None = None
        multi: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
        self._call = multi(iter(self._requests.get, None))
        self._reader = threading.Thread(target=self._read, name=f"reader of {method}", daemon=True)
        self._reader.start()

    # What it says.

    @abstractmethod
    def subscribe(self, kind: str, *names: str, **options: Body) -> None:
        """Asks for these in addition; for no names: for all, when the type is new on the stream."""

    @abstractmethod
    def unsubscribe(self, kind: str, *names: str) -> None: ...

    @abstractmethod
    def ack(self, response: Response) -> None: ...

    @abstractmethod
    def nack(self, response: Response, reason: str, *also: str) -> None:
        """``also``: names that the rejecting request subscribes to."""

    def ask(self, kind: str, *names: str, **options: Body) -> Response:
        """Subscribes, and takes the answer."""
        self.subscribe(kind, *names, **options)
        response = self.take()
        assert response.kind == kind, f"asked for {short(kind)}, got {response}"
        return response

    def close(self) -> None:
        """Ends the stream from this side, and whatever it left behind."""
        self._requests.put(None)
        self._call.cancel()
        self._reader.join(PATIENCE)

    def done(self) -> None:
        """Says that nothing more will be asked, and waits for the server to end the stream too."""
        self._requests.put(None)
        assert self.end().code is grpc.StatusCode.OK
        self._reader.join(PATIENCE)

    # What it hears.

    def receive(self) -> Response:
        """The next response, neither ACKed nor NACKed."""
        arrived = self._next()
        assert isinstance(arrived, Response), f"the stream ended: {arrived}"
        return arrived

    def take(self) -> Response:
        """The next response, ACKed."""
        response = self.receive()
        self.ack(response)
        return response

    def settle(self, ack: bool = True) -> list[Response]:
        """Everything that comes until two probes in a row were answered with nothing in between; the server makes one
        pass for each, so nothing is due any more. ``ack`` tells whether what comes is ACKed."""
        heard: list[Response] = []
        clean = 0
        while clean < 2:
            if clean:
                time.sleep(
                    _PASS
                )  # else the second is answered in the pass of the first, before types that come earlier
            name = self._ask_probe()
            clean += 1
            while True:
                response = self.receive()
                if response.kind == self._probe and name in response.names:
                    self.ack(response)
                    break
                clean = 0
                heard.append(response)
                if ack:
                    self.ack(response)
        return heard

    def quiet(self) -> None:
        """Nothing comes, and nothing is under way."""
        heard = self.settle()
        assert heard == [], f"there should have been silence, but there came {heard}"

    def end(self) -> Ended:
        """How the stream ends, whatever comes before."""
        while not isinstance(arrived := self._next(), Ended):
            pass
        return arrived

    @property
    def unread(self) -> bool:
        """Something came and wasn't taken."""
        return not self._arrived.empty()

    def send(self, message: DeltaDiscoveryRequest | DiscoveryRequest) -> None:
        """A request as it is, with the node if it is the first."""
        if self._node is not None:
            message.node, self._node = self._node, None
        self._requests.put(bytes(message))

    def send_raw(self, message: bytes) -> None:
        self._requests.put(message)

    def _next(self) -> Arrived:
        if self._ended is not None:
            return self._ended
        try:
            arrived = self._arrived.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"nothing came in {PATIENCE:.0f} s") from None
        if isinstance(arrived, Ended):
            self._ended = arrived
        return arrived

    def _read(self) -> None:
        try:
            for raw in self._call:
                self._arrived.put(self._decoded(raw))
            ended = Ended(grpc.StatusCode.OK, "")
        except grpc.RpcError as error:
            ended = Ended(error.code(), error.details() or "")
        except AssertionError as error:
            ended = Ended(grpc.StatusCode.DATA_LOSS, f"the client can't accept a response: {error}")
        self._arrived.put(ended)

    @abstractmethod
    def _decoded(self, raw: bytes) -> Response: ...

    @abstractmethod
    def _ask_probe(self) -> str:
        """Asks for something whose answer must come; returns its name."""


class DeltaStream(Stream):
    """Incremental xDS."""

    def subscribe(  # type: ignore[override]  # its options are those of delta
        self,
        kind: str,
        *names: str,
        initial: Mapping[str, str] | None = None,
        nonce: str = "",
        drop: Sequence[str] = (),
    ) -> None:
        """``initial``: the versions held from an earlier stream; ``drop``: what is unsubscribed along with it."""
        self.send(
            DeltaDiscoveryRequest(
                type_url=kind,
                resource_names_subscribe=list(names),
                resource_names_unsubscribe=list(drop),
                initial_resource_versions=dict(initial or {}),
                response_nonce=nonce,
            )
        )

    def unsubscribe(self, kind: str, *names: str) -> None:
        self.send(DeltaDiscoveryRequest(type_url=kind, resource_names_unsubscribe=list(names)))

    def ack(self, response: Response) -> None:
        self.send(DeltaDiscoveryRequest(type_url=response.kind, response_nonce=response.nonce))

    def nack(self, response: Response, reason: str, *also: str) -> None:
        self.send(
            DeltaDiscoveryRequest(
                type_url=response.kind,
                response_nonce=response.nonce,
                resource_names_subscribe=list(also),
                error_detail=Status(code=13, message=reason),
            )
        )

    def _ask_probe(self) -> str:
        name = f"probe-{next(self._probes) % 2}"
        self.subscribe(self._probe, name)
        return name

    def _decoded(self, raw: bytes) -> Response:
        message = DeltaDiscoveryResponse.parse(raw)
        names = [resource.name for resource in message.resources]
        both = [*names, *message.removed_resources]
        assert len(set(both)) == len(both), f"a name twice in one response: {sorted(both)}"
        bodies = {}
        for resource in message.resources:
            assert resource.resource is not None, f"{resource.name} has no body"
            assert resource.version, f"{resource.name} has no version"
            bodies[resource.name] = _body(message.type_url, resource.resource, resource.name)
        return Response(
            kind=message.type_url,
            nonce=message.nonce,
            version=message.system_version_info,
            contents={name: CONTENT[message.type_url][2](body) for name, body in bodies.items()},
            bodies=bodies,
            versions={resource.name: resource.version for resource in message.resources},
            removed=list(message.removed_resources),
            raw=message,
            size=len(raw),
        )


class SotwStream(Stream):
    """State of the world: each request bears all the names of its type."""

    def __init__(self, channel: grpc.Channel, method: str, node: Node | None, probe: str) -> None:
        self.versions: dict[str, str] = {}
        super().__init__(channel, method, node, probe)

    def want(self, kind: str, *names: str, nonce: str | None = None, version: str | None = None) -> None:
        """Asks for exactly these. ``nonce``, ``version``: other than those of the last response, or ACKed last."""
        self.names[kind] = list(names)
        self._say(kind, nonce=nonce, version=version)

    def subscribe(self, kind: str, *names: str, **options: Body) -> None:
        self.want(kind, *dict.fromkeys([*self.names.get(kind, []), *names]), **options)

    def unsubscribe(self, kind: str, *names: str) -> None:
        self.want(kind, *(name for name in self.names[kind] if name not in names))

    def ack(self, response: Response) -> None:
        self.versions[response.kind] = response.version
        self._say(response.kind, nonce=response.nonce)

    def nack(self, response: Response, reason: str, *also: str) -> None:
        self.names.setdefault(response.kind, []).extend(also)
        self._say(response.kind, nonce=response.nonce, error=Status(code=13, message=reason))

    def _say(
        self, kind: str, *, nonce: str | None = None, version: str | None = None, error: Status | None = None
    ) -> None:
        self.send(
            DiscoveryRequest(
                type_url=kind,
                resource_names=list(self.names.get(kind, [])),
                version_info=self.versions.get(kind, "") if version is None else version,
                response_nonce=self.nonces.get(kind, "") if nonce is None else nonce,
                error_detail=error,
            )
        )

    def _ask_probe(self) -> str:
        name = f"probe-{next(self._probes) % 2}"
        others = [held for held in self.names.get(self._probe, []) if not held.startswith("probe-")]
        self.want(self._probe, *others, name)
        return name

    def receive(self) -> Response:
        response = super().receive()
        self.nonces[response.kind] = response.nonce
        return response

    def _decoded(self, raw: bytes) -> Response:
        message = DiscoveryResponse.parse(raw)
        bodies: dict[str, Body] = {}
        for resource in message.resources:
            body = _body(message.type_url, resource, None)
            name = getattr(body, CONTENT[message.type_url][1])
            assert name not in bodies, f"{name} twice in one response"
            bodies[name] = body
        assert message.version_info, "a response without a version"
        return Response(
            kind=message.type_url,
            nonce=message.nonce,
            version=message.version_info,
            contents={name: CONTENT[message.type_url][2](body) for name, body in bodies.items()},
            bodies=bodies,
            versions={},
            removed=[],
            raw=message,
            size=len(raw),
        )


def _body(kind: str, wrapped: Any, name: str | None) -> Body:
    assert wrapped.type_url == kind, f"a {short(wrapped.type_url)} in a response of {short(kind)}"
    parse, named_by, _ = CONTENT[kind]
    body = parse(wrapped.value)
    assert name is None or getattr(body, named_by) == name, f"{name} holds {getattr(body, named_by)}"
    return body


class Client:
    """One connection to the server, and the streams on it."""

    def __init__(
        self,
        port: int,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Body]] = (),
    ) -> None:
        where = f"127.0.0.1:{port}"
        # A connection of its own; else channels with equal arguments share one.
        every = [("grpc.use_local_subchannel_pool", 1), *options]
        self.channel = (
            grpc.insecure_channel(where, options=every)
            if credentials is None
            else grpc.secure_channel(where, credentials, options=every)
        )
        self._streams: list[Stream] = []

    def delta(
        self, *, of: str | None = None, node: str | None = "envoy-1", probe: str = SDS, **more: Body
    ) -> DeltaStream:
        """``of``: the one type of the stream; None for an aggregated one. ``more`` are further fields of the node."""
        made = DeltaStream(self.channel, _method("Delta", of), _node(node, **more), probe)
        self._streams.append(made)
        return made

    def sotw(
        self, *, of: str | None = None, node: str | None = "envoy-1", probe: str = SDS, **more: Body
    ) -> SotwStream:
        made = SotwStream(self.channel, _method("Stream", of), _node(node, **more), probe)
        self._streams.append(made)
        return made

    def stream(self, variant: str, **options: Body) -> Stream:
        return self.delta(**options) if variant == "delta" else self.sotw(**options)

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        self.channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _node(id: str | None, **more: Body) -> Node | None:
    return None if id is None else Node(id=id, cluster="edge", **more)


def _method(verb: str, kind: str | None) -> str:
    service, noun = (ADS, "AggregatedResources") if kind is None else METHODS[kind]
    return f"/{service}/{verb}{noun}"


def resources(heard: Sequence[Response], kind: str) -> dict[str, str]:
    """The contents that came of a type, the last of each name."""
    return {name: content for response in heard if response.kind == kind for name, content in response.contents.items()}


def node(id: str) -> Node:
    return Node(id=id, cluster="edge")


def kinds(heard: Sequence[Response]) -> Iterator[str]:
    return (response.kind for response in heard)

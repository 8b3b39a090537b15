"""The xDS port on grpc.aio: which services it offers, who is connected, and the gate before the first snapshot."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from heapq import nsmallest

import grpc
import structlog
from envoy_data_plane.envoy.service.discovery.v3 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from xds.busy_hosts import BusyHosts
from xds.cache import Cache
from xds.errors import AccessError, CertificateError, LimitError, Overdue, ProtocolError, SettingsError
from xds.measures import Measures
from xds.protocol.decode import parse_delta, parse_sotw
from xds.protocol.messages import Node
from xds.protocol.stream import Settled, Stream
from xds.resources.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPE, SECRET, ResourceType
from xds.server import csds
from xds.server.access import Access, Grant, Refusal
from xds.server.access_log import AccessLogs
from xds.server.authorization import Authorization
from xds.server.calls import BeforeEachCall
from xds.server.descriptors import Method, reflect
from xds.server.handshakes import Handshakes
from xds.server.identity import Identity, identify
from xds.server.limits import Limits, exceeded
from xds.server.on_demand import OnDemand
from xds.server.paced import Paced
from xds.server.refusals import Kind, Refusals
from xds.server.streams import Context, NodeState, OpenStream, Parse, Peer, Rim
from xds.unknown_hosts import UnknownHosts

log = structlog.get_logger()

CATCHING_UP = 0.02
"""Seconds between two looks at whether what is published is the newest again."""
REVOCATIONS = 5.0
"""Seconds between two looks at whether an open stream's certificate was revoked."""

_WAITING = 20_000
"""Calls that have come and are not seen to yet."""
_PATIENCE = 3_600
"""Seconds that they may wait."""

_DISCOVERY: dict[str, tuple[str, ResourceType | None]] = {
    "envoy.service.discovery.v3.AggregatedDiscoveryService": ("AggregatedResources", None),
    "envoy.service.cluster.v3.ClusterDiscoveryService": ("Clusters", CLUSTER),
    "envoy.service.endpoint.v3.EndpointDiscoveryService": ("Endpoints", ENDPOINT),
    "envoy.service.secret.v3.SecretDiscoveryService": ("Secrets", SECRET),
    "envoy.service.listener.v3.ListenerDiscoveryService": ("Listeners", LISTENER),
    "envoy.service.route.v3.ScopedRoutesDiscoveryService": ("ScopedRoutes", SCOPE),
    "envoy.service.route.v3.RouteDiscoveryService": ("Routes", ROUTE),
}

_METHODS = {
    service: {
        f"Stream{noun}": Method(DiscoveryRequest, DiscoveryResponse),
        f"Delta{noun}": Method(DeltaDiscoveryRequest, DeltaDiscoveryResponse),
    }
    for service, (noun, _) in _DISCOVERY.items()
}


class XdsServer:
    """Answers nothing until `open_gate`: an empty directory must never reach an Envoy that holds a full one. Until then
    calls wait, or are turned away. While ``defers()``, what is published may be older than what an Envoy brings, which
    it keeps until that is over."""

    def __init__(
        self,
        cache: Cache,
        limits: Limits | None = None,
        access: Access | None = None,
        *,
        refusals: Refusals | None = None,
        handshakes: Handshakes | None = None,
        unknown_hosts: UnknownHosts | None = None,
        busy_hosts: BusyHosts | None = None,
        where: Callable[[str, str], Awaitable[str | None]] | None = None,
        refusing: Paced | None = None,
        on_settled: Callable[[Stream, str, Settled], None] = lambda stream, node, settled: None,
        on_returned: Callable[[ResourceType, Mapping[str, str | None]], None] = lambda kind, versions: None,
        on_gone: Callable[[Stream], None] = lambda stream: None,
        on_joined: Callable[[Stream, str], None] = lambda stream, node: None,
        drain: float = 0.1,
        on_demand: OnDemand | None = None,
        measures: Measures | None = None,
        defers: Callable[[], bool] = lambda: False,
    ) -> None:
        self._cache = cache
        self._limits = limits or Limits()
        self._access = access or Access.open()
        self.refusals = refusals or Refusals()
        self._handshakes = handshakes or Handshakes(self.refusals)
        self._unknown_hosts = unknown_hosts
        self._busy_hosts = busy_hosts
        self._where = where
        self._refusing = refusing or Paced(500, 3)
        self._gate = asyncio.Event()
        self._decided = asyncio.Event()
        self._turned_away = ""
        self._defers = defers
        self._sparing = asyncio.Event()
        self._open: dict[OpenStream, None] = {}
        self._said: dict[Stream, OpenStream] = {}
        """Those that have said who they are, but for those of names on demand."""
        self._peers: Counter[str] = Counter()
        self._health = health.aio.HealthServicer()
        self._on_settled = on_settled
        self._on_gone = on_gone
        self._on_joined = on_joined
        self._drain = drain
        self._measures = measures or Measures()
        self._rim = Rim(
            self._limits,
            time.monotonic,
            cache.view,
            self._admit,
            self._settled,
            on_returned,
            on_demand=on_demand,
            measures=self._measures,
            newest=lambda: cache.publishes,
            defers=defers,
            spared=self._spared,
        )

    def open_gate(self) -> None:
        """The directory is complete; streams are answered from now on."""
        self._turned_away = ""
        self._gate.set()
        self._decided.set()

    def turn_away(self, why: str) -> None:
        """Until the gate is opened no call waits for it: another control plane may have what its Envoy needs."""
        self._turned_away = why
        self._decided.set()

    def streams(self) -> list[Stream]:
        """The open ones, but for those of names on demand."""
        return [stream.protocol for stream in self._open if not stream.on_demand]

    def nodes(self) -> list[NodeState]:
        """The streams that have said who they are, but for those of names on demand."""
        return _states(self._said.values())

    def nodes_of(self, streams: Iterable[Stream]) -> list[NodeState]:
        """Of `nodes` those of these streams."""
        return _states(self._said[stream] for stream in streams if stream in self._said)

    def nodes_after(self, number: int, most: int) -> list[NodeState]:
        """At most so many of `nodes`, of those that came after that number, in the order in which they came."""
        return _states(self._after(number, most))

    def streams_after(self, number: int, most: int) -> list[tuple[int, Stream]]:
        """The same streams as `nodes_after`, each with its number."""
        return [(stream.number, stream.protocol) for stream in self._after(number, most)]

    def _after(self, number: int, most: int) -> list[OpenStream]:
        later = (stream for stream in self._said.values() if stream.number > number)
        return nsmallest(most, later, key=lambda stream: stream.number)

    @asynccontextmanager
    async def listening(
        self, address: str, port: int, credentials: grpc.ServerCredentials | None
    ) -> AsyncIterator[int]:
        """Serves while the block runs; yields the port. Raises SettingsError when the address can't be had."""
        interceptors = [self._handshakes.interceptor(), BeforeEachCall(self._refuse_revoked)]
        server = grpc.aio.server(options=_options(self._limits), interceptors=interceptors)
        server.add_generic_rpc_handlers((_Discovery(self._serve),))
        status = csds.ClientStatus(
            self._cache,
            self.streams,
            self._knows,
        )
        server.add_generic_rpc_handlers((status,))
        if self._unknown_hosts is not None or self._busy_hosts is not None:
            logs = AccessLogs(self._unknown_hosts, self._knows, busy=self._busy_hosts, before=self._refuse_revoked)
            server.add_generic_rpc_handlers((logs,))
        if self._where is not None:
            server.add_generic_rpc_handlers((Authorization(self._where, self._knows, self._refusing),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflect({**_METHODS, csds.SERVICE: csds.METHODS}, [health.SERVICE_NAME], server)
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        try:
            bound = server.add_secure_port(where, credentials) if credentials else server.add_insecure_port(where)
        except RuntimeError:
            raise SettingsError(
                f"xds: can't listen on {where}; is another process on it? (settings xds.address, xds.port)"
            ) from None
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        async with self._handshakes.watching(address, bound):
            await server.start()
            tasks = [asyncio.create_task(each()) for each in (self._serving, self._end_revoked, self._catching_up)]
            try:
                yield bound
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._health.enter_graceful_shutdown()
                await self._leave(server)

    async def _leave(self, server: grpc.aio.Server) -> None:
        """GOAWAY: no new streams. Those that are open end one after the other, so that whoever takes them over isn't
        asked by all at once. What hasn't ended in time is cut."""
        leaving = list(self._open)
        stopping = asyncio.create_task(server.stop(grace=self._drain))
        for count, stream in enumerate(leaving, 1):
            stream.end()
            if count < len(leaving):
                await asyncio.sleep(0.8 * self._drain / len(leaving))
        await stopping

    async def _serving(self) -> None:
        await self._gate.wait()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def _catching_up(self) -> None:
        while True:
            await self._sparing.wait()
            while self._defers():  # noqa: ASYNC110
                await asyncio.sleep(CATCHING_UP)
            self._sparing.clear()
            spared = [stream for stream in self._open if stream.protocol.spared]
            for stream in spared:
                stream.catch_up()
            log.info("xds.caught_up", streams=len(spared))

    async def _end_revoked(self) -> None:
        while True:
            await asyncio.sleep(REVOCATIONS)
            for stream in [stream for stream in self._open if self._access.revoked(stream.peer.identity)]:
                stream.end_with(_revoked(stream.peer.identity))

    async def _serve(
        self, requests: AsyncIterator[bytes], context: Context, parse: Parse, only: ResourceType | None
    ) -> None:
        identity = identify(context.auth_context())
        peer = Peer(context.peer(), identity)
        try:
            with self._counted(peer):
                await self._decided.wait()
                if self._turned_away:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, self._turned_away)
                stream = OpenStream(peer, "delta" if parse is parse_delta else "sotw", only, self._rim)
                try:
                    with self._opened(stream):
                        await stream.run(requests, context, parse)
                    await stream.written()
                except ProtocolError as error:
                    await self._refuse(context, error, identity, stream)
        except ProtocolError as error:
            await self._refuse(context, error, identity)

    @contextmanager
    def _counted(self, peer: Peer) -> Iterator[None]:
        if self._peers[peer.key] >= self._limits.streams_per_peer:
            raise exceeded("streams_per_peer", f"{peer.key} has {self._limits.streams_per_peer} streams open")
        self._peers[peer.key] += 1
        try:
            yield
        finally:
            self._peers[peer.key] -= 1
            if not self._peers[peer.key]:
                del self._peers[peer.key]

    @contextmanager
    def _opened(self, stream: OpenStream) -> Iterator[None]:
        self._open[stream] = None
        self._cache.watch(stream.changed, stream.only)
        try:
            yield
        finally:
            self._cache.unwatch(stream.changed, stream.only)
            del self._open[stream]
            self._said.pop(stream.protocol, None)
            self._on_gone(stream.protocol)
            node = stream.protocol.node
            stream.log("xds.stream_ended", node=node.id if node else "", peer=stream.peer.address)

    async def _refuse_revoked(self, context: Context) -> None:
        """Before every call, of whatever service."""
        try:
            identity = identify(context.auth_context())
        except CertificateError as error:
            await self._refuse(context, AccessError(str(error), unknown=True), None)
        else:
            if self._access.revoked(identity):
                await self._refuse(context, _revoked(identity), identity)

    async def _refuse(
        self, context: Context, error: ProtocolError, identity: Identity | None, stream: OpenStream | None = None
    ) -> None:
        kind, status = _told(error)
        self.refusals.note(kind, context.peer(), str(error), identity=str(identity or ""))
        if stream is not None:
            await stream.written()
        await context.abort(status, str(error))

    def _knows(self, context: Context) -> bool:
        return self._access.knows(identify(context.auth_context()))

    def _admit(self, stream: OpenStream, node: Node) -> Grant:
        decided = self._access.decide(stream.peer.identity, node.id, node.cluster)
        if isinstance(decided, Refusal):
            raise AccessError(decided.reason)
        stream.log("xds.stream", node=node.id, cluster=node.cluster, envoy=node.user_agent, peer=stream.peer.address)
        if not stream.on_demand:
            self._said[stream.protocol] = stream
            self._on_joined(stream.protocol, node.id)
        return decided

    def _spared(self, stream: OpenStream, kind: str) -> None:
        self._sparing.set()
        node = stream.protocol.node
        log.warning("xds.spared", node=node.id if node else "", type=kind, resources=stream.protocol.spared)

    def _settled(self, stream: OpenStream, settled: Settled) -> None:
        node = stream.protocol.node
        name = node.id if node else ""
        if settled.error is not None:
            self._measures.rejected(settled.kind.name)
            log.warning("xds.nack", node=name, type=settled.kind.name, reason=settled.error)
        self._on_settled(stream.protocol, name, settled)


def _revoked(identity: Identity | None) -> AccessError:
    return AccessError(f"the certificate of {identity} is revoked", revoked=True)


def _told(error: ProtocolError) -> tuple[Kind, grpc.StatusCode]:
    """What an error counts as, and what the peer is told."""
    if isinstance(error, LimitError):
        late = isinstance(error, Overdue)
        return "limit", grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.RESOURCE_EXHAUSTED
    if isinstance(error, AccessError):
        kind: Kind = "revoked" if error.revoked else "claim"
        known = not error.revoked and not error.unknown
        return kind, grpc.StatusCode.PERMISSION_DENIED if known else grpc.StatusCode.UNAUTHENTICATED
    return "protocol", grpc.StatusCode.INVALID_ARGUMENT


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        # Of one connection, and of all calls. Above ours, so that a stream over the limit is told so, and doesn't wait.
        ("grpc.max_concurrent_streams", 2 * limits.streams_per_peer + 100),
        # Of calls that come while we are busy: a fleet that comes back at once. Else gRPC refuses some from a thousand
        # on, and ends those that waited for half a minute (its default) with no other word than CANCELLED.
        ("grpc.server.max_pending_requests", _WAITING),
        ("grpc.server.max_pending_requests_hard_limit", _WAITING),
        ("grpc.server_max_unrequested_time_in_server", _PATIENCE),
        ("grpc.so_reuseport", 0),  # else a busy port is silently shared
        # Above ours, so that ours is met first: its status says which setting it was.
        ("grpc.max_receive_message_length", 2 * limits.message_bytes),
        ("grpc.keepalive_time_ms", round(limits.keepalive_interval * 1000)),
        ("grpc.keepalive_timeout_ms", round(limits.keepalive_timeout * 1000)),
        # Else a minute, whatever the keepalive's time-out is.
        ("grpc.http2.ping_timeout_ms", round(limits.keepalive_timeout * 1000)),
        ("grpc.server_handshake_timeout_ms", round(limits.first_request_timeout * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", round(limits.min_ping_interval * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
    ]


class _Discovery(grpc.GenericRpcHandler):
    """``Stream…`` and ``Delta…`` of every discovery service, by name."""

    def __init__(
        self,
        serve: Callable[[AsyncIterator[bytes], Context, Parse, ResourceType | None], Awaitable[None]],
    ) -> None:
        self._methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for service, (noun, only) in _DISCOVERY.items():
            for verb, parse in (("Stream", parse_sotw), ("Delta", parse_delta)):
                self._methods[f"/{service}/{verb}{noun}"] = _method(serve, parse, only)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._methods.get(details.method)


def _method(
    serve: Callable[[AsyncIterator[bytes], Context, Parse, ResourceType | None], Awaitable[None]],
    parse: Parse,
    only: ResourceType | None,
) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def handle(requests: AsyncIterator[bytes], context: Context) -> None:
        await serve(requests, context, parse, only)

    return grpc.stream_stream_rpc_method_handler(handle)


def _states(streams: Iterable[OpenStream]) -> list[NodeState]:
    return [state for stream in streams if (state := stream.state()) is not None]

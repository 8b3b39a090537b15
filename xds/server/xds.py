"""The xDS port on grpc.aio: it carries bytes between sockets and `xds.protocol`, and knows who is connected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import structlog

from xds.cache import Cache, Changed
from xds.errors import ProtocolError, SettingsError
from xds.protocol.messages import Request
from xds.protocol.state import TypeState
from xds.protocol.stream import Stream
from xds.resources.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPE, SECRET, ResourceType
from xds.server.requests import parse_delta, parse_sotw

log = structlog.get_logger()

HOLD = 1.0
"""Seconds that routes wait for the ACK of the clusters they may lead to."""

_OPTIONS = [
    ("grpc.so_reuseport", 0),  # else a busy port is silently shared
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]

Parse = Callable[[bytes], Request]
Context = grpc.aio.ServicerContext[bytes, bytes]

_PREFIX = "/envoy.service."
_SERVICES: dict[str, tuple[str, ResourceType | None]] = {
    "discovery.v3.AggregatedDiscoveryService": ("AggregatedResources", None),
    "cluster.v3.ClusterDiscoveryService": ("Clusters", CLUSTER),
    "endpoint.v3.EndpointDiscoveryService": ("Endpoints", ENDPOINT),
    "secret.v3.SecretDiscoveryService": ("Secrets", SECRET),
    "listener.v3.ListenerDiscoveryService": ("Listeners", LISTENER),
    "route.v3.ScopedRoutesDiscoveryService": ("ScopedRoutes", SCOPE),
    "route.v3.RouteDiscoveryService": ("Routes", ROUTE),
}


@dataclass(frozen=True, slots=True)
class NodeState:
    """One stream of a connected Envoy. ``identity`` is its certificate's name, empty on plaintext."""

    node: str
    cluster: str
    user_agent: str
    peer: str
    identity: str
    variant: str
    connected_seconds: float
    types: list[TypeState]


@dataclass(eq=False)
class _Open:
    stream: Stream
    peer: str
    identity: str
    variant: str
    since: float


class XdsServer:
    """Answers nothing until `open_gate`: an empty directory must never reach an Envoy that holds a full one."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._gate = asyncio.Event()
        self._open: dict[_Open, None] = {}

    def open_gate(self) -> None:
        """The directory is complete; streams are answered from now on."""
        self._gate.set()

    def nodes(self) -> list[NodeState]:
        """The streams that have said who they are."""
        now = time.monotonic()
        return [
            NodeState(
                node=node.id,
                cluster=node.cluster,
                user_agent=node.user_agent,
                peer=open_.peer,
                identity=open_.identity,
                variant=open_.variant,
                connected_seconds=round(now - open_.since, 3),
                types=open_.stream.states(),
            )
            for open_ in self._open
            if (node := open_.stream.node) is not None
        ]

    @asynccontextmanager
    async def listening(
        self, address: str, port: int, credentials: grpc.ServerCredentials | None
    ) -> AsyncIterator[int]:
        """Serves while the block runs; yields the port. Raises SettingsError when the address can't be had."""
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((_Handlers(self._serve),))
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        try:
            bound = server.add_secure_port(where, credentials) if credentials else server.add_insecure_port(where)
        except RuntimeError:
            raise SettingsError(
                f"xds: can't listen on {where}; is another process on it? (settings xds.address, xds.port)"
            ) from None
        await server.start()
        try:
            yield bound
        finally:
            await server.stop(grace=0.1)

    async def _serve(
        self, requests: AsyncIterator[bytes], context: Context, parse: Parse, only: ResourceType | None
    ) -> None:
        await self._gate.wait()
        stream = Stream(self._cache.view, only)
        wake = asyncio.Event()
        variant = "delta" if parse is parse_delta else "sotw"
        open_ = _Open(stream, context.peer(), _identity(context), variant, time.monotonic())

        def changed(names: Changed) -> None:
            stream.changed(names)
            wake.set()

        self._open[open_] = None
        self._cache.watch(changed)
        reader = asyncio.create_task(_read(requests, stream, parse, wake))
        writer = asyncio.create_task(_write(context, stream, wake))
        reason = "closed"
        try:
            done, _ = await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except ProtocolError as error:
            reason = str(error)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._cache.unwatch(changed)
            del self._open[open_]
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            log.info("xds.stream_ended", node=stream.node.id if stream.node else "", peer=open_.peer, reason=reason)


async def _read(requests: AsyncIterator[bytes], stream: Stream, parse: Parse, wake: asyncio.Event) -> None:
    async for raw in requests:
        request = parse(raw)
        first = stream.node is None
        stream.receive(request)
        if first and stream.node is not None:
            log.info("xds.stream", node=stream.node.id, cluster=stream.node.cluster, envoy=stream.node.user_agent)
        if request.error is not None:
            node = stream.node.id if stream.node else ""
            log.warning("xds.nack", node=node, type=request.type_url, reason=request.error)
        wake.set()


async def _write(context: Context, stream: Stream, wake: asyncio.Event) -> None:
    clock = asyncio.get_running_loop().time
    release_at: float | None = None
    while True:
        # From the first response that is held on: what comes meanwhile must not put the end off.
        release_at = (release_at or clock() + HOLD) if stream.holding else None
        try:
            async with asyncio.timeout_at(release_at):
                await wake.wait()
        except TimeoutError:
            stream.release()
        wake.clear()
        for response in stream.responses():
            await context.write(response.encode())


def _identity(context: Context) -> str:
    known = context.auth_context()
    for name in ("x509_subject_alternative_name", "x509_common_name"):
        values = known.get(name)
        if values:
            value = next(iter(values))
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return ""


class _Handlers(grpc.GenericRpcHandler):
    """``Stream…`` and ``Delta…`` of every discovery service, by name."""

    def __init__(
        self,
        serve: Callable[[AsyncIterator[bytes], Context, Parse, ResourceType | None], Awaitable[None]],
    ) -> None:
        self._methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for service, (noun, only) in _SERVICES.items():
            for verb, parse in (("Stream", parse_sotw), ("Delta", parse_delta)):
                self._methods[f"{_PREFIX}{service}/{verb}{noun}"] = _method(serve, parse, only)

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

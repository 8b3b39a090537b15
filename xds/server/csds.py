"""Client status discovery (CSDS): what each connected Envoy was sent and how it answered, for the ecosystem's tools.

Source: envoy.service.status.v3. The view is ours, the server's: what an Envoy ACKed, NACKed or was sent last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import grpc
from envoy_data_plane.envoy.admin.v3 import ClientResourceStatus, UpdateFailureState
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.status.v3 import (
    ClientConfigGenericXdsConfig,
    ClientStatusRequest,
    ClientStatusResponse,
    ConfigStatus,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from xds.cache import Cache
from xds.errors import ProtocolError
from xds.protocol.stream import Stream
from xds.resources.types import SECRET, TYPES, ResourceType
from xds.resources.wire import field
from xds.server.descriptors import Method

SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"
METHODS = {
    "StreamClientStatus": Method(ClientStatusRequest, ClientStatusResponse),
    "FetchClientStatus": Method(ClientStatusRequest, ClientStatusResponse, (False, False)),
}

BODIES = 3_000_000
"""Bytes of resources in one answer; those beyond are left out. gRPC clients take 4 MiB unless told otherwise."""

# Of ClientStatusResponse, ClientConfig and its GenericXdsConfig.
_CONFIG = 1
_NODE = 1
_GENERIC = 3
_BODY = 4

Context = grpc.aio.ServicerContext[bytes, bytes]


class ClientStatus(grpc.GenericRpcHandler):
    """``streams`` gives the open streams of the moment; ``may_ask`` says who may see them."""

    def __init__(
        self, cache: Cache, streams: Callable[[], Iterable[Stream]], may_ask: Callable[[Context], bool]
    ) -> None:
        self._cache = cache
        self._streams = streams
        self._may_ask = may_ask
        self._one = asyncio.Lock()  # answers are large and take a while: one at a time
        self._methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            f"/{SERVICE}/StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
            f"/{SERVICE}/FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch),
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._methods.get(details.method)

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for raw in requests:
            yield await self._fetch(raw, context)  # and the next request is read when this answer is written

    async def _fetch(self, raw: bytes, context: Context) -> bytes:
        if not self._may_ask(context):
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "no rule of xds.access.rules is for this certificate"
            )
        try:
            async with self._one:
                return await self._answer(raw)
        except ProtocolError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    async def _answer(self, raw: bytes) -> bytes:
        try:
            request = ClientStatusRequest.parse(raw)
        except Exception as error:  # the parser names no errors of its own
            raise ProtocolError(f"not a ClientStatusRequest: {error}") from error
        if any(matcher.node_metadatas for matcher in request.node_matchers):
            raise ProtocolError("node_metadatas can't be matched: metadata isn't kept; match by node_id")
        matchers = [matcher.node_id for matcher in request.node_matchers if matcher.node_id is not None]
        room = 0 if request.exclude_resource_contents else BODIES
        clients: dict[str, list[bytes]] = {}
        for stream in list(self._streams()):
            node = stream.node
            if node is None or (matchers and not any(matches(matcher, node.id) for matcher in matchers)):
                continue
            head = field(_NODE, bytes(Node(id=node.id, cluster=node.cluster)))
            client = clients.setdefault(node.id, [head])
            for kind in TYPES:
                for number, config in enumerate(self._configs(stream, kind)):
                    body = self._body(kind, config) if kind is not SECRET else b""
                    if len(body) > room:
                        body = b""
                    room -= len(body)
                    client.append(field(_GENERIC, bytes(config) + body))
                    if number % 100 == 99:
                        await asyncio.sleep(0)  # thousands of resources: others have their turn between them
        return b"".join(field(_CONFIG, b"".join(client)) for client in clients.values())

    def _body(self, kind: ResourceType, config: ClientConfigGenericXdsConfig) -> bytes:
        """The resource as the cache has it encoded, when that is what the client holds."""
        current = self._cache.view(kind).get(config.name)
        return field(_BODY, current.any) if current and current.version == config.version_info else b""

    def _configs(self, stream: Stream, kind: ResourceType) -> Iterator[ClientConfigGenericXdsConfig]:
        for status in list(stream.resources(kind)):
            state, client = ConfigStatus.SYNCED, ClientResourceStatus.ACKED
            error = None
            if status.error:
                state, client = ConfigStatus.ERROR, ClientResourceStatus.NACKED
                error = UpdateFailureState(details=status.error, version_info=status.rejected)
            elif status.in_flight:
                state, client = ConfigStatus.STALE, ClientResourceStatus.REQUESTED
            elif not status.version:
                state, client = ConfigStatus.NOT_SENT, ClientResourceStatus.REQUESTED
            yield ClientConfigGenericXdsConfig(
                type_url=kind.url,
                name=status.name,
                version_info=status.version,
                config_status=state,
                client_status=client,
                error_state=error,
            )


def matches(matcher: StringMatcher, value: str) -> bool:
    """Raises ProtocolError for a matcher that isn't supported."""
    exact, prefix, suffix, contains = matcher.exact, matcher.prefix, matcher.suffix, matcher.contains
    if matcher.ignore_case:
        value = value.lower()
        exact, prefix, suffix, contains = (part and part.lower() for part in (exact, prefix, suffix, contains))
    if exact is not None:
        return value == exact
    if prefix is not None:
        return value.startswith(prefix)
    if suffix is not None:
        return value.endswith(suffix)
    if contains is not None:
        return contains in value
    raise ProtocolError("node_id is matched by exact, prefix, suffix or contains only")

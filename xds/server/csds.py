"""Client status discovery (CSDS): what each connected Envoy was sent and how it answered, for the ecosystem's tools.

Source: envoy.service.status.v3. The view is ours, the server's: what an Envoy ACKed, NACKed or was sent last.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import grpc
from envoy_data_plane.envoy.admin.v3 import ClientResourceStatus, UpdateFailureState
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.status.v3 import (
    ClientConfig,
    ClientConfigGenericXdsConfig,
    ClientStatusRequest,
    ClientStatusResponse,
    ConfigStatus,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from xds.cache import Cache
from xds.errors import ProtocolError
from xds.protocol.stream import Stream
from xds.resources.types import SECRET, TYPES, ResourceType
from xds.server.descriptors import Method

SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"
METHODS = {
    "StreamClientStatus": Method(ClientStatusRequest, ClientStatusResponse),
    "FetchClientStatus": Method(ClientStatusRequest, ClientStatusResponse, (False, False)),
}

Context = grpc.aio.ServicerContext[bytes, bytes]


class ClientStatus(grpc.GenericRpcHandler):
    """``streams`` gives the open streams of the moment; ``may_ask`` says who may see them."""

    def __init__(
        self, cache: Cache, streams: Callable[[], Iterable[Stream]], may_ask: Callable[[Context], bool]
    ) -> None:
        self._cache = cache
        self._streams = streams
        self._may_ask = may_ask
        self._methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            f"/{SERVICE}/StreamClientStatus": grpc.stream_stream_rpc_method_handler(self._stream),
            f"/{SERVICE}/FetchClientStatus": grpc.unary_unary_rpc_method_handler(self._fetch),
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._methods.get(details.method)

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for raw in requests:
            yield await self._fetch(raw, context)

    async def _fetch(self, raw: bytes, context: Context) -> bytes:
        if not self._may_ask(context):
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "no rule of xds.access.rules is for this certificate"
            )
        try:
            return bytes(self._answer(raw))
        except ProtocolError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    def _answer(self, raw: bytes) -> ClientStatusResponse:
        try:
            request = ClientStatusRequest.parse(raw)
        except Exception as error:  # the parser names no errors of its own
            raise ProtocolError(f"not a ClientStatusRequest: {error}") from error
        if any(matcher.node_metadatas for matcher in request.node_matchers):
            raise ProtocolError("node_metadatas can't be matched: metadata isn't kept; match by node_id")
        matchers = [matcher.node_id for matcher in request.node_matchers if matcher.node_id is not None]
        bodies = not request.exclude_resource_contents
        clients: dict[str, ClientConfig] = {}
        for stream in self._streams():
            node = stream.node
            if node is None or (matchers and not any(matches(matcher, node.id) for matcher in matchers)):
                continue
            client = clients.setdefault(node.id, ClientConfig(node=Node(id=node.id, cluster=node.cluster)))
            for kind in TYPES:
                client.generic_xds_configs.extend(self._configs(stream, kind, bodies and kind is not SECRET))
        return ClientStatusResponse(config=list(clients.values()))

    def _configs(self, stream: Stream, kind: ResourceType, bodies: bool) -> Iterator[ClientConfigGenericXdsConfig]:
        resources = self._cache.view(kind)
        for status in stream.resources(kind):
            current = resources.get(status.name)
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
                xds_config=Any.parse(current.any) if bodies and current and current.version == status.version else None,
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

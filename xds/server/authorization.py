"""Envoy's authorization service (envoy.service.auth.v3), asked for one thing alone: where a host is that isn't known.

Of the request only its host and its client's address are looked at. Messages are read and answered as bytes: under a
scan of random hosts there are hundreds a second. What sends a request nowhere is answered at a pace: an Envoy has so
many questions open at a time and no more, so that a scan ends there while these wait, whatever it is that they are
refused for.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import IPv6Address

import grpc

from xds.errors import GdsError, RecordError
from xds.gds.model import check_domain, normalise_host
from xds.resources import cold
from xds.resources.wire import delimited
from xds.server.paced import Paced

SERVICE = "envoy.service.auth.v3.Authorization"

# Of CheckRequest, AttributeContext, its Request, and its HttpRequest.
_TO_HOST = (1, 4, 2, 5)
# Of CheckRequest, AttributeContext, its Peer, Address, and SocketAddress.
_TO_CLIENT = (1, 1, 1, 1, 2)
_NETWORK = 4
"""Groups of an IPv6 address that are one client's, as `xds.resources.per_address` has it."""

Context = grpc.aio.ServicerContext[bytes, bytes]


class Authorization(grpc.GenericRpcHandler):
    """``where(host, client)``: the pod's name, None for nobody; raises GdsError when that can't be known now.
    ``may_ask`` says who may; ``refusals``: the pace of what isn't a pod."""

    def __init__(
        self, where: Callable[[str, str], Awaitable[str | None]], may_ask: Callable[[Context], bool], refusals: Paced
    ) -> None:
        self._where = where
        self._may_ask = may_ask
        self._refusals = refusals
        self._nobody = cold.nobody()
        self._later = cold.later()
        self._method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._check)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._method if details.method == f"/{SERVICE}/Check" else None

    async def _check(self, request: bytes, context: Context) -> bytes:
        if not self._may_ask(context):
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "no rule of xds.access.rules is for this certificate"
            )
        try:
            host, client = host_of(request), client_of(request)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not a CheckRequest: {error}")
        pod, refused, began = None, self._nobody, time.monotonic()
        if _can_be_domain(host):
            try:
                pod = await self._where(host, client)
            except GdsError:  # counted where it is raised
                refused = self._later
        if pod is not None:
            return _found(pod)
        await self._refusals.turn(time.monotonic() - began)
        return refused


def host_of(request: bytes) -> str:
    """The host that a CheckRequest is for, in lower case. Raises ValueError when it isn't such a message."""
    return normalise_host(_text(request, _TO_HOST))


def client_of(request: bytes) -> str:
    """Whose request a CheckRequest is for: an address, or of IPv6 a network; "" when it doesn't say. Raises ValueError
    when it isn't such a message."""
    address = _text(request, _TO_CLIENT)
    if ":" not in address:
        return address
    try:
        return IPv6Address(address).exploded[: 5 * _NETWORK]
    except ValueError:  # none that Envoy says
        return address


def _text(request: bytes, way: tuple[int, ...]) -> str:
    part = request
    for wanted in way:
        part = next((body for number, body in delimited(part) if number == wanted), b"")
    return part.decode("ascii", "replace")


def _can_be_domain(host: str) -> bool:
    """Whether GDS can know it: neither wildcards nor addresses are asked for."""
    try:
        check_domain(host)
    except RecordError:
        return False
    return not host.startswith("*") and not host.rpartition(".")[2].isdigit()


@lru_cache(4096)
def _found(pod: str) -> bytes:
    return cold.found(pod)

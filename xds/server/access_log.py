"""Envoy's access log service (envoy.service.accesslog.v3), for the requests to unknown hosts, and for a sample of those
to known ones.

It is read at a bounded pace, whoever sends and however much: gRPC's flow control holds the rest at the Envoys, which
drop what they can't send (``access_logs.grpc_access_log.logs_dropped`` among their statistics). So a scan of random
hosts costs neither memory nor much time here; under one, the counts are of a sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import structlog

from xds.busy_hosts import BusyHosts
from xds.resources.local_replies import BUSY_HOSTS
from xds.unknown_hosts import UnknownHosts, hosts_of, log_name_of

log = structlog.get_logger()

SERVICE = "envoy.service.accesslog.v3.AccessLogService"

PAUSE = 0.05
"""Seconds after each message, of all streams together: at 16 KiB a message, about 1,000 requests a second."""

Context = grpc.aio.ServicerContext[bytes, bytes]


class AccessLogs(grpc.GenericRpcHandler):
    """``may_send`` says who may. ``busy``: the sample goes there. ``before``: done before each message is read, and may
    end the call: such a stream lasts for as long as its Envoy, and who may send may be another by then."""

    def __init__(
        self,
        hosts: UnknownHosts | None,
        may_send: Callable[[Context], bool],
        pause: float = PAUSE,
        busy: BusyHosts | None = None,
        before: Callable[[Context], Awaitable[None]] | None = None,
    ) -> None:
        self._hosts = hosts
        self._busy = busy
        self._may_send = may_send
        self._before = before
        self._pause = pause
        self._one = asyncio.Lock()
        self._method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_unary_rpc_method_handler(self._stream)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._method if details.method == f"/{SERVICE}/StreamAccessLogs" else None

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        if not self._may_send(context):
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "no rule of xds.access.rules is for this certificate"
            )
        name = None
        async for message in requests:
            if self._before is not None:
                await self._before(context)
            async with self._one:
                try:
                    name = log_name_of(message) if name is None else name  # only the first message says it
                    count = self._busy if name == BUSY_HOSTS else self._hosts
                    for host in hosts_of(message):
                        if count is not None:
                            count.add(host)
                except ValueError as error:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not a StreamAccessLogsMessage: {error}")
                await asyncio.sleep(self._pause)
        return b""

"""Envoy's access log service, for the requests to unknown hosts (envoy.service.accesslog.v3).

It is read at a bounded pace, whoever sends and however much: gRPC's flow control holds the rest at the Envoys, which
drop what they can't send (``access_logs.grpc_access_log.logs_dropped`` among their statistics). So a scan of random
hosts costs neither memory nor much time here; under one, the counts are of a sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import structlog

from xds.unknown_hosts import UnknownHosts, hosts_of

log = structlog.get_logger()

SERVICE = "envoy.service.accesslog.v3.AccessLogService"

PAUSE = 0.05
"""Seconds after each message, of all streams together: at 16 KiB a message, about 1,000 requests a second."""

Context = grpc.aio.ServicerContext[bytes, bytes]


class AccessLogs(grpc.GenericRpcHandler):
    """``may_send`` says who may."""

    def __init__(self, hosts: UnknownHosts, may_send: Callable[[Context], bool], pause: float = PAUSE) -> None:
        self._hosts = hosts
        self._may_send = may_send
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
        async for message in requests:
            async with self._one:
                try:
                    for host in hosts_of(message):
                        self._hosts.add(host)
                except ValueError as error:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not a StreamAccessLogsMessage: {error}")
                await asyncio.sleep(self._pause)
        return b""

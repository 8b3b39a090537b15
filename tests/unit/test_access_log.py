"""The access log service reads at its own pace: a flood waits at the sender, and only who is known may send."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from envoy_data_plane.envoy.data.accesslog.v3 import HttpAccessLogEntry, HttpRequestProperties
from envoy_data_plane.envoy.service.accesslog.v3 import (
    StreamAccessLogsMessage,
    StreamAccessLogsMessageHttpAccessLogEntries,
)

from xds.server.access_log import SERVICE, AccessLogs
from xds.unknown_hosts import UnknownHosts

PAUSE = 0.1
FLOOD = 2_000


def message(hosts: int) -> bytes:
    entries = [
        HttpAccessLogEntry(request=HttpRequestProperties(authority=f"h{n}.example.com", path="/" + "a" * 200))
        for n in range(hosts)
    ]
    return bytes(StreamAccessLogsMessage(http_logs=StreamAccessLogsMessageHttpAccessLogEntries(log_entry=entries)))


@contextlib.asynccontextmanager
async def serving(
    hosts: UnknownHosts, known: bool = True, before: Callable[..., Awaitable[None]] | None = None
) -> AsyncIterator[grpc.aio.StreamUnaryMultiCallable]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((AccessLogs(hosts, lambda context: known, PAUSE, before=before),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel.stream_unary(f"/{SERVICE}/StreamAccessLogs")
    finally:
        await server.stop(0)


async def test_messages_beyond_the_pace_wait_at_the_sender() -> None:
    hosts = UnknownHosts(100)
    written = 0
    async with serving(hosts) as send:
        big = message(60)
        began = time.monotonic()

        async def flood(call: grpc.aio.StreamUnaryCall) -> None:
            nonlocal written
            for _ in range(FLOOD):
                await call.write(big)
                written += 1

        floods = [asyncio.create_task(flood(send())) for _ in range(3)]
        await asyncio.sleep(1.5)
        took = time.monotonic() - began
        assert 1 <= hosts.requests / 60 <= took / PAUSE + 2  # of all streams together
        assert len(hosts) <= 100
        # What is neither read nor refused is a few windows of HTTP/2, not the flood.
        assert written < 2 * FLOOD
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)


async def test_only_who_is_known_may_send_and_nonsense_ends_the_stream() -> None:
    async with serving(UnknownHosts(10), known=False) as send:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await send(iter([message(1)]))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    hosts = UnknownHosts(10)
    async with serving(hosts) as send:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await send(iter([b"\x12\xff"]))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await send(iter([message(1)])) == b""
    assert hosts.requests == 1


async def test_what_is_said_before_a_message_ends_a_stream_that_is_open() -> None:
    hosts, revoked = UnknownHosts(10), False

    async def before(context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        if revoked:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "revoked")

    async with serving(hosts, before=before) as send:
        call = send()
        await call.write(message(1))
        async with asyncio.timeout(10):
            while hosts.requests < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        revoked = True
        await call.write(message(1))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert hosts.requests == 1

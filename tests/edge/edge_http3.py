"""A client that speaks HTTP/3 with the edge."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent
from edge_harness import Edge

from demo.system import LOOPBACK


class H3Client(QuicConnectionProtocol):
    """``ended``: why the connection was, once it is."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.ended = ""
        self.http = H3Connection(self._quic)
        self.answers: dict[int, tuple[dict[str, str], bytearray, asyncio.Event]] = {}

    async def get(self, host: str, more: list[tuple[bytes, bytes]] | None = None) -> tuple[dict[str, str], bytes]:
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream] = ({}, bytearray(), asyncio.Event())
        head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", host.encode()), (b":path", b"/")]
        self.http.send_headers(stream, [*head, *(more or [])], end_stream=True)
        self.transmit()
        await asyncio.wait_for(self.answers[stream][2].wait(), 20)
        headers, body, _ = self.answers[stream]
        return headers, bytes(body)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            self.ended = event.reason_phrase or "without a reason"
        for each in self.http.handle_event(event):
            if isinstance(each, HeadersReceived):
                self.answers[each.stream_id][0].update({n.decode(): v.decode() for n, v in each.headers})
            if isinstance(each, DataReceived):
                self.answers[each.stream_id][1].extend(each.data)
            if isinstance(each, HeadersReceived | DataReceived) and each.stream_ended:
                self.answers[each.stream_id][2].set()


@contextlib.asynccontextmanager
async def http3(edge: Edge, sni: str = "edge.example.com", patience: float = 60.0) -> AsyncIterator[H3Client]:
    """Raises ConnectionError when no connection is made in so many seconds."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=sni, idle_timeout=patience)
    configuration.load_verify_locations(str(edge.system.ca))
    port = edge.system.ports.edge_https
    async with connect(LOOPBACK, port, configuration=configuration, create_protocol=H3Client) as client:
        assert isinstance(client, H3Client)
        yield client


async def over_http3(edge: Edge, *asks: Callable[[H3Client], Any]) -> list[Any]:
    async with http3(edge) as client:
        return [await ask(client) for ask in asks]

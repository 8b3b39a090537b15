"""One request over HTTP/3."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent


class _Client(QuicConnectionProtocol):
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._http = H3Connection(self._quic)
        self.headers: dict[str, str] = {}
        self.done = asyncio.Event()

    def send(self, method: str, host: str, body: bytes) -> None:
        stream = self._quic.get_next_available_stream_id()
        head = {":method": method, ":scheme": "https", ":authority": host, ":path": "/"}
        self._http.send_headers(stream, [(n.encode(), v.encode()) for n, v in head.items()], end_stream=not body)
        if body:
            self._http.send_data(stream, body, end_stream=True)
        self.transmit()

    def quic_event_received(self, event: QuicEvent) -> None:
        for one in self._http.handle_event(event):
            if isinstance(one, HeadersReceived):
                self.headers |= {name.decode(): value.decode() for name, value in one.headers}
            if isinstance(one, HeadersReceived | DataReceived) and one.stream_ended:
                self.done.set()


def http3(
    port: int, host: str, *, method: str = "GET", body: bytes = b"", sni: str = "edge.example.com"
) -> dict[str, str]:
    """The headers of the answer; ``:status`` among them."""

    async def ask() -> dict[str, str]:
        options = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=sni, verify_mode=ssl.CERT_NONE)
        async with connect("127.0.0.1", port, configuration=options, create_protocol=_Client) as client:
            assert isinstance(client, _Client)
            client.send(method, host, body)
            await asyncio.wait_for(client.done.wait(), 20)
            return client.headers

    return asyncio.run(ask())

"""An HTTP/3 client for tests, by aioquic: it sends whatever headers it is given, in good faith or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StopSendingReceived, StreamReset
from edge_harness import Edge

from demo.system import LOOPBACK

PATIENCE = 20.0

Headers = list[tuple[bytes, bytes]]


@dataclass
class Stream:
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """It was answered or reset, or the connection is gone."""


class H3Client(QuicConnectionProtocol):
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.http = H3Connection(self._quic)
        self.streams: dict[int, Stream] = {}
        self.ended = ""
        """Why the connection was, once it is."""

    def begin(self, headers: Headers, *, end: bool = True) -> int:
        """A request of these headers alone, pseudo-headers among them; returns its stream."""
        number = self._quic.get_next_available_stream_id()
        self.streams[number] = Stream()
        self.http.send_headers(number, headers, end_stream=end)
        self.transmit()
        return number

    async def status(self, number: int) -> int:
        """0 when there was no answer: the stream was reset, or the connection closed."""
        async with asyncio.timeout(PATIENCE):
            await self.streams[number].over.wait()
        return int(self.streams[number].headers.get(":status", 0))

    async def get(self, host: str, more: Headers | None = None) -> tuple[dict[str, str], bytes]:
        number = self.begin([*request(host), *(more or [])])
        await self.status(number)
        return self.streams[number].headers, bytes(self.streams[number].body)

    def quic_event_received(self, event: QuicEvent) -> None:
        match event:
            case ConnectionTerminated(reason_phrase=why):
                self.ended = why or "without a reason"
                for stream in self.streams.values():
                    stream.over.set()
            case StreamReset(stream_id=number) | StopSendingReceived(stream_id=number):
                if number in self.streams:
                    self.streams[number].over.set()
        for each in self.http.handle_event(event):
            if isinstance(each, HeadersReceived | DataReceived) and each.stream_id in self.streams:
                stream = self.streams[each.stream_id]
                if isinstance(each, HeadersReceived):
                    stream.headers.update({name.decode(): value.decode() for name, value in each.headers})
                else:
                    stream.body.extend(each.data)
                if each.stream_ended:
                    stream.over.set()

    def ignores_limits(self) -> None:
        """It opens more streams than it was allowed."""
        self._quic._remote_max_streams_bidi = 1 << 20

    @property
    def allowed(self) -> int:
        """The streams that it may open until the other end says more."""
        return self._quic._remote_max_streams_bidi


def request(host: str, path: str = "/", method: str = "GET") -> Headers:
    head = {":method": method, ":scheme": "https", ":authority": host, ":path": path}
    return [(name.encode(), value.encode()) for name, value in head.items()]


@asynccontextmanager
async def http3(edge: Edge, sni: str = "edge.example.com", patience: float = 60.0) -> AsyncIterator[H3Client]:
    """Raises ConnectionError when no connection is made in so many seconds."""
    options = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=sni, idle_timeout=patience)
    options.load_verify_locations(str(edge.system.ca))
    port = edge.system.ports.edge_https
    async with connect(LOOPBACK, port, configuration=options, create_protocol=H3Client) as client:
        assert isinstance(client, H3Client)
        yield client


async def over_http3(edge: Edge, *asks: Callable[[H3Client], Any]) -> list[Any]:
    async with http3(edge) as client:
        return [await ask(client) for ask in asks]

"""A GDS that answers each call as a test tells it to, with bytes that no GDS should send."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from background import Background

SNAPSHOT = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\n\r\n"
WATCH = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

Answer = Callable[[str], AsyncIterator[bytes]]
"""The request's first line → what is sent; then the connection is closed."""


class LyingGds:
    """Listens on ``port`` while it is entered; ``answered`` counts the calls."""

    def __init__(self, port: int, answer: Answer) -> None:
        self.answered = 0
        self._port = port
        self._answer = answer
        self._loop: Background | None = None

    def __enter__(self) -> LyingGds:
        self._loop = Background("lying gds")
        self._server = self._loop.call(asyncio.start_server(self._serve, "127.0.0.1", self._port))
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            self._loop.soon(self._server.close)
            self._loop.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            async for part in self._answer(request.split(b"\r\n", 1)[0].decode()):
                writer.write(part)
                await writer.drain()
        self.answered += 1
        writer.close()

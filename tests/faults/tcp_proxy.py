"""A TCP proxy between two parts, which delays, throttles, cuts, falls silent and refuses as it is told.

Bytes can't be lost or change places within a TCP connection: what a network that loses them does to it is a delay.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

from background import Background

CHUNK = 64 * 1024


@dataclass
class Traffic:
    """Bytes; ``down`` is to whoever connects to the proxy. ``connections`` were accepted."""

    connections: int = 0
    up: int = 0
    down: int = 0


class TcpProxy:
    """Listens on ``listen`` for as long as it is entered, and forwards to ``target``; both are (address, port).

    ``delay``: seconds that every byte is under way. ``bandwidth``: bytes a second of each connection and direction.
    ``silent``: half-open; connections are accepted and stay, and nothing is carried until it is False again.
    ``cut_after``: a connection is cut when so many bytes went down on it. ``target`` is of new connections.
    """

    def __init__(self, listen: tuple[str, int], target: tuple[str, int]) -> None:
        self.traffic = Traffic()
        self.delay = 0.0
        self.bandwidth: float | None = None
        self.silent = False
        self.cut_after: int | None = None
        self._listen = listen
        self.target = target
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._accepts = False
        self._loop: Background | None = None

    @property
    def open_connections(self) -> int:
        return len(self._open) // 2

    def __enter__(self) -> TcpProxy:
        self._loop = Background("proxy")
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            self.refuse()
            self._loop.stop()
            self._loop = None

    def accept(self) -> None:
        """Listens, after `refuse`."""
        assert self._loop is not None
        self._accepts = True
        self._server = self._loop.call(asyncio.start_server(self._carry, *self._listen, backlog=1024))

    def refuse(self) -> None:
        """Whoever connects is refused; what is open is cut."""

        async def refuse() -> None:
            self._accepts = False
            if self._server is not None:
                self._server.close()
                self._server = None
            self._cut()

        assert self._loop is not None
        self._loop.call(refuse())

    def cut(self) -> None:
        """Ends every open connection, whatever is under way on it."""

        async def cut() -> None:
            self._cut()

        assert self._loop is not None
        self._loop.call(cut())

    def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._accepts:
            writer.transport.abort()  # it came just before
            return
        self.traffic.connections += 1
        self._open.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            await self._while_silent()
            from_there, there = await asyncio.open_connection(*self.target)
            self._open.add(there)
            ways = [
                asyncio.ensure_future(self._pump(reader, there, down=False)),
                asyncio.ensure_future(self._pump(from_there, writer, down=True)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            for end in (writer, there):
                if end is not None:
                    self._open.discard(end)
                    with contextlib.suppress(Exception):
                        end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        arriving = asyncio.ensure_future(self._arrive(under_way, writer, down=down))
        try:
            while data := await reader.read(CHUNK):
                await under_way.put((time.monotonic() + self.delay, data))
            await under_way.put((time.monotonic() + self.delay, b""))
            await arriving
        finally:
            arriving.cancel()
            await asyncio.gather(arriving, return_exceptions=True)

    async def _arrive(
        self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, *, down: bool
    ) -> None:
        gone = 0
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self._while_silent()
            if not data:
                return
            if down and self.cut_after is not None and gone + len(data) >= self.cut_after:
                writer.write(data[: self.cut_after - gone])
                await writer.drain()
                return
            if self.bandwidth is not None:
                await asyncio.sleep(len(data) / self.bandwidth)
            gone += len(data)
            if down:
                self.traffic.down += len(data)
            else:
                self.traffic.up += len(data)
            writer.write(data)
            await writer.drain()

    async def _while_silent(self) -> None:
        while self.silent:  # noqa: ASYNC110  (it is set from other threads)
            await asyncio.sleep(0.02)

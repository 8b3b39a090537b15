"""One port before several control planes of one name: so that there may be any number of them behind a port of the
host. Who answers is the first of their addresses, in their order, that can be reached."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket

PATIENCE = 2.0
"""Seconds that one of them has to accept a connection."""


async def forward(name: str, port: int, address: str = "0.0.0.0") -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await forwarding(name, port, address, port):
        await stop.wait()


async def forwarding(name: str, port: int, address: str, listen: int) -> asyncio.Server:
    """Listens on ``address`` and the port ``listen``; each connection goes to ``port`` of whoever has that name now."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            there, back = await _connected(name, port)
            with contextlib.closing(back):
                await asyncio.gather(_pipe(reader, back), _pipe(there, writer))

    return await asyncio.start_server(carry, address, listen)


async def _connected(name: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises OSError when nobody of that name can be reached."""
    found = await asyncio.get_running_loop().getaddrinfo(name, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    for address in sorted({str(where[0]) for *_, where in found}):
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                return await asyncio.open_connection(address, port)
    raise ConnectionRefusedError(f"nobody called {name} is at port {port}")


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

"""One port before several: whoever of the name can be reached answers."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from demo.forward import forwarding
from demo.ports import free_ports


async def answering(address: str, port: int) -> asyncio.Server:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(address.encode() + await reader.read())
        writer.close()

    return await asyncio.start_server(say, address, port)


async def asked(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        writer.write(b" heard it")
        writer.write_eof()
        return (await reader.read()).decode()


async def test_a_connection_goes_to_the_first_that_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(name: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert name == "pointsman"
        return [(0, 0, 0, "", (f"127.0.0.{number}", port)) for number in (3, 2)]

    there, here = free_ports(2)
    first, second = await answering("127.0.0.2", there), await answering("127.0.0.3", there)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    async with await forwarding("pointsman", there, "127.0.0.1", here):
        monkeypatch.undo()
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
        assert await asked(here) == "127.0.0.2 heard it"
        first.close()
        await first.wait_closed()
        assert await asked(here) == "127.0.0.3 heard it"
        second.close()
        await second.wait_closed()
        assert await asked(here) == ""

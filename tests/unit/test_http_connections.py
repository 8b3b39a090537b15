"""What a client of the HTTP port can hold open: no more connections than there may be, and none without a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from xds.http import serve
from xds.http.serve import serving

LOOPBACK = "127.0.0.1"
WHOLE = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"


def app() -> FastAPI:
    made = FastAPI()

    made.state.told = made.state.ended = 0

    @made.get("/endless")
    async def endless() -> StreamingResponse:
        async def told() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(100_000)
                    made.state.told += 1
                    await asyncio.sleep(0)
            finally:
                made.state.ended += 1

        return StreamingResponse(told())

    @made.get("/quick")
    async def quick() -> str:
        return "done"

    @made.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(1)
        return "done"

    return made


async def heard(port: int, *parts: bytes) -> bytes:
    """All that is answered to a request that is sent in these parts, until the connection ends."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("begun", [b"", b"GET /slow HTTP/1.1\r\nHost: loc"])
async def test_who_does_not_finish_a_request_is_let_go(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(serve, "_UNFINISHED", 0.1)
    async with serving(app(), LOOPBACK, 0) as port:
        assert await heard(port, begun) == b""


async def test_who_waits_for_an_answer_gets_it_and_is_let_go_with_the_next_request_half_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve, "_UNFINISHED", 0.1)
    async with serving(app(), LOOPBACK, 0) as port:
        assert (await heard(port, WHOLE, WHOLE[:20])).endswith(b'"done"')


async def test_who_asks_again_and_again_keeps_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short its requests are: at each look none may be under way."""
    monkeypatch.setattr(serve, "_UNFINISHED", 0.5)
    async with serving(app(), LOOPBACK, 0) as port:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        async with asyncio.timeout(20):
            for _ in range(60):
                writer.write(WHOLE.replace(b"/slow", b"/quick"))
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                assert await reader.readexactly(6) == b'"done"'
                await asyncio.sleep(0.025)
        writer.close()


async def test_a_connection_more_than_there_may_be_is_closed_and_the_others_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve, "CONNECTIONS", 1)
    async with serving(app(), LOOPBACK, 0) as port:
        first = asyncio.create_task(heard(port, WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
        await asyncio.sleep(0.3)
        assert await heard(port, WHOLE) == b""
        assert (await first).endswith(b'"done"')


async def test_who_does_not_read_an_answer_is_let_go_and_who_reads_slowly_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve, "_UNFINISHED", 0.6)
    served = app()
    request = b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving(served, LOOPBACK, 0) as port:
        slow, to_slow = await asyncio.open_connection(LOOPBACK, port, limit=1_000_000)
        to_slow.write(request)
        _, to_deaf = await asyncio.open_connection(LOOPBACK, port, limit=1_000)
        to_deaf.write(request)
        for _ in range(60):
            await slow.read(700_000)
            await asyncio.sleep(0.05)
        assert served.state.ended == 1, "the one that reads isn't ended"
        to_slow.close()
        to_deaf.close()

"""Answers that go on for long: as many at a time as there are places, also when very many ask at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from fastapi.responses import Response, StreamingResponse

from xds.http.places import Places
from xds.http.serve import serving

MOST = 5


@asynccontextmanager
async def asking(port: int) -> AsyncIterator[tuple[int, bytes]]:
    """The status of an answer and what comes first of its body, while the connection stays open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
            yield int(head.split()[1]), await reader.read(1_000)
    finally:
        writer.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = FastAPI()
    places = Places(MOST, "too many of them: try again later")

    async def words() -> AsyncIterator[str]:
        while True:
            yield "word"
            await asyncio.sleep(0.05)

    @app.get("/long")
    async def long() -> Response:
        return places.held(StreamingResponse(words()))

    async with serving(app, "127.0.0.1", 0) as number:
        yield number


async def test_of_many_who_ask_at_once_as_many_are_answered_as_there_are_places(port: int) -> None:
    done = asyncio.Event()
    heard: asyncio.Queue[int] = asyncio.Queue()

    async def one() -> None:
        async with asking(port) as (status, body):
            heard.put_nowait(status)
            assert (b"word" if status == 200 else b"try again later") in body
            await done.wait()

    tasks = [asyncio.create_task(one()) for _ in range(4 * MOST)]
    async with asyncio.timeout(30):
        statuses = [await heard.get() for _ in tasks]
    assert Counter(statuses) == {200: MOST, 503: 3 * MOST}
    done.set()
    await asyncio.gather(*tasks)
    async with asyncio.timeout(30):  # their places are free once it is noticed that they went
        while True:
            async with asking(port) as (status, _):
                if status == 200:
                    break
            await asyncio.sleep(0.05)

"""What sheds HTTP/3: Envoy's limits for connections and for TCP's accepts don't concern QUIC."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from edge_harness import Edge, running, until
from edge_http3 import H3Client, http3
from edge_wire import GOOD, heap, pressed, pressure

LIMIT = 8
PATIENCE = 5.0
"""Seconds after which a client holds that no connection comes."""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """It takes few connections, and a file says how full the heap is."""
    folder: Path = tmp_path_factory.mktemp("http3")
    settings: dict[str, dict[str, object]] = {"edge": {"tables": 16, "http3_connections": LIMIT}}
    with running(folder, settings, domains=20, bootstrap=pressed(folder)) as edge:
        yield edge


@contextlib.asynccontextmanager
async def under(edge: Edge, full: float) -> AsyncIterator[None]:
    pressure(edge.system.folder, full)
    try:
        await asyncio.to_thread(until, lambda: heap(edge) == int(full * 100), "Envoy sees how full its heap is")
        yield
    finally:
        pressure(edge.system.folder, 0.0)
        await asyncio.to_thread(until, lambda: heap(edge) == 0, "Envoy sees that its heap is empty")


async def status(client: H3Client) -> str:
    headers, _ = await client.get(GOOD)
    return headers[":status"]


async def taken(edge: Edge) -> bool:
    """Whether a new connection is, and answered."""
    try:
        async with http3(edge, patience=PATIENCE) as client:
            return await status(client) == "200"
    except ConnectionError:
        return False


def connections(edge: Edge) -> int:
    return edge.stats("connection_limit.http3.active_connections")["connection_limit.http3.active_connections"]


async def test_over_its_limit_no_connection_is_taken_and_the_others_and_tcp_go_on(edge: Edge) -> None:
    async with contextlib.AsyncExitStack() as open_:
        held = [await open_.enter_async_context(http3(edge)) for _ in range(LIMIT)]
        assert [await status(client) for client in held] == ["200"] * LIMIT
        assert [await taken(edge) for _ in range(2)] == [False, False]
        assert [await status(client) for client in held] == ["200"] * LIMIT
        assert edge.ask(GOOD, h2=True).status == 200
        assert connections(edge) == LIMIT
    await asyncio.to_thread(until, lambda: connections(edge) == 0, "they are gone")
    assert await taken(edge)


async def test_at_96_percent_of_the_heap_what_is_open_is_answered_and_nothing_new_is_taken(edge: Edge) -> None:
    async with http3(edge) as client:
        assert await status(client) == "200"
        async with under(edge, 0.97):
            assert await status(client) == "200"
            assert not await taken(edge)
    assert await taken(edge)


async def test_at_98_percent_of_the_heap_requests_are_answered_503(edge: Edge) -> None:
    async with http3(edge) as client:
        assert await status(client) == "200"
        async with under(edge, 0.99):
            assert await status(client) == "503"


async def test_at_95_percent_of_the_heap_idle_connections_are_ended(edge: Edge) -> None:
    async with http3(edge) as client:
        assert await status(client) == "200"
        async with under(edge, 0.95):
            async with asyncio.timeout(20):
                while not client.ended:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)


async def test_at_92_percent_of_the_heap_a_connection_that_is_used_is_told_to_end(edge: Edge) -> None:
    def told() -> int:
        name = "http.https.downstream_cx_overload_disable_keepalive"
        return edge.stats(name)[name]

    async with http3(edge) as client:
        assert await status(client) == "200"
        before = told()
        async with under(edge, 0.93):
            assert await status(client) == "200"
        assert told() > before

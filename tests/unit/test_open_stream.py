"""An open stream: nothing of a request counts before its sender is admitted, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from xds.cache import Cache
from xds.errors import LimitError, ProtocolError
from xds.protocol.decode import parse_delta
from xds.resources.types import ROUTE, ResourceType, resource
from xds.server.limits import Limits
from xds.server.streams import OpenStream, Peer, Rim
from xds.server.turns import Turns

HELD = {"table-0": "some version"}


async def returned(node: Node | None) -> list[dict[str, str | None]]:
    """What is told of the first request, of a client that says that it holds HELD."""
    told: list[dict[str, str | None]] = []

    def note(kind: ResourceType, versions: Mapping[str, str | None]) -> None:
        told.append(dict(versions))

    async def requests() -> AsyncIterator[bytes]:
        yield bytes(DeltaDiscoveryRequest(node=node, type_url=ROUTE.url, initial_resource_versions=HELD))

    rim = Rim(Limits(), time.monotonic, Cache().view, lambda *who: cast(Any, None), lambda *settled: None, note)
    stream = OpenStream(Peer("127.0.0.1:1", None), "delta", None, rim)
    try:
        await stream.run(requests(), cast(Any, None), parse_delta)
    except ProtocolError:
        assert node is None
    return told


@pytest.mark.parametrize(("node", "told"), [(Node(id="envoy"), [HELD]), (None, [])])
async def test_what_a_client_holds_is_believed_only_once_it_said_who_it_is(
    node: Node | None, told: list[dict[str, str]]
) -> None:
    assert await returned(node) == told


def rim_of(cache: Cache, limits: Limits, responses: Turns | None = None) -> Rim:
    return Rim(
        limits,
        time.monotonic,
        cache.view,
        lambda *who: cast(Any, None),
        lambda *settled: None,
        lambda *had: None,
        responses=responses or Turns(),
    )


class _Deaf:
    """A client that is there and never takes what it is sent."""

    async def write(self, message: bytes) -> None:
        await asyncio.Event().wait()


async def test_the_end_of_a_call_does_not_wait_for_ever_for_a_client_that_reads_nothing() -> None:
    cache = Cache()
    cache.publish({ROUTE: {"table-0": resource(ROUTE, "table-0", b"")}})

    async def requests() -> AsyncIterator[bytes]:
        yield bytes(
            DeltaDiscoveryRequest(node=Node(id="deaf"), type_url=ROUTE.url, resource_names_subscribe=["table-0"])
        )
        await asyncio.Event().wait()

    rim = rim_of(cache, Limits(write_timeout=0.1))
    stream = OpenStream(Peer("127.0.0.1:1", None), "delta", None, rim)
    async with asyncio.timeout(20):
        with pytest.raises(LimitError, match="write_timeout"):
            await stream.run(requests(), cast(Any, _Deaf()), parse_delta)
        await stream.written()


class _Client:
    """It asks for a table, and ACKs what it takes. ``begun``: what it is sent; it takes that once it is ``willing``."""

    def __init__(self, name: str) -> None:
        self.begun: list[bytes] = []
        self.taken = 0
        self.willing = asyncio.Event()
        self.says: asyncio.Queue[bytes | None] = asyncio.Queue()
        table = ["table-0"]
        first = DeltaDiscoveryRequest(node=Node(id=name), type_url=ROUTE.url, resource_names_subscribe=table)
        self.says.put_nowait(bytes(first))

    async def requests(self) -> AsyncIterator[bytes]:
        while (said := await self.says.get()) is not None:
            yield said

    async def write(self, message: bytes) -> None:
        self.begun.append(message)
        await self.willing.wait()
        self.taken += 1
        nonce = DeltaDiscoveryResponse.parse(message).nonce
        self.says.put_nowait(bytes(DeltaDiscoveryRequest(type_url=ROUTE.url, response_nonce=nonce)))


async def rounds(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_write_that_is_begun_goes_on_when_its_stream_ends_and_is_the_last() -> None:
    cache, client = Cache(), _Client("slow")
    cache.publish({ROUTE: {"table-0": resource(ROUTE, "table-0", b"")}})
    stream = OpenStream(Peer("127.0.0.1:1", None), "delta", None, rim_of(cache, Limits()))
    cache.watch(stream.changed)
    running = asyncio.create_task(stream.run(client.requests(), cast(Any, client), parse_delta))
    await rounds()
    assert len(client.begun) == 1
    client.says.put_nowait(None)
    async with asyncio.timeout(20):
        await running
    cache.publish({ROUTE: {"table-0": resource(ROUTE, "table-0", b"other")}})

    taking = asyncio.create_task(stream.written())
    await rounds()
    assert not taking.done()
    client.willing.set()
    async with asyncio.timeout(20):
        await taking
    await rounds()
    assert (len(client.begun), client.taken) == (1, 1)


async def test_a_stream_that_is_cancelled_leaves_nothing_but_the_write_that_is_begun() -> None:
    cache, client, before = Cache(), _Client("cut"), asyncio.all_tasks()
    cache.publish({ROUTE: {"table-0": resource(ROUTE, "table-0", b"")}})
    stream = OpenStream(Peer("127.0.0.1:1", None), "delta", None, rim_of(cache, Limits()))
    running = asyncio.create_task(stream.run(client.requests(), cast(Any, client), parse_delta))
    await rounds()
    running.cancel()
    await asyncio.wait([running], timeout=20)
    assert running.cancelled()
    assert len(asyncio.all_tasks() - before) == 1
    client.willing.set()
    await rounds()
    assert client.taken == 1
    assert asyncio.all_tasks() == before


async def test_what_changed_while_a_response_was_written_follows_it() -> None:
    cache, client = Cache(), _Client("slow")
    cache.publish({ROUTE: {"table-0": resource(ROUTE, "table-0", b"")}})
    stream = OpenStream(Peer("127.0.0.1:1", None), "delta", ROUTE, rim_of(cache, Limits()))
    cache.watch(stream.changed, ROUTE)
    running = asyncio.create_task(stream.run(client.requests(), cast(Any, client), parse_delta))
    await rounds()
    cache.publish({ROUTE: {"table-0": resource(ROUTE, "table-0", b"other")}})
    await rounds()
    assert len(client.begun) == 1
    client.willing.set()
    await rounds()
    contents = [[one.resource.value for one in DeltaDiscoveryResponse.parse(sent).resources] for sent in client.begun]
    assert contents == [[b""], [b"other"]]
    running.cancel()
    await asyncio.wait([running], timeout=20)


async def test_streams_that_one_publish_wakes_are_spread_over_rounds() -> None:
    """A turn has three seconds by a clock that goes on with each look at it."""
    now = 0.0

    def ticking() -> float:
        nonlocal now
        now += 1
        return now

    cache, turns = Cache(), Turns(3.0, ticking)
    clients = [_Client(str(number)) for number in range(20)]
    running = []
    for client in clients:
        client.willing.set()
        stream = OpenStream(Peer("127.0.0.1:1", None), "delta", ROUTE, rim_of(cache, Limits(), turns))
        cache.watch(stream.changed, ROUTE)
        running.append(asyncio.create_task(stream.run(client.requests(), cast(Any, client), parse_delta)))
    await rounds(100)
    before = [len(client.begun) for client in clients]
    cache.publish({ROUTE: {"table-0": resource(ROUTE, "table-0", b"")}})
    each = []
    for _ in range(50):
        begun = sum(len(client.begun) for client in clients)
        await asyncio.sleep(0)
        each.append(sum(len(client.begun) for client in clients) - begun)
    assert [len(client.begun) for client in clients] == [count + 1 for count in before]
    assert max(each) <= 3
    for task in running:
        task.cancel()
    await asyncio.wait(running, timeout=20)

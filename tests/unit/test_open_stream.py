"""An open stream: nothing of a request counts before its sender is admitted, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryRequest

from xds.cache import Cache
from xds.errors import LimitError, ProtocolError
from xds.protocol.decode import parse_delta
from xds.resources.types import ROUTE, ResourceType, resource
from xds.server.limits import Limits
from xds.server.streams import OpenStream, Peer, Rim

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

    limits = Limits(write_timeout=0.1)
    rim = Rim(
        limits, time.monotonic, cache.view, lambda *who: cast(Any, None), lambda *settled: None, lambda *had: None
    )
    stream = OpenStream(Peer("127.0.0.1:1", None), "delta", None, rim)
    async with asyncio.timeout(20):
        with pytest.raises(LimitError, match="write_timeout"):
            await stream.run(requests(), cast(Any, _Deaf()), parse_delta)
        await stream.written()

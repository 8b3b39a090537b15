"""Pointsman's own client against the real reference GDS."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import aclosing

import pytest
from gds_harness import Gds, serving

from xds.errors import GdsError, HistoryGone
from xds.gds.client import GdsClient, Timeouts
from xds.gds.entry import Entry
from xds.gds.model import PutDomain, Transaction


def url(gds: Gds) -> str:
    return str(gds.client.base_url)


async def test_a_snapshot_and_what_follows_it(db: str) -> None:
    with serving(db, "--heartbeat", "0.2") as gds:
        gds.pod("pod1")
        gds.load(*({"op": "put", "domain": f"t{n}.test", "pod": "pod1"} for n in range(3_000)))
        async with GdsClient(url(gds)) as client:
            snapshot = await client.snapshot()
            assert len(snapshot.domains) == 3_000
            assert [pod.name for pod in snapshot.pods] == ["pod1"]
            ada = {"GDS-Actor": "ada"}
            changed = gds.client.put("/backend/new.test", json={"pod": "pod1"}, headers=ada).json()["revision"]
            async with aclosing(client.watch(snapshot.epoch, snapshot.revision)) as watch:  # type: ignore[type-var]
                async for value in watch:
                    if isinstance(value, Transaction):
                        break
            author = value.author
            assert value == Transaction(snapshot.epoch, changed, [PutDomain("new.test", "pod1")], author=author)
            assert (author.by, abs((author.at or 0) - time.time()) < 300) == ("ada", True)
            assert await client.entry("new.test") == Entry("pod1", "new.test", changed, author)
            assert await client.entry("unknown.test") is None


async def test_another_epoch_is_history_gone(db: str) -> None:
    with serving(db) as gds:
        async with GdsClient(url(gds)) as client:
            with pytest.raises(HistoryGone):
                await anext(client.watch("another", 0))


async def test_a_gds_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}/rest/private/gds"
    async with GdsClient(address) as client:
        with pytest.raises(GdsError, match=address):
            await client.snapshot()


async def test_a_gds_that_says_nothing_is_given_up_after_the_read_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with GdsClient(f"http://127.0.0.1:{silent.getsockname()[1]}", Timeouts(read=0.2)) as client:
            with pytest.raises(GdsError, match="ReadTimeout"):
                await asyncio.wait_for(client.snapshot(), 20)


async def test_another_path_of_the_service_is_refused_with_its_answer(db: str) -> None:
    with serving(db) as gds:
        async with GdsClient(url(gds) + "/nowhere") as client:
            with pytest.raises(GdsError, match="404"):
                await client.snapshot()

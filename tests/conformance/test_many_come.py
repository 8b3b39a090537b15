"""Many that come at once are served one after the other, and who has everything already goes before them."""

from __future__ import annotations

import asyncio
import time

import pytest
from conformance_server import Server, made
from xds_client import CDS, EDS, LDS, RDS, SRDS, Client

from xds.resources.types import BY_URL
from xds.server.writer import Writer

CROWD = 400


def test_who_has_everything_is_told_of_a_change_before_those_that_come(
    server: Server, client: Client, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.together({CDS: {"a": "1"}, EDS: {"a": "1"}, SRDS: {"s": "1"}, RDS: {"t": "1"}})
    stream = client.stream(variant)
    for kind in (CDS, LDS, SRDS):
        stream.subscribe(kind)
    stream.subscribe(EDS, "a")
    stream.subscribe(RDS, "t")
    stream.settle()
    done: list[str] = []
    make = Writer._next

    def noted(writer: Writer) -> tuple[str, bytes] | None:
        response = make(writer)
        if response is not None:
            done.append("change")
        return response

    def serve() -> None:
        time.sleep(0.002)
        done.append("newcomer")

    async def crowd() -> None:
        coming = [asyncio.create_task(server.xds._rim.responses.take(serve)) for _ in range(CROWD)]
        await asyncio.sleep(0)  # all of them wait by now
        server.cache.publish({BY_URL[RDS]: made(RDS, {"t": "2"})})
        await asyncio.gather(*coming)

    monkeypatch.setattr(Writer, "_next", noted)
    server.thread.run(crowd())
    assert stream.receive().names == {"t"}
    assert done.count("newcomer") == CROWD
    assert done.index("change") < CROWD / 10

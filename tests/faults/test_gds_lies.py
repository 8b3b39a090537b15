"""GDS sends what no GDS should: memory stays bounded, nothing is half-applied, and it is found again."""

from __future__ import annotations

import json
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from edge_harness import until
from faulty_edge import FaultyEdge
from lying_gds import GONE, SNAPSHOT, WATCH, Answer, LyingGds

from demo.system import LOOPBACK, free_ports

MOST = 90_000_000
"""Bytes that a lie may cost: less than a line of a hundred megabytes, if that is kept."""


@contextmanager
def lied_to(edge: FaultyEdge, answer: Answer, calls: int = 3) -> Iterator[None]:
    """While the block runs, and until it has answered so often, GDS lies; then the real one is back and followed."""
    proxy, before = edge.proxies["gds"], edge.memory("pointsman-0")
    most = before
    (port,) = free_ports(1)
    with edge.load_on() as load:
        with LyingGds(port, answer) as liar:
            truth, proxy.target = proxy.target, (LOOPBACK, port)
            proxy.cut()
            end = time.monotonic() + 60
            while liar.answered < calls:
                assert time.monotonic() < end, f"{liar.answered} of {calls} lies in a minute"
                most = max(most, edge.memory("pointsman-0"))
                time.sleep(0.02)
            yield
            proxy.target = truth
        proxy.cut()
        until(lambda: edge.ready().get("gds") == "following", "the real GDS is followed again")
        domain = edge.where.domains[0]
        edge.move(domain, edge.elsewhere(domain))
        edge.arrives(domain)
        load.wait(30)
    load.prove(at_least=50)
    assert most - before < MOST, f"{(most - before) / 1e6:.0f} MB"


async def _line(head: bytes, begin: bytes, size: int = 100_000_000) -> AsyncIterator[bytes]:
    yield head + begin
    for _ in range(size // 100_000):
        yield b"x" * 100_000


def test_garbage_on_the_watch(edge: FaultyEdge) -> None:
    chance = random.Random(1)

    async def answer(request: str) -> AsyncIterator[bytes]:
        if "/watch" in request:
            yield WATCH + b"event: change\ndata: " + chance.randbytes(5_000) + b"\n\n"
        else:
            yield SNAPSHOT + chance.randbytes(5_000)

    with lied_to(edge, answer):
        pass


def test_garbage_instead_of_http(edge: FaultyEdge) -> None:
    async def answer(request: str) -> AsyncIterator[bytes]:
        yield random.Random(2).randbytes(3_000)

    with lied_to(edge, answer):
        pass


def test_a_line_of_a_hundred_megabytes_on_the_watch(edge: FaultyEdge) -> None:
    async def answer(request: str) -> AsyncIterator[bytes]:
        async for part in _line(WATCH, b"event: change\ndata: "):
            yield part

    with lied_to(edge, answer):
        pass


def test_a_line_of_a_hundred_megabytes_in_the_snapshot(edge: FaultyEdge) -> None:
    async def answer(request: str) -> AsyncIterator[bytes]:
        if "/watch" in request:
            yield GONE
        else:
            async for part in _line(SNAPSHOT, b'{"epoch": "'):
                yield part

    with lied_to(edge, answer, calls=4):
        pass


@pytest.mark.parametrize("end", ["", "more", "cut"])
def test_a_revision_that_is_not_whole_is_not_applied(edge: FaultyEdge, end: str) -> None:
    """The event of the revision is cut in its middle, or its last part never comes."""
    domains = edge.where.domains[60:70]

    async def answer(request: str) -> AsyncIterator[bytes]:
        if "/watch" not in request:
            yield b"HTTP/1.1 503 Away\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            return
        held = edge.ready()["revision"]
        lies = [{"op": "put", "kind": "domain", "domain": d, "pod": edge.elsewhere(d)} for d in domains]
        event = json.dumps({"revision": held + 1, "changes": lies, "more": end == "more"}).encode()
        said = b"event: change\ndata: " + event + (b"\n\n" if end == "more" else b"\n")
        yield WATCH + (said[:-40] if end == "cut" else said)

    with lied_to(edge, answer):
        assert all(edge.ask(domain).pod == edge.where.pod(domain) for domain in domains)

"""What the tests of faults are judged by: it sees a wrong answer, and lets a right one pass."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from background import Background
from tcp_proxy import TcpProxy
from whereabouts import SLACK, Whereabouts

from demo.system import free_ports


def moved(seen: bool) -> Whereabouts:
    """acme was on pod1 and moved to pod2 at 100, which answered first at 101, if ``seen``."""
    where = Whereabouts({"acme.test": "pod1"})
    where.moves("acme.test", "pod2", 100.0)
    if seen:
        assert where.judge("acme.test", "pod2", 100.5, 101.0) is None
    return where


@pytest.mark.parametrize("pod", ["pod1", "pod2"])
def test_during_a_move_either_pod_is_right(pod: str) -> None:
    assert moved(seen=False).judge("acme.test", pod, 900.0, 900.1) is None
    assert moved(seen=True).judge("acme.test", pod, 101.0 + SLACK / 2, 103.0) is None


def test_once_the_new_pod_has_answered_the_old_one_is_wrong() -> None:
    where = moved(seen=True)
    assert where.arrived("acme.test")
    assert "answered by pod1, not by pod2" in str(where.judge("acme.test", "pod1", 101.1 + SLACK, 103.0))


def test_a_pod_is_wrong_before_the_move_to_it() -> None:
    assert moved(seen=False).judge("acme.test", "pod2", 99.0, 99.9) is not None
    assert moved(seen=False).judge("acme.test", "pod3", 101.0, 101.1) is not None


@pytest.fixture
def echo() -> tuple[Background, int]:  # type: ignore[misc]
    """Sends back what it gets."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        writer.close()

    (port,) = free_ports(1)
    loop = Background("echo")
    loop.call(asyncio.start_server(answer, "127.0.0.1", port))
    yield loop, port  # type: ignore[misc]
    loop.stop()


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: bytes) -> bytes:
    writer.write(what)
    return await reader.readexactly(len(what))


def test_a_proxy_carries_delays_falls_silent_cuts_and_refuses(echo: tuple[Background, int]) -> None:
    loop, target = echo
    (port,) = free_ports(1)
    with TcpProxy(("127.0.0.1", port), ("127.0.0.1", target)) as proxy:
        ends = loop.call(asyncio.open_connection("127.0.0.1", port))
        assert loop.call(_say(*ends, b"hello")) == b"hello"
        assert (proxy.traffic.up, proxy.traffic.down, proxy.open_connections) == (5, 5, 1)
        proxy.delay = 0.2
        began = time.monotonic()
        assert loop.call(_say(*ends, b"slow")) == b"slow"
        assert time.monotonic() - began > 0.35
        proxy.delay, proxy.silent = 0.0, True
        with pytest.raises(TimeoutError):
            loop.call(asyncio.wait_for(_say(*ends, b"lost"), 0.3))
        proxy.silent = False
        proxy.cut()
        with pytest.raises((EOFError, ConnectionError)):
            loop.call(_say(*ends, b"gone"))
        proxy.refuse()
        with pytest.raises(OSError, match="Connect"):
            loop.call(asyncio.open_connection("127.0.0.1", port))

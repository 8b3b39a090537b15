"""Attacks on a real Envoy: what it does, that nothing of them reaches a pod, and that other customers go on."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from edge_harness import Edge, running, until
from edge_wire import (
    GOOD,
    H2,
    connect,
    exchange,
    first_answer,
    heap,
    others_go_on,
    plain,
    pod_requests,
    pressed,
    pressure,
    read_all,
    status,
)

from demo.system import LOOPBACK

PREMATURE = "http.https.downstream_rq_too_many_premature_resets"
LIMIT = 5_000
ATTEMPTS = 20_000
PROCESSES = 4


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Its time-outs are short, its connections few, and a file says how full the heap is."""
    folder: Path = tmp_path_factory.mktemp("attacks")
    settings: dict[str, dict[str, object]] = {
        "edge": {"tables": 16},
        "edge.timeouts": {"request_headers": 2.0, "stream_idle": 4.0, "request": 6.0},
    }
    bootstrap = {
        "max_active_downstream_connections: 50000": f"max_active_downstream_connections: {LIMIT}",
        **pressed(folder),
    }
    with running(folder, settings, bootstrap=bootstrap) as edge:
        edge.put("*.acme.test", "pod3")
        edge.becomes("x.acme.test", "pod3")
        yield edge


def test_headers_that_come_slowly_are_cut_off(edge: Edge) -> None:
    before = pod_requests(edge)
    with others_go_on(edge), contextlib.ExitStack() as open_:
        slow = [open_.enter_context(connect(edge)) for _ in range(30)]
        for one in slow:
            one.sendall(b"GET / HTTP/1.1\r\nHost: t0.example.com\r\nX-Slow: ")
        began = time.monotonic()
        answers = []
        with contextlib.suppress(OSError):  # they are cut off already, on a slow machine
            while time.monotonic() - began < 1.5:
                for one in slow:
                    one.sendall(b"a")
                time.sleep(0.3)
        assert edge.ask(GOOD).status == 200
        answers = [read_all(one) for one in slow]
        assert time.monotonic() - began < 15
        assert {status(answer) for answer in answers} == {408}
    assert pod_requests(edge) - before <= 6  # the others'


def test_a_body_that_comes_slowly_is_cut_off_when_a_limit_is_set(edge: Edge) -> None:
    with others_go_on(edge), connect(edge) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: t0.example.com\r\nContent-Length: 1000\r\n\r\n")
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 12:  # it is never idle
                slow.sendall(b"a")
                time.sleep(0.5)
        assert status(read_all(slow)) in (0, 408)
        assert 4 < time.monotonic() - began < 20


def test_a_body_that_stops_coming_is_cut_off(edge: Edge) -> None:
    with others_go_on(edge), connect(edge) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: t0.example.com\r\nContent-Length: 1000\r\n\r\nabc")
        began = time.monotonic()
        assert status(read_all(slow)) in (0, 408, 504)
        assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("name", "header", "wanted"),
    [
        ("a large one", b"X-Large: " + b"a" * 100_000, 431),
        ("many", b"\r\n".join(b"X-%d: a" % n for n in range(200)), 431),
        ("an underscore", b"X_Under: a", 400),
        ("a space before the colon", b"X-Space : a", 400),
        ("a NUL", b"X-Nul: a\x00b", 400),
        ("a bare line feed in a name", b"X-Bad\nName: a", 400),
    ],
)
def test_headers_that_are_no_good_are_refused(edge: Edge, name: str, header: bytes, wanted: int) -> None:
    before = pod_requests(edge)
    answer = exchange(edge, b"GET / HTTP/1.1\r\nHost: t0.example.com\r\n" + header + b"\r\n\r\n")
    assert status(answer) == wanted, name
    assert pod_requests(edge) == before


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("/a//b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/%2E%2e/%2E/b", "/b"),
        ("/./b", "/b"),
        ("/../../etc/passwd", "/etc/passwd"),
    ],
)
def test_a_path_reaches_the_pod_only_as_it_means(edge: Edge, sent: str, seen: str) -> None:
    answer = exchange(edge, f"GET {sent} HTTP/1.1\r\nHost: t0.example.com\r\n\r\n".encode())
    assert status(answer) == 200
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["path"] == seen


@pytest.mark.parametrize("sent", ["/a%2fb", "/a%2F..%2Fb", "/a%5cb", "/a%5C..%5Cb"])
def test_an_escaped_slash_is_redirected_to_what_it_means(edge: Edge, sent: str) -> None:
    before = pod_requests(edge)
    answer = exchange(edge, f"GET {sent} HTTP/1.1\r\nHost: t0.example.com\r\n\r\n".encode())
    assert status(answer) == 307
    assert b"%2f" not in answer.lower()
    assert pod_requests(edge) == before


@pytest.mark.parametrize("target", [b"*", b"t0.example.com:443", b"/\x01", b"/a b", b"\\a", b"ftp://t0.example.com/"])
def test_a_target_that_is_none_reaches_no_pod(edge: Edge, target: bytes) -> None:
    before = pod_requests(edge)
    answer = exchange(edge, b"GET " + target + b" HTTP/1.1\r\nHost: t0.example.com\r\n\r\n")
    assert status(answer) in (0, 400, 404)
    assert pod_requests(edge) == before


def test_an_absolute_target_says_the_host_and_the_header_nothing(edge: Edge) -> None:
    answer = exchange(edge, b"GET http://t0.example.com/x HTTP/1.1\r\nHost: b1.example.com\r\n\r\n")
    assert status(answer) == 200
    said = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (said["pod"], said["headers"]["host"], said["path"]) == ("pod1", GOOD, "/x")
    answer = exchange(edge, b"GET http://customer.example.org/ HTTP/1.1\r\nHost: t0.example.com\r\n\r\n")
    assert status(answer) == 421
    assert status(exchange(edge, b"CONNECT t0.example.com:443 HTTP/1.1\r\nHost: t0.example.com\r\n\r\n")) in (
        400,
        403,
        404,
    )


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 40\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: 0x4\r\n",
    ],
)
def test_a_request_with_two_lengths_smuggles_nothing(edge: Edge, head: bytes) -> None:
    before = pod_requests(edge)
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: b1.example.com\r\n\r\n"
    answer = exchange(edge, b"POST / HTTP/1.1\r\nHost: t0.example.com\r\n" + head + b"\r\n0\r\n\r\n" + smuggled)
    assert status(answer) in (400, 501)
    assert pod_requests(edge) == before


def test_http2_streams_that_are_reset_at_once_end_the_connection(edge: Edge) -> None:
    """Rapid reset, CVE-2023-44487."""
    before, asked = edge.stats(PREMATURE), pod_requests(edge)
    with others_go_on(edge), H2(edge) as flood:
        sent = others = 0
        while sent < 20_000 and not flood.closed:
            burst = b""
            for _ in range(50):
                stream = flood.h2.get_next_available_stream_id()
                flood.h2.send_headers(
                    stream,
                    [(":method", "GET"), (":scheme", "https"), (":authority", GOOD), (":path", "/")],
                    end_stream=True,
                )
                flood.h2.reset_stream(stream)
                burst += flood.h2.data_to_send()
                sent += 1
            if not flood.raw(burst):
                break
            flood.read(0)
            if sent % 1000 == 0:
                assert edge.ask("b1.example.com").status == 200
                others += 1
        until(lambda: (flood.read(0.05), flood.closed)[1], "the flood's connection is closed")
        assert sent < 20_000
        until(lambda: edge.stats(PREMATURE) != before, "Envoy says why it closed the connection")
    # It is closed for its first 500 streams: no pod has seen more of it.
    assert sum(edge.stats(PREMATURE).values()) - sum(before.values()) == 1
    assert pod_requests(edge) - asked - others <= 500 + 10


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def test_a_flood_of_continuations_ends_the_connection(edge: Edge) -> None:
    """CVE-2024-27316 and its like: a header list that never ends."""
    with others_go_on(edge), H2(edge) as flood:
        literal = b"\x00" + b"\x05x-big" + b"\x7f\x81\x7e" + b"a" * 16_384  # 127 + 16,257 bytes
        assert flood.raw(_frame(1, 0x1, 1, b"\x82\x84\x87"))
        sent = 0
        while sent < 2_000 and flood.raw(_frame(9, 0, 1, literal[:16_000])):
            sent += 1
            flood.read(0)
            if flood.closed:
                break
        until(lambda: (flood.read(0.05), flood.closed)[1], "the connection is closed")
        assert sent < 2_000


def test_a_header_list_that_is_too_large_is_refused_on_http2(edge: Edge) -> None:
    before = pod_requests(edge)
    with H2(edge) as one:
        stream = one.ask(more=[(f"x-{n}", "a" * 1000) for n in range(90)])
        assert one.answer(stream) in (0, 431)
        other = H2(edge)
        assert other.answer(other.ask(more=[("x_under", "a")])) in (0, 400)
        other.close()
    assert pod_requests(edge) == before


@pytest.mark.parametrize("kind", ["ping", "settings", "priority", "empty data", "window update"])
def test_floods_of_small_http2_frames_end_the_connection_or_cost_others_nothing(edge: Edge, kind: str) -> None:
    frames = {
        "ping": _frame(6, 0, 0, b"pointsmn"),
        "settings": _frame(4, 0, 0, b""),
        "priority": _frame(2, 0, 1, b"\x00\x00\x00\x03\x10"),
        "empty data": _frame(0, 0, 1, b""),
        "window update": _frame(8, 0, 0, b"\x00\x00\x00\x01"),
    }
    with others_go_on(edge), H2(edge) as flood:
        flood.ask(end=False)
        for _ in range(200):
            if not flood.raw(frames[kind] * 100):
                break
        # It doesn't read the answers: what Envoy keeps for it is bounded.
        assert edge.ask(GOOD).status == 200


CROWD = """
import contextlib, socket, sys
port, first, count = map(int, sys.argv[1:])
held = []
for number in range(count):
    one = socket.socket()
    one.setblocking(False)
    one.bind((f"127.0.0.{first + number % 5}", 0))
    with contextlib.suppress(BlockingIOError):
        one.connect(("127.0.0.1", port))
    held.append(one)
print("open", flush=True)
sys.stdin.read()
"""
"""Opens connections and says nothing, until its input ends. One process can't have that many files."""


def test_of_20000_connections_no_more_than_the_limit_are_taken(edge: Edge) -> None:
    """They stay open and say nothing. When they go, all is as before."""
    long_lived = edge.client(h2=True)  # a customer who was there before
    url = f"https://{LOOPBACK}:{edge.system.ports.edge_https}/"

    def asks() -> int:
        return long_lived.get(url, headers={"host": GOOD}, extensions={"sni_hostname": GOOD}).status_code

    assert asks() == 200
    before = sum(edge.stats("downstream_global_cx_overflow").values())
    with contextlib.ExitStack() as open_:
        open_.callback(long_lived.close)
        for first in range(2, 2 + 5 * PROCESSES, 5):
            command = [sys.executable, "-c", CROWD, str(edge.system.ports.edge_http), str(first)]
            crowd = subprocess.Popen(
                [*command, str(ATTEMPTS // PROCESSES)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            open_.enter_context(crowd)
            assert crowd.stdout is not None
            assert crowd.stdout.readline() == b"open\n"
            assert asks() == 200
        until(lambda: _connections(edge) >= LIMIT - 100, "the limit is reached")
        until(
            lambda: sum(edge.stats("downstream_global_cx_overflow").values()) - before >= ATTEMPTS - LIMIT,
            "all others are refused",
            patience=120,  # those for whom there was no room are asked for again, later and later
        )
        assert _connections(edge) <= LIMIT
        assert asks() == 200
        assert edge.stats("server.live")  # the admin interface isn't counted
    until(lambda: _connections(edge) < 100, "they are gone")
    edge.becomes(GOOD, "pod1")


def _connections(edge: Edge) -> int:
    return sum(
        value
        for name, value in edge.stats("downstream_cx_active").items()
        if re.fullmatch(r"listener\.127\.0\.0\.1_\d+\.downstream_cx_active", name)  # workers have theirs besides
    )


def test_under_pressure_load_is_shed_in_steps(edge: Edge) -> None:
    """What the heap's monitor says comes from a file here; the thresholds are the product's."""
    folder = edge.system.folder
    try:
        pressure(folder, 0.93)
        until(lambda: edge.ask(GOOD).headers.get("connection") == "close", "keep-alive is off")
        assert edge.ask(GOOD).status == 200
        with connect(edge) as open_before:
            pressure(folder, 0.95)
            until(lambda: not _taken(edge), "every new connection is refused")
            open_before.sendall(b"GET / HTTP/1.1\r\nHost: t0.example.com\r\n\r\n")
            assert status(first_answer(open_before)) == 200
        pressure(folder, 0.5)
        until(lambda: _taken(edge), "connections are taken again")
        with connect(edge) as open_before:
            pressure(folder, 0.99)
            until(lambda: heap(edge) == 99, "Envoy sees how full its heap is")
            open_before.sendall(b"GET / HTTP/1.1\r\nHost: t0.example.com\r\n\r\n")
            assert status(first_answer(open_before)) == 503
            assert not _taken(edge)
    finally:
        pressure(folder, 0.0)
    until(lambda: _served(edge), "all is as before")


def _served(edge: Edge) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return edge.ask(GOOD).status == 200
    return False


def _taken(edge: Edge) -> bool:
    """Whether the http port answers a new connection."""
    with contextlib.suppress(OSError), plain(edge) as one:
        one.settimeout(2)
        one.sendall(b"GET / HTTP/1.1\r\nHost: t0.example.com\r\n\r\n")
        return one.recv(12) == b"HTTP/1.1 308"
    return False

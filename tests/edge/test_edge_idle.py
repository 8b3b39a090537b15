"""What may be silent, and for how long: what is with a pod for long, what isn't yet for a short while."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
from edge_harness import Edge, running, until
from edge_wire import GOOD, connect, first_answer, others_go_on, read_all, status
from websocket_pod import websocket_pod

STREAM_IDLE = 2.0
TRANSFER_IDLE = 9.0
SILENCE = 2.5 * STREAM_IDLE
"""Longer than what isn't with a pod may be silent, and shorter than what is."""
LARGE = 60_000_000
"""Bytes of an answer: more than all sockets and buffers on the way take."""

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nhost: sockets.example.com\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
)


class _Download(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        with contextlib.suppress(OSError):
            self.wfile.write(f"HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n".encode())
            for _ in range(LARGE // 1_000_000):
                self.wfile.write(b"x" * 1_000_000)


class _Downloads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    timeouts: dict[str, object] = {
        "stream_idle": STREAM_IDLE,
        "transfer_idle": TRANSFER_IDLE,
        "request_headers": STREAM_IDLE,
    }
    settings: dict[str, dict[str, object]] = {"edge": {"tables": 16}, "edge.timeouts": timeouts}
    with (
        _Downloads(("127.0.0.1", 0), _Download) as downloads,
        websocket_pod() as sockets,
        running(tmp_path_factory.mktemp("idle"), settings) as edge,
    ):
        thread = threading.Thread(target=downloads.serve_forever, daemon=True)
        thread.start()
        try:
            for name, port in (("sockets", sockets), ("downloads", int(downloads.server_address[1]))):
                edge.put_pod(name, port)
                edge.put(f"{name}.example.com", name)
                until(lambda name=name: edge.stats(f"cluster.{name}.membership_healthy") != {}, name)  # type: ignore[misc]
            until(lambda: upgraded(edge), "the first websocket")
            until(lambda: begun(edge), "the first download")
            yield edge
        finally:
            downloads.shutdown()
            thread.join(10)


def upgraded(edge: Edge) -> bool:
    with connect(edge) as sock:
        sock.sendall(UPGRADE)
        return status(first_answer(sock)) == 101


def begun(edge: Edge) -> bool:
    with connect(edge) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nhost: downloads.example.com\r\nconnection: close\r\n\r\n")
        return status(sock.recv(1_000)) == 200


def echoes(sock: ssl.SSLSocket) -> bool:
    sock.sendall(b"\x81\x05hello")
    return sock.recv(100) == b"\x81\x05hello"


def test_a_websocket_is_silent_for_longer_than_a_stream_may_be(edge: Edge) -> None:
    with connect(edge) as sock:
        sock.sendall(UPGRADE)
        assert status(first_answer(sock)) == 101
        for _ in range(2):  # what moves begins its time anew
            time.sleep(SILENCE)
            assert echoes(sock)


def test_a_websocket_that_says_nothing_any_more_is_ended(edge: Edge) -> None:
    with connect(edge) as sock:
        sock.sendall(UPGRADE)
        assert status(first_answer(sock)) == 101
        assert echoes(sock)
        began = time.monotonic()
        assert read_all(sock, 5 * TRANSFER_IDLE) == b""
        assert time.monotonic() - began > SILENCE


def test_a_download_that_is_paused_goes_on(edge: Edge) -> None:
    with connect(edge) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        sock.sendall(b"GET / HTTP/1.1\r\nhost: downloads.example.com\r\nconnection: close\r\n\r\n")
        came = len(sock.recv(1_000))
        time.sleep(SILENCE)
        while part := sock.recv(1_000_000):
            came += len(part)
    assert came > LARGE


def test_an_upload_that_is_paused_goes_on_and_one_that_ends_for_good_is_ended(edge: Edge) -> None:
    head = b"POST / HTTP/1.1\r\nHost: t0.example.com\r\nContent-Length: 6\r\n\r\n"
    with connect(edge) as paused, connect(edge) as stopped, others_go_on(edge):
        began = time.monotonic()
        for one in (paused, stopped):
            one.sendall(head + b"abc")
        time.sleep(SILENCE)
        paused.sendall(b"def")
        assert status(first_answer(paused)) == 200
        assert status(read_all(stopped, 5 * TRANSFER_IDLE)) in (0, 408, 504)
        assert time.monotonic() - began > SILENCE


def test_what_is_with_no_pod_yet_has_no_more_time_than_before(edge: Edge) -> None:
    """Slow-loris: headers that come a byte at a time, and a request of which nothing comes any more."""
    with others_go_on(edge), connect(edge) as slow, connect(edge) as silent:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: t0.example.com\r\nX-Slow: ")
        silent.sendall(b"GET / HTTP/1.1\r\nHost: t0.exam")
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 0.8 * STREAM_IDLE:
                slow.sendall(b"a")
                time.sleep(0.2)
        assert edge.ask(GOOD).status == 200
        assert {status(read_all(slow)), status(read_all(silent))} == {408}
        assert time.monotonic() - began < TRANSFER_IDLE

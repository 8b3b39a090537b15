"""What a client of no good faith puts on the wire: raw bytes over TLS or TCP, and HTTP/2 frame by frame."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from edge_harness import Edge

from demo.system import LOOPBACK

PATIENCE = 20.0

GOOD = "t0.example.com"
"""A customer's host, on pod1."""


def connect(
    edge: Edge, sni: str = "edge.example.com", alpn: str = "http/1.1", preface: bytes = b"", verify: bool = True
) -> ssl.SSLSocket:
    """``preface``: what goes before TLS. ``verify``: the certificate is of the system's own CA."""
    context = edge.system.tls()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    plain = socket.create_connection((LOOPBACK, edge.system.ports.edge_https), timeout=PATIENCE)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.sendall(preface)
    return context.wrap_socket(plain, server_hostname=sni)


def plain(edge: Edge) -> socket.socket:
    """To the http port."""
    return socket.create_connection((LOOPBACK, edge.system.ports.edge_http), timeout=PATIENCE)


def read_all(sock: socket.socket, patience: float = PATIENCE) -> bytes:
    """Everything until the other end closes. Raises AssertionError when it doesn't in time."""
    came = b""
    end = time.monotonic() + patience
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while True:
            sock.settimeout(max(end - time.monotonic(), 0.01))
            try:
                part = sock.recv(65536)
            except TimeoutError:
                raise AssertionError(f"still open after {patience:.0f} s, and said {came[:200]!r}") from None
            if not part:
                break
            came += part
    return came


def exchange(edge: Edge, request: bytes, sni: str = "edge.example.com", preface: bytes = b"") -> bytes:
    """The first answer to ``request``, with whatever of its body came at once."""
    with contextlib.suppress(ConnectionError, ssl.SSLError), connect(edge, sni, preface=preface) as tls:
        tls.sendall(request)
        return first_answer(tls)
    return b""


def first_answer(sock: socket.socket) -> bytes:
    came = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
        while b"\r\n\r\n" not in came:
            part = sock.recv(65536)
            if not part:
                break
            came += part
    head, _, body = came.partition(b"\r\n\r\n")
    length = next((int(x.split(b":")[1]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:")), 0)
    with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
        while len(body) < length:
            part = sock.recv(65536)
            if not part:
                break
            body += part
    return head + b"\r\n\r\n" + body


def status(answer: bytes) -> int:
    """0 when there was none."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.") else 0


class H2:
    """An HTTP/2 connection whose frames are checked by nobody: ``raw`` sends bytes as they stand."""

    def __init__(self, edge: Edge, sni: str = "edge.example.com", verify: bool = True) -> None:
        self.sock = connect(edge, sni, "h2", verify=verify)
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.statuses: dict[int, int] = {}
        self.pods: dict[int, str] = {}
        self.resets: dict[int, int] = {}
        self.goaway: int | None = None
        self.closed = False
        self.flush()

    def flush(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.sock.sendall(self.h2.data_to_send())

    def ask(
        self, host: str = GOOD, *, path: str = "/", more: list[tuple[str, str]] | None = None, end: bool = True
    ) -> int:
        """Begins a request; returns its stream."""
        stream = self.h2.get_next_available_stream_id()
        authority = [(":authority", host)] if host else []
        headers = [(":method", "GET"), (":scheme", "https"), *authority, (":path", path), *(more or [])]
        self.h2.send_headers(stream, headers, end_stream=end)
        self.flush()
        return stream

    def raw(self, data: bytes) -> bool:
        """False when the other end has closed."""
        try:
            self.sock.sendall(data)
        except (ConnectionError, ssl.SSLError, TimeoutError):
            return False
        return True

    def answer(self, stream: int) -> int:
        """Its status; 0 when the stream was reset or the connection closed."""
        end = time.monotonic() + PATIENCE
        while stream not in self.statuses and stream not in self.resets and not self.closed:
            assert time.monotonic() < end, f"stream {stream} isn't answered"
            self.read(end - time.monotonic())
        return self.statuses.get(stream, 0)

    def read(self, seconds: float) -> None:
        self.sock.settimeout(max(seconds, 0.001))
        try:
            came = self.sock.recv(65536)
        except TimeoutError:
            return
        except (ConnectionError, ssl.SSLError):
            came = b""
        if not came:
            self.closed = True
            return
        for event in self.h2.receive_data(came):
            match event:
                case h2.events.ResponseReceived(stream_id=stream, headers=headers):
                    self.statuses[stream] = int(dict(headers or ())[":status"])
                    self.pods[stream] = dict(headers or ()).get("x-pod", "")
                case h2.events.StreamReset(stream_id=stream, error_code=code):
                    self.resets[stream] = int(code or 0)
                case h2.events.ConnectionTerminated(error_code=code):
                    self.goaway = int(code or 0)
                case h2.events.DataReceived(stream_id=stream, flow_controlled_length=length):
                    with contextlib.suppress(h2.exceptions.ProtocolError):
                        self.h2.acknowledge_received_data(length or 0, stream)
        self.flush()

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> H2:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def others_go_on(edge: Edge) -> Iterator[None]:
    """Other customers are served before, and right after, and while the block runs none of it takes them long."""
    assert edge.ask("b1.example.com").status == 200
    yield
    began = time.monotonic()
    for domain, pod in (("b1.example.com", "pod2"), (GOOD, "pod1"), ("c2.example.com", "pod3")):
        answer = edge.ask(domain, h2=True)
        assert (answer.status, answer.pod) == (200, pod)
    assert time.monotonic() - began < PATIENCE


def pod_requests(edge: Edge) -> int:
    """How many requests Envoy has sent to pods."""
    stats = edge.stats("cluster.pod[0-9]*.upstream_rq_total")
    return sum(stats.values())


def pressed(folder: Path) -> dict[str, str]:
    """What is replaced in Envoy's bootstrap so that a file says how full the heap is: see `pressure`."""
    pressure(folder, 0.0)
    monitor = """- name: envoy.resource_monitors.fixed_heap
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig
        max_heap_size_bytes: 4294967296"""
    injected = f"""- name: envoy.resource_monitors.fixed_heap
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig
        filename: {folder / "pressure"}"""
    return {monitor: injected}


def pressure(folder: Path, value: float) -> None:
    """Envoy sees the file only when it is moved there."""
    (folder / "pressure.new").write_text(str(value))
    os.replace(folder / "pressure.new", folder / "pressure")


def heap(edge: Edge) -> int:
    """How full Envoy holds it, in percent."""
    (value,) = edge.stats("overload.envoy.resource_monitors.fixed_heap.pressure").values()
    return value

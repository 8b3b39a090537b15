"""A small GDS over real HTTP or HTTPS that answers whatever a test tells it to, and notes what it was asked."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Said:
    """An answer. ``after``: seconds that it takes."""

    body: bytes = b""
    status: int = 200
    kind: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)
    after: float = 0.0


@dataclass
class AnsweringGds:
    """``answers`` by path, ``otherwise`` for all others."""

    answers: dict[str, Said] = field(default_factory=dict)
    otherwise: Said = field(default_factory=lambda: Said(b"unknown", 404))
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    sent: int = 0
    connections: int = 0
    together: int = 0
    most_together: int = 0
    url: str = ""

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


@contextlib.contextmanager
def answering(tls: ssl.SSLContext | None = None) -> Iterator[AnsweringGds]:
    gds, lock = AnsweringGds(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with lock:
                gds.connections += 1

        def do_GET(self) -> None:
            with lock:
                gds.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                gds.together += 1
                gds.most_together = max(gds.most_together, gds.together)
            said = gds.answers.get(self.path, gds.otherwise)
            time.sleep(said.after)
            with lock:
                gds.together -= 1
            self.send_response(said.status)
            if said.kind:
                self.send_header("content-type", said.kind)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(said.body)))
            self.end_headers()
            for start in range(0, len(said.body) if self.command == "GET" else 0, 65_536):
                try:
                    self.wfile.write(said.body[start : start + 65_536])
                except OSError:
                    self.close_connection = True
                    return
                gds.sent += 65_536

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, *_: object) -> None:
            """A client that hangs up, or whose certificate isn't taken, is part of the tests."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    gds.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}/rest"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield gds
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

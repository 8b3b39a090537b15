"""The process: a socket, the application on it, and an orderly end."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from gds_mock.api import BASE, create_app
from gds_mock.errors import GdsError
from gds_mock.service import Settings
from gds_mock.store import Store


class ListenError(GdsError):
    """The address can't be listened on."""


class Server(uvicorn.Server):
    """A uvicorn that ends the watches before it waits for connections to end."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(app, log_level="warning", access_log=False, ws="none", timeout_graceful_shutdown=2)
        )
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.service.pulse.close()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises ListenError."""
    if not 0 <= port <= 65535:  # getaddrinfo would quietly take its last 16 bits
        raise ListenError(f"can't listen on {_shown(host, port)}: a port is 0 to 65535")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise ListenError(f"can't listen on {_shown(host, port)}: {error.strerror}") from None
    # Connections inherit it. asyncio sets it only on sockets that say they are TCP, which create_server's don't, and
    # without it a body waits up to 40 ms for the acknowledgement of its head, and a watch's event for the last one's.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def serve(store: Store, host: str, port: int, settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then returns."""
    with listen(host, port) as sock, _signals_end_quietly():
        server = Server(create_app(store, settings))
        print(f"gds_mock: serving http://{_shown(host, sock.getsockname()[1])}{BASE}", flush=True)
        server.run(sockets=[sock])


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """uvicorn raises the signal that ended it once more when it is done: by then it means nothing but the end."""

    def leave(*_: object) -> None:
        sys.exit(0)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

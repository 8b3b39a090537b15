"""A pod for trying things out: it answers every request with its name and what it was sent."""

from __future__ import annotations

import argparse
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Pod:
    """An ASGI application. The header ``x-pod`` bears the name; the body is JSON."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        said = {
            "pod": self._name,
            "method": scope["method"],
            "path": scope["path"],
            "headers": {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            "body_bytes": size,
        }
        body = json.dumps(said, indent=2).encode() + b"\n"
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-pod", self._name.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def main() -> None:
    parser = argparse.ArgumentParser("python -m demo.pod", description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    with socket.create_server((options.host, options.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited; else a body waits for its head's ACK
        serve(options.name, sock)


def serve(name: str, sock: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        Pod(name),
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=3600,  # shorter than Envoy's own, an idle connection is closed under its next request
    )
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main()

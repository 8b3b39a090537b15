"""Serves the application with uvicorn inside the control plane's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from xds.errors import SettingsError


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the control plane owns the signals


@asynccontextmanager
async def serving(app: FastAPI, address: str, port: int) -> AsyncIterator[int]:
    """Serves while the block runs; yields the port. Raises SettingsError when the address can't be had."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sock = socket.create_server((address, port), family=family, backlog=256)
    except OSError as error:
        raise SettingsError(
            f"http: can't listen on {address}:{port}: {error.strerror} (settings http.address, http.port)"
        ) from None
    # Connections inherit it; asyncio sets it only on sockets that say they are TCP, which create_server's don't.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock:
        config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1)
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[sock]))
        try:
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            await task

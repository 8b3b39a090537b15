"""The addresses that a control plane listens on: free, or its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx

from xds.check.finding import Finding, fail, ok, warn
from xds.settings import Settings

_TIMEOUT = 2.0


def every(settings: Settings) -> Iterator[Finding]:
    running = _runs(settings.http.address, settings.http.port)
    for name, address, port in (
        ("http-port", settings.http.address, settings.http.port),
        ("xds-port", settings.xds.address, settings.xds.port),
    ):
        yield _port(name, address, port, running)


def _port(name: str, address: str, port: int, running: bool) -> Finding:
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    setting = f"{name.partition('-')[0]}.address, {name.partition('-')[0]}.port"
    try:
        socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET).close()
    except OSError as error:
        if running:
            return warn(
                name, f"{where} is in use: a control plane runs there", "if it isn't of these settings, change one"
            )
        return fail(name, f"{where}: {error.strerror}", f"end what listens there, or change {setting}")
    return ok(name, f"{where} is free")


def _runs(address: str, port: int) -> bool:
    """Whether a control plane answers there."""
    try:
        answer = httpx.get(
            f"http://{httpx.URL(host=address, port=port).netloc.decode()}/api/v1/hold",
            timeout=_TIMEOUT,
            trust_env=False,
        )
        return answer.status_code == 200 and "state" in answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False

"""The addresses that a control plane listens on: free, or its own."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

import httpx

from xds.check.finding import Finding, fail, ok, warn
from xds.settings import Settings

_TIMEOUT = 2.0


def every(settings: Settings) -> Iterator[Finding]:
    running = _runs(settings)
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
        if running and error.errno == errno.EADDRINUSE:
            return warn(
                name, f"{where} is in use: a control plane runs there", "if it isn't of these settings, change one"
            )
        return fail(name, f"{where}: {error.strerror}", f"end what listens there, or change {setting}")
    return ok(name, f"{where} is free")


def _runs(settings: Settings) -> bool:
    """Whether a control plane answers there: its health is open to all, and its certificate no matter."""
    http = settings.http
    scheme = "https" if http.certificate else "http"
    try:
        address = httpx.URL(scheme=scheme, host=http.address, port=http.port, path="/readyz")
        answer = httpx.get(address, timeout=_TIMEOUT, trust_env=False, verify=_anybody())
        found = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False
    return answer.status_code in (200, 503) and isinstance(found, dict) and "gds_revision" in found


def _anybody() -> ssl.SSLContext:
    """Who listens is asked what it is; of its certificate another check speaks."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context

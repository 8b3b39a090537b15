"""Serves the application with uvicorn inside the control plane's own event loop, over HTTPS if it is told so."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import h11
import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from xds.errors import SettingsError
from xds.http.problems import problem
from xds.server.files import Files

log = structlog.get_logger()

REQUEST = 64 * 1024
"""Bytes of a request before its body."""
CONNECTIONS = 1_000
"""At a time; one more is closed at once."""
_UNFINISHED = 10.0
"""Seconds between two looks at whether a client asks for something and reads; if it hasn't from one to the next, it is
let go."""
_LOOK = 5.0
"""Seconds between two looks at whether the certificate's files have changed."""


@dataclass(frozen=True, slots=True)
class Https:
    """``client_ca``: whose certificates clients may show; None for none."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def load(self, context: ssl.SSLContext) -> None:
        """Raises SettingsError."""
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"http: {self.certificate}, {self.key} or {self.client_ca} can't be used: {error} "
                "(settings http.certificate, http.key, http.client_ca)"
            ) from None

    def context(self) -> ssl.SSLContext:
        """Raises SettingsError."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.set_alpn_protocols(["http/1.1"])
        if self.client_ca is not None:
            made.verify_mode = ssl.CERT_OPTIONAL
            # A session that is resumed would bring along a certificate that isn't asked about any more.
            made.options |= ssl.OP_NO_TICKET
            made.num_tickets = 0
        self.load(made)
        return made


class _Contexts:
    """What new connections are served with is the newest: a context forgets nobody whom it once trusted, so a change
    takes another one. Raises SettingsError."""

    def __init__(self, https: Https) -> None:
        self._https = https
        self._newest = https.context()
        self.first = https.context()
        self.first.sni_callback = self._chosen

    def renew(self) -> None:
        """Reads the files again. Raises SettingsError, and then nothing has changed."""
        self._newest = self._https.context()

    def _chosen(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = self._newest


class _Protocol(H11Protocol):
    """Says in the request's state whose certificate the client has shown, and ends a connection whose client doesn't
    finish its request, or doesn't read the answer: they are open files, which xDS needs, too."""

    _patience: asyncio.TimerHandle | None = None
    _silent = False
    _seen: RequestResponseCycle | None = None
    """The request that was the latest at the last look."""
    _unread = 0

    def connection_lost(self, exc: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        unread = self.transport.get_write_buffer_size()
        silent = not unread and (self.cycle is None or self.cycle.response_complete)
        still = silent and self._silent and self.cycle is self._seen
        if still or (unread and unread == self._unread):
            self.transport.abort()
            return
        self._silent, self._seen, self._unread = silent, self.cycle, unread
        self._patience = self.loop.call_later(_UNFINISHED, self._look)

    def send_400_response(self, msg: str) -> None:
        """What can't be read as a request is told so as every other is."""
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        detail = f"{msg} {error}" if error else msg
        if status == 431:
            detail = f"the address and the headers of the request are longer than {REQUEST} bytes together"
        answer = problem(status, detail, {"connection": "close"})
        head = h11.Response(status_code=status, headers=answer.raw_headers, reason=HTTPStatus(status).phrase.encode())
        for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._patience = self.loop.call_later(_UNFINISHED, self._look)
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert() if tls is not None else None
        if certificate:
            self.app_state = {**self.app_state, "certificate": _name(certificate)}


def _name(certificate: dict[str, object]) -> str:
    """The first SAN, else the common name."""
    sans = certificate.get("subjectAltName")
    if isinstance(sans, tuple) and sans:
        return str(sans[0][1])
    subject = certificate.get("subject")
    parts = dict(pair for part in subject for pair in part) if isinstance(subject, tuple) else {}
    return str(parts.get("commonName", "unnamed"))


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the control plane owns the signals


@asynccontextmanager
async def serving(app: FastAPI, address: str, port: int, https: Https | None = None) -> AsyncIterator[int]:
    """Serves while the block runs; yields the port. Raises SettingsError when the address can't be had, or the
    certificate can't be used."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    contexts = _Contexts(https) if https else None
    try:
        sock = socket.create_server((address, port), family=family, backlog=256)
    except OSError as error:
        raise SettingsError(
            f"http: can't listen on {address}:{port}: {error.strerror} (settings http.address, http.port)"
        ) from None
    # Connections inherit it; asyncio sets it only on sockets that say they are TCP, which create_server's don't.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock:
        config = uvicorn.Config(
            app,
            http=_Protocol,
            log_config=None,
            access_log=False,
            ws="none",
            proxy_headers=False,  # the audit log says where an order came from: no header of it decides that
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=REQUEST,
            ssl_context_factory=(lambda *_: contexts.first) if contexts else None,
        )
        server = _Server(config)
        tasks = [asyncio.create_task(server.serve(sockets=[sock]))]
        if https and contexts:
            tasks.append(asyncio.create_task(_renewed(https, contexts)))
        try:
            yield sock.getsockname()[1]
        finally:
            app.state.leaving = True
            server.should_exit = True
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _renewed(https: Https, contexts: _Contexts) -> None:
    """New connections get a renewed certificate, and are asked for one of the CA as it is now; what can't be used
    leaves what was before."""
    files = Files(*(path for path in (https.certificate, https.key, https.client_ca) if path))
    files.changed()
    while True:
        await asyncio.sleep(_LOOK)
        if files.changed():
            try:
                contexts.renew()
            except SettingsError as error:
                log.error("http.certificate", reason=str(error), kept="the one before")
            else:
                log.info("http.certificate", renewed=str(https.certificate))


def is_leaving(app: FastAPI) -> bool:
    """Answers without an end are to end now."""
    return getattr(app.state, "leaving", False)

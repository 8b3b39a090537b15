"""Who may read, and who may change something: asked before anything of a request's body is read."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import json
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xds.audit import Audit
from xds.errors import PointsmanError
from xds.http.problems import problem

OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
"""For probes and scrapers."""
GUARDED = frozenset({"/api/v1/states", "/api/v1/audit", "/audit"})
"""What is read by those only who may change something: it costs much, or says who did what. The page of it, too."""
READING = frozenset({"GET", "HEAD", "OPTIONS"})
_UNSEEN = frozenset({400, 404, 405, 413, 422})
"""Answers to an order that came to no handler, or was none that can be meant: what a handler refuses it notes."""
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Access:
    """``token()`` is read at each request that shows one; it raises PointsmanError when there is none, and then it
    opens nothing. ``public``: anybody may read. ``local``: who reads without the token must name this machine.
    ``certificates``: clients may show one (setting http.client_ca)."""

    token: Callable[[], str] = str
    public: bool = True
    local: bool = False
    certificates: bool = False

    def known(self, authorization: str, certificate: str, *, reading: bool) -> str:
        """Why the caller isn't one who may; empty when they are. A browser sends what Basic says by itself, at the
        word of any web page: so that only opens what is read."""
        if certificate:
            return ""
        needed = "a bearer token is needed (setting http.token_file), or a client certificate of http.client_ca"
        if reading:
            needed = f"{needed}; a browser sends the token as the password, under any name"
        scheme, _, given = authorization.partition(" ")
        kind = scheme.lower()
        if kind == "basic" and reading:
            given = _password(given)
        elif kind != "bearer":
            return needed
        try:
            expected = self.token()
        except PointsmanError as error:
            return str(error)
        same = hmac.compare_digest(given.strip().encode(), expected.encode())
        return "" if expected and same else "the token is another one (setting http.token_file)"

    def may_order(self, request: Request) -> bool:
        """Whether the caller may change something."""
        return not self.known(request.headers.get("authorization", ""), certificate_of(request.scope), reading=False)

    def refusal(self, method: str, path: str, headers: Headers, certificate: str) -> tuple[int, str] | None:
        """The status and the reason, when the request isn't to be answered."""
        if path in OPEN:
            return None
        reading = method in READING
        if reading and self.public and path not in GUARDED:
            if self.local and not _names_this_machine(headers.get("host", "")):
                known = self.known(headers.get("authorization", ""), certificate, reading=True)
                reason = "the Host is neither an address nor localhost: set http.public_read, or send the token"
                return (403, reason) if known else None
            return None
        reason = self.known(headers.get("authorization", ""), certificate, reading=reading)
        return (401, reason) if reason else None


class Guard:
    """The middleware. An order that is refused is noted in the audit log: here what no handler of ours has seen, be it
    of somebody who may not, or not of the form that is taken."""

    def __init__(self, app: ASGIApp, access: Access, audit: Audit) -> None:
        self._app = app
        self._access = access
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._access.refusal(scope["method"], scope["path"], Headers(scope=scope), certificate_of(scope))
        if refusal is None:
            await self._admit(scope, receive, send)
            return
        status, reason = refusal
        if scope["method"] not in READING:
            self._audit.denied(_order(scope), address_of(HTTPConnection(scope)), reason)
        await problem(status, reason)(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        who, address = certificate_of(scope), address_of(HTTPConnection(scope))
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif status in _UNSEEN:
                reason = f"{status} {HTTPStatus(status).phrase}: {_detail(message.get('body', b''))}"
                self._audit.note(_order(scope), "refused", who, address, reason=reason)
                status = 0
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            self._audit.note(
                _order(scope), "failed", who, address, reason=f"{type(error).__name__}: {error}"[:_LONGEST]
            )
            raise


def _order(scope: Scope) -> str:
    return f"{scope['method']} {scope['path']}"[:200]


def _detail(body: bytes) -> str:
    """Of a problem; empty of anything else."""
    try:
        said = json.loads(body)
    except ValueError:
        return ""
    return str(said.get("detail", ""))[:_LONGEST] if isinstance(said, dict) else ""


def certificate_of(scope: MutableMapping[str, Any]) -> str:
    """The name of the client's certificate; empty without one."""
    return str(scope.get("state", {}).get("certificate", ""))


def address_of(request: HTTPConnection | Request) -> str:
    return request.client.host if request.client else "unknown"


def _password(given: str) -> str:
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _names_this_machine(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    name = name.strip("[]").lower()
    if not name or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

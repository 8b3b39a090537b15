"""Whatever is wrong with a request, it is told as a problem, by the port as it is served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from fastapi import FastAPI
from quiet_desk import Desk
from tracked_world import World, view_of

from xds.audit import Audit
from xds.http.access import Access
from xds.http.app import create_app
from xds.http.feed import Feed
from xds.http.serve import REQUEST, serving
from xds.operator import Caller, Operator

LOOPBACK = "127.0.0.1"
TOKEN = "a-token-that-nobody-guesses"
BEARER = f"Authorization: Bearer {TOKEN}"
ORDER = "/api/v1/hold/release"


class Mistaken(Desk):
    """A release fails by a mistake of ours."""

    async def release(self, caller: Caller) -> None:
        raise RuntimeError("a mistake")

    async def refuse(self, caller: Caller) -> None:
        return None


@dataclass
class Port:
    """Answers one request, sent as it stands."""

    number: int
    audit: Audit

    async def said(self, head: str | bytes, body: bytes = b"", *headers: str) -> tuple[int, dict[str, str], bytes]:
        lines = [head if isinstance(head, bytes) else f"{head} HTTP/1.1".encode(), b"Host: localhost"]
        lines += [b"Connection: close", f"Content-Length: {len(body)}".encode(), *(one.encode() for one in headers)]
        return await self.heard(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    async def heard(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.number)
        try:
            writer.write(request)
            async with asyncio.timeout(20):
                begun, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        first, *more = begun.decode().split("\r\n")
        told = dict(line.lower().split(": ", 1) for line in more)
        return int(first.split()[1]), told, rest

    async def ordered(self, body: bytes, *headers: str, path: str = ORDER) -> tuple[int, dict[str, str], bytes]:
        return await self.said(f"POST {path}", body, BEARER, *(headers or ("Content-Type: application/json",)))


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    audit = Audit()
    async with serving(made(audit), LOOPBACK, 0) as number:
        yield Port(number, audit)


def made(audit: Audit) -> FastAPI:
    view = replace(view_of(World()), audit=audit)
    return create_app(view, cast(Operator, Mistaken()), Access(lambda: TOKEN), Feed())


def problem(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    """Its status and detail, when it is a problem, as it must be."""
    status, headers, body = answer
    assert headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = json.loads(body)
    assert set(told) == {"type", "title", "status", "detail"}
    assert told["status"] == status
    return status, told["detail"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /nothing", 404),
        ("GET /api/v1/pods/nobody", 404),
        ("GET /api/v1/status/", 404),
        ("GET /pods/", 404),
        ("GET //api/v1/status", 404),
        ("DELETE /api/v1/status", 401),
        ("OPTIONS /api/v1/status", 405),
        ("GET /api/v1/hold/release", 405),
        ("GET /api/v1/domains?limit=0", 422),
        ("GET /api/v1/domains?limit=%FF", 422),
        ("GET /api/v1/domains/%00", 400),
        ("GET /api/v1/domains/" + "a" * 2_000, 400),
        ("GET /envoys?after=nonsense", 400),
        ("GET /static/%2e%2e%2frender.py", 404),
        ("BREW /api/v1/status", 401),
    ],
)
async def test_what_is_not_there_or_can_not_be_meant(port: Port, head: str, status: int) -> None:
    assert problem(await port.said(head))[0] == status


async def test_an_address_that_is_too_long_says_how_long_it_may_be(port: Port) -> None:
    status, detail = problem(await port.heard(b"GET /api/v1/domains?prefix=" + b"a" * REQUEST))
    assert (status, str(REQUEST) in detail) == (431, True)


@pytest.mark.parametrize("head", [b"nonsense", b"GET /\xff HTTP/1.1", b"\x16\x03\x01\x02\x00"])
async def test_what_is_no_request_at_all(port: Port, head: bytes) -> None:
    assert problem(await port.said(head))[0] == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"null", 422),
        (b"[]", 422),
        (b'{"by": 7}', 422),
        (b'{"by": "x", "other": 1}', 422),
        (b'{"\\ud800": 1}', 422),
        (b'{"by": "\\ud800"}', 422),
        (b'{"by": "\xff"}', 400),
        (b"[" * 60_000, 400),
        (b'{"by": "' + b"x" * 70_000 + b'"}', 413),
    ],
)
async def test_a_body_that_is_none(port: Port, body: bytes, status: int) -> None:
    assert problem(await port.ordered(body))[0] == status


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense"])
async def test_a_body_of_another_type(port: Port, kind: str) -> None:
    assert problem(await port.ordered(b'{"by": "ann"}', f"Content-Type: {kind}"))[0] == 422


async def test_a_mistake_of_ours_is_a_problem_that_says_nothing_of_it_and_is_in_the_audit_log(port: Port) -> None:
    status, detail = problem(await port.ordered(b'{"by": "ann"}'))
    assert (status, "RuntimeError" in detail) == (500, False)
    assert [(one.order, one.outcome, one.address) for one in port.audit.newest_first()] == [
        (f"POST {ORDER}", "failed", LOOPBACK)
    ]


async def test_a_refusal_for_want_of_a_token_says_how_to_say_who_one_is(port: Port) -> None:
    for head in ("POST /api/v1/hold/refuse", "GET /api/v1/audit", "GET /api/v1/domains/a.test/explain?probe=true"):
        answer = await port.said(head)
        assert problem(answer)[0] == 401
        assert answer[1]["www-authenticate"].startswith("b"), head


@pytest.mark.parametrize(
    "path", ["/", "/pods", "/static/page.js", "/healthz", "/metrics", "/api/v1/status", "/api/v1/pods/nobody", "/live"]
)
async def test_a_head_is_answered_as_the_get_is_but_without_a_body(port: Port, path: str) -> None:
    status, headers, body = await port.said(f"HEAD {path}")
    assert body == b""
    if path != "/live":
        wanted, told, _ = await port.said(f"GET {path}")
        assert (status, headers["content-type"]) == (wanted, told["content-type"])


async def test_a_head_of_a_stream_without_an_end_ends(port: Port) -> None:
    status, headers, body = await port.said("HEAD /api/v1/events")
    assert (status, headers["content-type"], body) == (200, "text/event-stream; charset=utf-8", b"")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/v1/hold/refuse", b'{"by": 7}', 422),
        ("/api/v1/hold/refuse", b"\xff", 400),
        ("/api/v1/nothing", b"{}", 404),
        ("/api/v1/status", b"{}", 405),
        ("/api/v1/hold/refuse", b" " * 70_000, 413),
    ],
)
async def test_an_order_that_is_none_is_in_the_audit_log_too(port: Port, path: str, body: bytes, status: int) -> None:
    assert (await port.ordered(body, path=path))[0] == status
    (one,) = port.audit.newest_first()
    assert (one.order, one.outcome, one.address) == (f"POST {path}", "refused", LOOPBACK)
    assert one.reason.startswith(f"{status} ")


async def test_where_an_order_came_from_is_no_header_s_word(port: Port) -> None:
    forged = ("X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1", "Forwarded: for=192.0.2.1")
    await port.said("POST /api/v1/hold/refuse", b"{}", *forged)
    assert [one.address for one in port.audit.newest_first()] == [LOOPBACK]

"""What the OpenAPI document says of who may ask for what, beside what the guard does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import httpx
import pytest
from quiet_desk import Desk
from tracked_world import World, view_of

from xds.http.access import Access
from xds.http.app import create_app
from xds.operator import Operator

TOKEN = "a-token-that-nobody-guesses"
OPEN = {"/healthz", "/readyz", "/metrics"}
GUARDED = {"/api/v1/audit", "/api/v1/states"}
PUBLIC, CLOSED = Access(lambda: TOKEN), Access(lambda: TOKEN, public=False)


def app(access: Access) -> Any:
    view = view_of(World())
    return create_app(view, cast(Operator, Desk()), access)


def needed(document: Mapping[str, Any]) -> dict[tuple[str, str], list[set[str]]]:
    return {
        (method, path): [set(one) for one in operation["security"]]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


@pytest.mark.parametrize("access", [PUBLIC, CLOSED], ids=["public", "closed"])
def test_every_call_says_what_it_needs(access: Access) -> None:
    for (method, path), security in needed(app(access).openapi()).items():
        if path in OPEN:
            assert security == [], path
        elif method != "get":
            assert security == [{"token"}], path
        elif path in GUARDED or not access.public:
            assert security == [{"token"}, {"password"}], path
        else:
            assert set() in security, path


def test_a_client_certificate_is_told_of_where_it_may_be_shown() -> None:
    document = app(Access(lambda: TOKEN, public=False, certificates=True)).openapi()
    assert document["components"]["securitySchemes"]["certificate"]["type"] == "mutualTLS"
    opens = [security for (_, path), security in needed(document).items() if path not in OPEN]
    assert all({"certificate"} in security for security in opens)
    assert "certificate" not in app(CLOSED).openapi()["components"]["securitySchemes"]


@pytest.mark.parametrize("access", [PUBLIC, CLOSED], ids=["public", "closed"])
async def test_the_guard_asks_for_what_the_document_says(access: Access) -> None:
    made = app(access)
    transport = httpx.ASGITransport(made)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        for (method, path), security in needed(made.openapi()).items():
            if path == "/api/v1/events":
                continue  # without an end
            nothing = await http.request(method, path)
            assert (nothing.status_code == 401) is bool(security and set() not in security), (method, path)


def test_every_call_that_needs_something_says_what_it_answers_without() -> None:
    document = app(CLOSED).openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation["security"]:
                assert {"401", "403"} <= operation["responses"].keys(), (method, path)
                assert "WWW-Authenticate" in operation["responses"]["401"]["headers"], (method, path)

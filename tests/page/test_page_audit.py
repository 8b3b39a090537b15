"""The audit log's page: for those who may order, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import httpx
import pytest
from fastapi import FastAPI
from page_harness import needs_chromium, opened
from page_plane import Plane
from playwright.async_api import Browser, Error, expect
from quiet_desk import Desk

from xds.audit import Audit
from xds.http.access import Access
from xds.http.app import create_app
from xds.http.serve import serving
from xds.operator import Operator

TOKEN = "a-token-that-nobody-guesses"
WHO = "ada-the-operator"


def app_of(*, public: bool = True) -> FastAPI:
    audit = Audit(wall=lambda: 1_795_640_649.0)
    audit.note("rollback", "asked", WHO, "192.0.2.7", revision=4_711)
    audit.note("rollback", "done", WHO, "192.0.2.7", revision=4_711)
    audit.denied("POST /api/v1/hold/release", "203.0.113.9", "the token is another one")
    view = replace(Plane(10, 1).view, audit=audit)
    return create_app(view, cast(Operator, Desk()), Access(lambda: TOKEN, public))


@pytest.fixture(params=[True, False], ids=["public", "closed"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app_of(public=request.param))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as made:
        yield made


async def test_who_may_not_order_may_not_read_who_ordered(client: httpx.AsyncClient) -> None:
    for auth in (None, ("ada", "another"), ("ada", "")):
        for method in ("GET", "HEAD"):
            answer = await client.request(method, "/audit", auth=auth)
            assert (answer.status_code, WHO in answer.text) == (401, False)
            assert 'Basic realm="Pointsman"' in answer.headers["www-authenticate"]


async def test_the_token_as_a_password_opens_it_and_it_says_who_what_when_from_where_and_what_came_of_it(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/audit", auth=("anybody", TOKEN))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    rows = answer.text.partition("<tbody>")[2].partition("</tbody>")[0].split("</tr>")
    for said in (
        "POST /api/v1/hold/release",
        "denied",
        "203.0.113.9",
        "the token is another one",
        "2026-11-25 21:04:09",
    ):
        assert said in rows[0]
    for said in (WHO, "rollback", "done", "192.0.2.7", "revision 4\u202f711"):
        assert said in rows[1]
    assert "asked" in rows[2]


async def test_no_other_page_says_who_ordered(client: httpx.AsyncClient) -> None:
    for path in ("/", "/changes", "/held", "/explain?host=a.example.com"):
        answer = await client.get(path, auth=("", TOKEN))
        assert (answer.status_code, WHO in answer.text) == (200, False), path


async def test_what_is_missing_is_told_as_a_browser_can_bring_it(client: httpx.AsyncClient) -> None:
    assert "as the password" in (await client.get("/audit")).json()["detail"]


@needs_chromium
@pytest.mark.asyncio(loop_scope="module")
async def test_the_menu_leads_to_it_and_a_browser_asks_for_the_token(browser: Browser) -> None:
    async with serving(app_of(), "127.0.0.1", 0) as port:
        page = await opened(
            browser, f"http://127.0.0.1:{port}/", http_credentials={"username": "ada", "password": TOKEN}
        )
        await page.get_by_role("link", name="Audit log").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Audit log")
        await expect(page.get_by_role("row")).to_have_count(4)
        stranger = await opened(browser, f"http://127.0.0.1:{port}/")
        with pytest.raises(Error, match="INVALID_AUTH_CREDENTIALS"):
            await stranger.goto(f"http://127.0.0.1:{port}/audit")

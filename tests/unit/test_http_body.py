"""A body that is too large: refused as a problem, once it is known that its sender may order at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import httpx
import pytest

from xds.directory import Directory
from xds.gds.mirror import MirrorStatus
from xds.http.access import Access
from xds.http.app import BODY, create_app
from xds.http.preload import BODY as HOSTS_BODY
from xds.http.preload import PATH as HOSTS_PATH
from xds.http.view import Counts, View
from xds.operator import Operator
from xds.resources.routes import RouteTables
from xds.tracker import Tracker

TOKEN = {"authorization": "Bearer a-token-that-nobody-guesses"}
JSON = {**TOKEN, "content-type": "application/json"}
TOO_LARGE = b'{"by": "' + b"x" * BODY + b'"}'
ORDER = "/api/v1/hold/release"


class Desk:
    """Takes no order."""

    def held(self) -> list[str]:
        return []

    def waits(self, domain: str) -> None:
        return None


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    directory = Directory()
    tracker = Tracker(directory, publishes=lambda: 0, changes=lambda: 0, held=lambda: False)
    view = View(directory, MirrorStatus(), RouteTables(4), list, lambda: Counts(0, 0, 0, 0, {}), tracker=tracker)
    app = create_app(view, cast(Operator, Desk()), Access(lambda: TOKEN["authorization"].split()[1]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pointsman") as client:
        yield client


async def in_parts() -> AsyncIterator[bytes]:
    """Of a length that isn't said before."""
    for start in range(0, len(TOO_LARGE), 10_000):
        yield TOO_LARGE[start : start + 10_000]


@pytest.mark.parametrize("said", [True, False], ids=["length-said", "in-parts"])
async def test_a_body_that_is_too_large_is_a_problem(http: httpx.AsyncClient, said: bool) -> None:
    answer = await http.post(ORDER, content=TOO_LARGE if said else in_parts(), headers=TOKEN)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert answer.json()["status"] == 413
    assert str(BODY) in answer.json()["detail"]


async def test_who_may_not_order_isnt_told_how_large_a_body_may_be(http: httpx.AsyncClient) -> None:
    for content in (TOO_LARGE, in_parts()):
        answer = await http.post(ORDER, content=content)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")


@pytest.mark.parametrize(("size", "status"), [(BODY + 1, 409), (HOSTS_BODY - 100, 409), (HOSTS_BODY + 1, 413)])
async def test_an_import_may_have_a_larger_one(http: httpx.AsyncClient, size: int, status: int) -> None:
    """409: there is nothing to import where GDS is watched."""
    body = b'{"hosts": {"a.test": "pod1"}' + b" " * size
    answer = await http.post(HOSTS_PATH, content=body[: size - 1] + b"}", headers=JSON)
    assert answer.status_code == status, answer.text


async def test_what_reads_no_body_takes_none_that_is_too_large_either(http: httpx.AsyncClient) -> None:
    assert (await http.request("GET", "/healthz", content=TOO_LARGE)).status_code == 413
    assert (await http.request("GET", "/healthz", content=b"x" * BODY)).status_code == 200

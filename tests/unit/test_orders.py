"""Orders over HTTP: whoever shows the token is obeyed or told why not; everybody else is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import httpx
import pytest
from fastapi import FastAPI

from xds import tokens
from xds.audit import Audit
from xds.errors import HoldError, StateError
from xds.http import problems
from xds.http.access import Access, Guard
from xds.http.orders import orders_api
from xds.lookup.asking import NotAnswered
from xds.lookup.learner import Learner
from xds.operator import Caller, Operator

TOKEN = "a-token-that-nobody-guesses"


class Desk(Operator):
    """Notes what was ordered; nothing is held."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self._audit, self._learner = Audit(), None

    def hold(self) -> dict[str, object]:
        return {"state": "none"}

    async def release(self, caller: Caller) -> None:
        self.orders.append(f"release {caller}")

    async def refuse(self, caller: Caller) -> None:
        raise HoldError("nothing is held")

    async def roll_back(self, revision: int, epoch: str, caller: Caller) -> None:
        self.orders.append(f"rollback {epoch}:{revision} {caller}")


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def api(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.include_router(orders_api(desk))
    app.add_middleware(Guard, access=Access(lambda: TOKEN), audit=Audit())
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_what_is_held_is_shown_to_everybody(api: httpx.AsyncClient) -> None:
    assert (await api.get("/api/v1/hold")).json() == {"state": "none"}


@pytest.mark.parametrize("path", ["/api/v1/hold/release", "/api/v1/hold/refuse", "/api/v1/rollback"])
@pytest.mark.parametrize("headers", [{}, bearer(TOKEN[:-1]), bearer(TOKEN + "x"), bearer(""), {"authorization": TOKEN}])
async def test_nobody_orders_without_the_token(
    api: httpx.AsyncClient, desk: Desk, path: str, headers: dict[str, str]
) -> None:
    answer = await api.post(path, json={"revision": 1} if path.endswith("rollback") else {}, headers=headers)
    assert (answer.status_code, desk.orders) == (401, [])


async def test_an_order_says_who_gave_it_and_from_where(api: httpx.AsyncClient, desk: Desk) -> None:
    assert (await api.post("/api/v1/hold/release", json={"by": "ann"}, headers=bearer())).status_code == 200
    rollback = {"by": "ann", "revision": 7, "epoch": "E"}
    assert (await api.post("/api/v1/rollback", json=rollback, headers=bearer())).status_code == 200
    assert desk.orders == ["release ann at 192.0.2.7", "rollback E:7 ann at 192.0.2.7"]


async def test_an_order_that_can_not_be_done_is_a_conflict_with_its_reason(api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/v1/hold/refuse", json={}, headers=bearer())
    assert (answer.status_code, answer.json()["detail"]) == (409, "nothing is held")


async def test_without_a_token_file_nobody_orders(desk: Desk, tmp_path: Path) -> None:
    app = FastAPI()
    problems.install(app)
    app.include_router(orders_api(desk))
    app.add_middleware(Guard, access=Access(lambda: tokens.read(tmp_path / "token")), audit=Audit())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.post("/api/v1/hold/release", json={}, headers=bearer())
        assert (answer.status_code, desk.orders) == (401, [])
        (tmp_path / "token").write_text("")
        answer = await client.post("/api/v1/hold/release", json={}, headers=bearer(""))
        assert (answer.status_code, desk.orders) == (401, [])


def test_a_token_is_long_and_never_the_same(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(tokens.made())
    assert len(tokens.read(tmp_path / "token")) >= 40
    assert tokens.made() != tokens.made()
    (tmp_path / "token").write_text("short\n")
    with pytest.raises(StateError, match="shorter than"):
        tokens.read(tmp_path / "token")


async def test_a_refresh_that_gds_does_not_answer_is_a_503_that_says_when_to_try_again(
    desk: Desk, api: httpx.AsyncClient
) -> None:
    class Slow:
        def home(self, host: str) -> None:
            return None

        async def refresh(self, host: str) -> None:
            raise NotAnswered(f"{host}: GDS is slow", "busy")

    desk._learner = cast(Learner, Slow())
    said = await api.post("/api/v1/domains/acme.example.com/refresh", json={}, headers=bearer())
    assert (said.status_code, said.headers.get("retry-after")) == (503, "1")
    assert "GDS is slow" in said.json()["detail"]


async def test_a_refresh_is_refused_where_gds_is_watched_and_for_what_is_no_host(api: httpx.AsyncClient) -> None:
    said = await api.post("/api/v1/domains/acme.example.com/refresh", json={}, headers=bearer())
    assert (said.status_code, "watched" in said.json()["detail"]) == (409, True)
    assert (await api.post("/api/v1/domains/acme.example.com/refresh", json={})).status_code == 401
    assert (await api.post("/api/v1/domains/a_b/refresh", json={}, headers=bearer())).status_code == 400

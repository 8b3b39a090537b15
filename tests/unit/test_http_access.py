"""Who may read and who may order: decided before anything of the body is read."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request

from xds.audit import Audit
from xds.errors import SettingsError, StateError
from xds.http import problems
from xds.http.access import Access, Guard
from xds.http.serve import Https
from xds.settings import load

TOKEN = "a-token-that-nobody-guesses"


def basic(password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"ann:{password}".encode()).decode()}


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class Door:
    """An application behind the guard that answers everything with 200 and says whether it read a body."""

    def __init__(self, access: Access, certificate: str = "") -> None:
        self.audit = Audit()
        self.bodies: list[bytes] = []
        app = FastAPI()
        problems.install(app)

        @app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "DELETE"])
        async def any_route(request: Request, path: str) -> dict[str, str]:
            self.bodies.append(await request.body())
            return {"path": path}

        app.add_middleware(Guard, access=access, audit=self.audit)

        async def shown(scope, receive, send):  # type: ignore[no-untyped-def]
            scope.setdefault("state", {})["certificate"] = certificate
            await app(scope, receive, send)

        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(shown), base_url="http://pointsman.example")

    async def status(self, method: str, path: str, headers: dict[str, str] | None = None, url: str = "") -> int:
        return (await self.http.request(method, url + path, headers=headers, content=b"body")).status_code


@pytest.fixture
async def closed() -> AsyncIterator[Door]:
    """Reading isn't public."""
    door = Door(Access(lambda: TOKEN, public=False))
    async with door.http:
        yield door


async def test_probes_and_scrapers_need_no_token(closed: Door) -> None:
    assert [await closed.status("GET", path) for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/api/openapi.json", "/healthz/../api/v1/status", "//healthz"])
async def test_all_else_is_read_with_the_token_only(closed: Door, path: str) -> None:
    assert await closed.status("GET", path) == 401
    assert await closed.status("GET", path, bearer(TOKEN + "x")) == 401
    assert await closed.status("GET", path, bearer()) == 200
    assert await closed.status("GET", path, basic(TOKEN)) == 200, "a browser asks for a password"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_an_order_without_the_token_is_refused_unread_and_written_down(closed: Door, method: str) -> None:
    for headers in ({}, bearer("another"), basic(TOKEN), {"authorization": TOKEN}, bearer("")):
        assert await closed.status(method, "/api/v1/hold/release", headers) == 401
    assert closed.bodies == []
    assert {entry.outcome for entry in closed.audit.newest_first()} == {"denied"}
    assert await closed.status(method, "/api/v1/hold/release", bearer()) == 200


async def test_a_certificate_is_as_good_as_the_token() -> None:
    door = Door(Access(lambda: TOKEN, public=False), certificate="ann.ops.example")
    async with door.http:
        assert await door.status("POST", "/api/v1/hold/release") == 200


async def test_without_a_token_file_nobody_orders_and_nobody_is_let_in_by_an_empty_one() -> None:
    def missing() -> str:
        raise StateError("there is none")

    for token in (missing, str):
        door = Door(Access(token, public=True))
        async with door.http:
            assert await door.status("POST", "/x", bearer("")) == 401
            assert await door.status("POST", "/x", bearer("anything")) == 401
            assert await door.status("GET", "/x") == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:18080", 200),
        ("[::1]:18080", 200),
        ("localhost:18080", 200),
        ("evil.example:18080", 403),
        ("127.0.0.1.evil.example", 403),
    ],
)
async def test_what_is_public_on_loopback_is_not_for_web_pages_of_other_names(host: str, status: int) -> None:
    door = Door(Access(lambda: TOKEN, public=True, local=True))
    async with door.http:
        assert await door.status("GET", "/api/v1/status", {"host": host}) == status
        assert await door.status("GET", "/api/v1/status", {"host": host} | bearer()) == 200


async def test_refusals_never_push_the_orders_out_of_the_log() -> None:
    door = Door(Access(lambda: TOKEN, public=False))
    door.audit.note("hold.release", "done", "ann", "192.0.2.1")
    async with door.http:
        for _ in range(50):
            await door.status("POST", "/api/v1/rollback")
    entries = list(door.audit.newest_first())
    assert len(entries) <= 12
    assert entries[-1].who == "ann"


def test_the_audit_log_outlives_the_process(tmp_path: Path) -> None:
    file = tmp_path / "state" / "audit.log"
    before = Audit(file)
    with before.writing():
        before.note("rollback", "done", "ann", "192.0.2.1", revision=7)
    with file.open("a") as broken:
        broken.write('{"number": 3, "at"')
    after = Audit(file)
    with after.writing():
        (entry,) = after.newest_first()
        assert (entry.order, entry.revision, entry.number) == ("rollback", 7, 1)
        after.note("hold.release", "done", "bob", "192.0.2.1")
    assert [entry.number for entry in after.newest_first()] == [2, 1]
    later = Audit(file)
    with later.writing():
        assert [entry.who for entry in later.newest_first()] == ["bob", "ann"], "what was cut off took nothing with it"
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        ('certificate = "a.crt"', "go together"),
        ('client_ca = "ca.crt"', "is for HTTPS"),
        ('probe = "edge"', "host:port"),
    ],
)
def test_settings_of_http_that_make_no_sense_are_refused(tmp_path: Path, lines: str, word: str) -> None:
    (tmp_path / "pointsman.toml").write_text(f"[http]\n{lines}\n[xds]\nplaintext = true\n")
    with pytest.raises(SettingsError, match=word):
        load(tmp_path / "pointsman.toml")


def test_a_certificate_that_can_not_be_used_says_which_setting_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.crt").write_text("nonsense")
    with pytest.raises(SettingsError, match=r"http\.certificate"):
        Https(tmp_path / "a.crt", tmp_path / "a.crt").context()

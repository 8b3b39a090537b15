"""The pages as they are served: escaped, bounded, and with headers that keep them what they are."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from hatchling.builders.wheel import WheelBuilder
from page_harness import Desk, app_of, served
from page_samples import trouble

from xds.http.page import render
from xds.http.page.content import ActRow, Listing

ROOT = Path(__file__).parents[2]
EXPLAINED = "/explain?host=acme.example.com", "/explain-envoys?host=acme.example.com"
PATHS = ("/", "/explain", *EXPLAINED, "/change?number=96", *(f"/{page}" for page in render.PAGES))
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u202e"


class Tags(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture
async def client(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app_of(desk)), base_url="http://page") as made:
        yield made


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_forbids_what_is_not_its_own(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", PATHS)
async def test_no_page_has_a_script_or_a_style_inside_or_names_another_place(
    client: httpx.AsyncClient, desk: Desk, path: str
) -> None:
    desk.state = trouble()
    for tag, attributes in Tags((await client.get(path)).text).found:
        assert tag != "style"
        assert tag != "script" or attributes.get("src")
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        for name in ("src", "href", "action"):
            assert "//" not in (attributes.get(name) or "")


async def test_whatever_is_named_is_only_text(client: httpx.AsyncClient, desk: Desk) -> None:
    bad = trouble()
    assert bad.held
    (first, *_), nack = bad.pods.rows, bad.nacks.rows[0]
    desk.state = replace(
        bad,
        verdict=HOSTILE,
        stations=[replace(one, value=HOSTILE, note=HOSTILE, name=HOSTILE) for one in bad.stations],
        alarms=[replace(bad.alarms[0], text=HOSTILE)],
        held=replace(bad.held, text=HOSTILE, by=HOSTILE, examples=[replace(bad.held.examples[0], domain=HOSTILE)]),
        changes=[replace(bad.changes[0], text=HOSTILE, state=HOSTILE, by=HOSTILE)],
        nacks=replace(bad.nacks, rows=[replace(nack, node=HOSTILE, kind=HOSTILE, names=(HOSTILE,), reason=HOSTILE)]),
        pods=replace(bad.pods, rows=[replace(first, name=HOSTILE, datacenter=HOSTILE)]),
        aside=replace(bad.aside, rows=[replace(bad.aside.rows[0], kind=HOSTILE, name=HOSTILE, reason=HOSTILE)]),
    )
    html = (await client.get("/")).text + (await client.get("/explain", params={"host": HOSTILE})).text
    html += (await client.get("/explain-envoys", params={"host": HOSTILE})).text
    found = Tags(html).found
    assert not [tag for tag, _ in found if tag == "img"]
    assert len([tag for tag, _ in found if tag == "script"]) == 1
    assert "\u202e" not in html
    assert "alert(1)" in html


def test_who_ordered_what_is_only_text() -> None:
    act = ActRow(1e9, HOSTILE, HOSTILE, "bad", HOSTILE, HOSTILE, HOSTILE, 7)
    html = render.list_page("audit", Listing([act], 1), "", first=False)
    assert not [tag for tag, _ in Tags(html).found if tag in ("img", "script")]
    assert "\u202e" not in html
    assert html.count("onerror=alert(1)") == 5


async def test_a_change_has_a_page_of_its_own_to_which_the_list_leads(client: httpx.AsyncClient) -> None:
    for path in ("/", "/changes"):
        assert '<a href="change?number=96">48\u202f213</a>' in (await client.get(path)).text
    first = (await client.get("/change", params={"number": 96})).text
    for said in (
        "edge-fra-412</bdi> lacks it",
        "edge-gone</bdi> left without it",
        "And 2\u202f399 more.",
        ": rejected",
        "(mended since)",
    ):
        assert said in first
    assert 'href="change?number=96&amp;after=50" rel="next"' in first
    last = (await client.get("/change", params={"number": 96, "after": "50"})).text
    assert 'rel="next"' not in last
    assert '<a href="change?number=96">First</a>' in last
    for wrong, status in (({"number": 95}, 404), ({"number": 96, "after": "x"}, 400), ({"number": "x"}, 422)):
        assert (await client.get("/change", params=wrong)).status_code == status


async def test_the_list_of_envoys_says_when_their_certificates_end(client: httpx.AsyncClient) -> None:
    rows = (await client.get("/envoys")).text.partition("<tbody>")[2].split("</tr>")
    assert "envoy 1.40.0" in rows[0]
    for row, said in ((rows[2], "2 d"), (rows[3], '<span class="dim">none</span>'), (rows[4], "80 d")):
        assert said in row


async def test_who_made_a_change_stands_with_it(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.state = replace(desk.state, changes=[replace(desk.state.changes[0], by="ada")])
    assert "by <bdi>ada</bdi>" in (await client.get("/")).text


async def test_all_envoys_of_an_explained_host_are_a_list_that_goes_on(client: httpx.AsyncClient) -> None:
    shown = (await client.get("/explain", params={"host": "acme.example.com"})).text
    assert '<a href="explain-envoys?host=acme.example.com">All 1\u202f000 Envoys</a>' in shown
    first = (await client.get("/explain-envoys", params={"host": "acme.example.com"})).text
    assert 'href="explain-envoys?host=acme.example.com&amp;after=7" rel="next"' in first
    assert "edge-fra-412" in first
    last = (await client.get("/explain-envoys", params={"host": "acme.example.com", "after": "7"})).text
    assert 'rel="next"' not in last
    assert ">First</a>" in last
    assert (await client.get("/explain-envoys", params={"host": "a.test", "after": "x"})).status_code == 400


async def test_a_long_list_is_a_page_with_a_link_to_the_next(client: httpx.AsyncClient) -> None:
    first = (await client.get("/pods")).text
    assert 'href="pods?after=pod9" rel="next"' in first
    second = (await client.get("/pods", params={"after": "pod9"})).text
    assert 'rel="next"' not in second
    assert '<a href="pods">First</a>' in second
    assert (await client.get("/pods", params={"after": "nonsense"})).status_code == 400


async def test_static_files_are_kept_by_browsers_and_there_are_no_others(client: httpx.AsyncClient) -> None:
    kinds = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
    for name, kind in kinds.items():
        answer = await client.get(f"/static/{name}")
        assert answer.headers["content-type"].startswith(kind)
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert sorted(path.name for path in render.STATIC.iterdir()) == sorted(kinds)
    for name in ("other.js", "..%2frender.py", "%2e%2e%2frender.py"):
        assert (await client.get(f"/static/{name}")).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/live", "/explain", "/pods", "/static/page.js"])
async def test_the_page_only_reads(client: httpx.AsyncClient, method: str, path: str) -> None:
    assert (await client.request(method, path)).status_code == 405


async def test_those_who_watch_are_let_go_in_order_when_the_server_leaves(desk: Desk) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, contextlib.AsyncExitStack() as stack:
        async with served(desk) as address:
            answer = await stack.enter_async_context(client.stream("GET", f"{address}/live"))
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            assert await anext(lines) == "event: section"
        assert "event: tick" in [line async for line in lines]


def test_the_wheel_holds_the_templates_and_the_static_files() -> None:
    builder = WheelBuilder(str(ROOT))
    held = {file.distribution_path for file in builder.recurse_included_files()}
    page = ROOT / "xds/http/page"
    wanted = [path for folder in ("templates", "static") for path in (page / folder).rglob("*") if path.is_file()]
    assert len(wanted) > 10
    for path in wanted:
        assert str(path.relative_to(ROOT)) in held

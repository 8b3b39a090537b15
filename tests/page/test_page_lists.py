"""The page's lists: each of their rows once, by links alone, whatever came or went between two pages."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from page_plane import Plane

from xds.audit import Audit
from xds.certificates.checks import Facts
from xds.certificates.index import Aside, Entry
from xds.certificates.layouts import Place
from xds.edge_tls import EdgeTls, Options
from xds.gds.mirror import MirrorStatus
from xds.gds.model import Pod, PutDomain, Snapshot, Transaction
from xds.http.access import Access
from xds.http.app import create_app
from xds.http.page import render
from xds.http.page.listings import PAGE
from xds.http.view import Counts, View
from xds.operator import Operator
from xds.protocol.messages import DeltaRequest
from xds.receipt import Receipt
from xds.resources.routes import RouteTables
from xds.resources.types import CLUSTER, resource
from xds.unknown_hosts import UnknownHosts

CERTIFICATES, MANY = 1_300, 120
TOKEN = "a-token-that-nobody-guesses"


class Holding:
    """So many domains are held."""

    def hold(self) -> dict[str, object]:
        return {"state": "none"}

    def held(self) -> list[str]:
        return [f"h{number}.test" for number in range(MANY)]

    def waits(self, domain: str) -> tuple[str | None, str | None]:
        return "pod1", None


class Site:
    """An edge of which every list is longer than a page."""

    def __init__(self, folder: Path) -> None:
        pods = tuple(Pod(f"pod{number}") for number in range(MANY))
        self.tables, self.plane = RouteTables(4), Plane(1, 0)
        self.directory = self.plane.directory
        domains = [(f"d{number}.test", f"pod{number}") for number in range(MANY)]
        self.directory.replace(Snapshot("e", 1, pods, domains))
        self.directory.apply(
            Transaction("e", 2, tuple(PutDomain(f"x{number}.test", "nowhere") for number in range(MANY)))
        )
        self.tables.apply({domain: (None, pod) for domain, pod in domains})
        self.tls = EdgeTls(Options(folder, "edge"), lambda update: None, lambda tls: None, lambda host: False)
        for number in range(CERTIFICATES):
            facts = Facts((f"c{number}.test",), 0.0, 1e9 + 86_400.0 * (number // 100), "EC P-256")
            self.tls.index.put(Entry(Place(f"c{number}.test", 0), facts), 0.0)
        for number in range(MANY):
            self.tls.index.put_aside(f"bad{number}.test", Aside("key", "it is another's"), keep=False)
        self.unknown = UnknownHosts(1_000)
        for number in range(MANY):
            self.unknown.add(f"u{number}.test")
        tracker = self.plane.tracker
        for number in range(MANY):
            tracker.receipts.received(Receipt("e", number + 10, "change", 0, (), 0.0, 1e9))
        for number in range(MANY):
            self.plane._connect(f"edge-{number}")
        self.plane.cache.publish({CLUSTER: {"one": resource(CLUSTER, "one", b"2")}})
        self.reject()
        audit = Audit()
        for number in range(MANY):
            audit.note(f"order{number}", "done", "ada", "192.0.2.1")
        server = self.plane.server
        view = View(
            self.directory,
            MirrorStatus("following", 41, 0.0),
            self.tables,
            server.nodes,
            lambda: Counts(1, 1, 0, 0, {}),
            self.tls,
            self.unknown,
            tracker=tracker,
            streams=server.streams,
            nodes_of=server.nodes_of,
            nodes_after=server.nodes_after,
            cache=self.plane.cache,
            audit=audit,
        )
        app = create_app(view, cast(Operator, Holding()), Access(lambda: TOKEN))
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", auth=("", TOKEN))

    def reject(self) -> None:
        """Every Envoy rejects a cluster."""
        for stream in self.plane.server.streams():
            for response in [*stream.responses()]:
                settled = stream.receive(DeltaRequest(response.type_url, nonce=response.nonce, error="no"))
                if settled is not None:
                    self.plane.tracker.settled(stream, settled)

    async def rows(self, path: str, between: Callable[[], object] = lambda: None) -> list[str]:
        """The first cell of each row of each page, as the links "Next" lead through them."""
        found: list[str] = []
        at: str | None = path
        for _ in range(100):
            if at is None:
                return found
            answer = await self.http.get(f"/{at}")
            assert answer.status_code == 200, answer.text
            body = answer.text.partition("<tbody>")[2].partition("</tbody>")[0]
            rows = re.findall(r'<th scope="row"[^>]*>(.*?)</th>', body)
            assert len(rows) <= PAGE
            found += [re.sub("<[^>]+>", "", row).split()[-1] for row in rows]
            link = re.search(r'<a href="([^"]+)" rel="next">', answer.text)
            at = html.unescape(link[1]) if link else None
            between()
        raise AssertionError("the pages have no end")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    async with made.http:
        yield made


def test_each_list_is_looked_at_here() -> None:
    assert {*render.PAGES} == {*WANTED}


WANTED: dict[str, Any] = {
    "envoys": [f"edge-{number}" for number in range(MANY)],
    "envoys-behind": [f"edge-{number}" for number in range(MANY)],
    "pods": [f"pod{number}" for number in range(MANY)],
    "domains": [f"d{number}.test" for number in range(MANY)],
    "changes": [str(number) for number in range(10, 10 + MANY)],
    "held": [f"h{number}.test" for number in range(MANY)],
    "certificates": [f"c{number}.test" for number in range(CERTIFICATES)],
    "certificates-set-aside": [f"bad{number}.test" for number in range(MANY)],
    "set-aside": [f"x{number}.test" for number in range(MANY)],
    "unknown-hosts": [f"u{number}.test" for number in range(MANY)],
    "audit": [f"order{number}" for number in range(MANY)],
}


@pytest.mark.parametrize("path", [*WANTED])
async def test_every_row_of_a_list_is_shown_once_by_its_links(site: Site, path: str) -> None:
    assert sorted(await site.rows(path)) == sorted(WANTED[path])


async def test_a_certificate_that_goes_meanwhile_moves_no_other(site: Site) -> None:
    gone = iter(range(0, 500, 7))
    found = await site.rows("certificates", lambda: site.tls.index.remove(f"c{next(gone)}.test"))
    kept = [*site.tls.index]
    assert len(found) == len(set(found))
    assert set(kept) <= set(found)


async def test_a_record_that_is_mended_meanwhile_moves_no_other(site: Site) -> None:
    mended = iter(range(MANY))

    def mend() -> None:
        number = next(mended)
        site.directory.apply(Transaction("e", 3 + number, (PutDomain(f"x{number}.test", "pod1"),)))

    found = await site.rows("set-aside", mend)
    kept = [one.name for one in site.directory.set_aside.values()]
    assert len(found) == len(set(found))
    assert set(kept) <= set(found)


@pytest.mark.parametrize("path", [*WANTED])
@pytest.mark.parametrize("after", ["nonsense!", "1~zz", "~", "\u0664", "-", "99999999999999999999"])
async def test_a_place_that_is_none_is_a_problem_or_an_empty_page(site: Site, path: str, after: str) -> None:
    answer = await site.http.get(f"/{path}", params={"after": after})
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert answer.headers["content-type"] == "application/problem+json"

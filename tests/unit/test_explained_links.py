"""Each link of a host's chain with its age, and every Envoy that is connected, in pages."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tracked_world import Envoy, World, view_of

from xds.cache import Cache
from xds.certificates.checks import Facts
from xds.certificates.index import Entry
from xds.certificates.layouts import Place
from xds.edge_tls import EdgeTls, Options
from xds.errors import PointsmanError
from xds.gds.model import DeleteDomain, PutDomain
from xds.http.app import create_app
from xds.http.explain import every, explained
from xds.http.live import Live
from xds.protocol.stream import Stream
from xds.resources.types import CLUSTER, ROUTE, SECRET, Resource, resource


class Explained:
    """The API over a world. ``envoys`` by number."""

    def __init__(self, **more: Any) -> None:
        self.world = World(domains=20)
        self.envoys: dict[int, Envoy] = {}
        self.view = view = view_of(
            self.world,
            streams=lambda: [envoy.stream for envoy in self.envoys.values()],
            streams_after=self._after,
            clock=lambda: self.world.now,
            **more,
        )
        transport = httpx.ASGITransport(create_app(view))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://pointsman")

    def _after(self, number: int, most: int) -> list[tuple[int, Stream]]:
        return [(each, self.envoys[each].stream) for each in sorted(self.envoys) if each > number][:most]

    def connect(self, number: int) -> Envoy:
        self.envoys[number] = envoy = Envoy(self.world, f"edge-{number}")
        envoy.subscribe()
        return envoy

    async def get(self, path: str = "", **query: Any) -> Any:
        answer = await self.client.get(f"/api/v1/domains/d1.test/explain{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


def a_cluster(name: str, body: bytes) -> dict[str, Resource | None]:
    return {name: resource(CLUSTER, name, body)}


def test_the_cache_knows_since_when_it_has_a_version_and_whether_it_had_it_at_the_start() -> None:
    now = 10.0
    cache = Cache(lambda: now)

    def made(name: str) -> tuple[float, bool] | None:
        found = cache.made(CLUSTER, name)
        return found and (found.at, found.first)

    cache.publish({CLUSTER: a_cluster("one", b"a") | a_cluster("two", b"a")})
    cache.begin()
    now = 20.0
    cache.publish({CLUSTER: a_cluster("one", b"a") | a_cluster("two", b"b") | a_cluster("three", b"a")})
    assert [made(name) for name in ("one", "two", "three")] == [(10.0, True), (20.0, False), (20.0, False)]
    now = 30.0
    cache.replace({CLUSTER: a_cluster("two", b"b")})
    cache.publish({CLUSTER: {"one": None}})
    assert [made(name) for name in ("one", "two", "none")] == [None, (20.0, False), None]


def test_of_secrets_of_which_there_may_be_very_many_nothing_is_kept() -> None:
    cache = Cache(lambda: 1.0)
    cache.publish({SECRET: {"a": resource(SECRET, "a", b"a")}})
    assert cache.made(SECRET, "a") is None


def ages(found: Any) -> dict[str, tuple[float, bool]]:
    cluster = found["cluster"]
    links = {
        "scope": found["scope"]["age"],
        "table": found["table_age"],
        "virtual host": found["virtual_host_age"],
        "cluster": cluster["age"],
        "endpoints": cluster["endpoints_age"],
    }
    return {name: (age["seconds"], age["since_start"]) for name, age in links.items()}


async def test_each_link_has_the_age_of_its_version_or_says_that_it_was_so_at_the_start() -> None:
    explained = Explained()
    explained.world.now = 100.0
    assert set(ages(await explained.get()).values()) == {(100.0, True)}
    explained.world.change(2, PutDomain("d1.test", "pod2"))
    explained.world.now = 107.0
    found = await explained.get()
    assert ages(found) == {
        "scope": (107.0, True),
        "table": (7.0, False),
        "virtual host": (7.0, False),
        "cluster": (107.0, True),
        "endpoints": (107.0, True),
    }
    assert found["scope"]["version"]
    assert found["cluster"]["endpoints_version"]


async def test_a_virtual_host_is_as_old_as_its_own_last_change_whatever_else_its_table_holds() -> None:
    explained = Explained()
    world = explained.world

    async def virtual_host(at: float) -> tuple[str, float, float]:
        world.now = at
        found = await explained.get()
        assert found["virtual_host"] == "pod1"
        ages = found["virtual_host_age"], found["table_age"]
        return found["virtual_host_version"], *(at - age["seconds"] for age in ages)

    world.change(2, PutDomain("d10.test", "pod2"), PutDomain("d11.test", "pod2"))
    world.now = 100.0
    world.change(3, PutDomain("d12.test", "pod2"))
    version, made, table = await virtual_host(150.0)
    assert (made, table) == (100.0, 100.0)
    world.change(4, PutDomain("d13.test", "pod2"))
    other, made, _ = await virtual_host(160.0)
    assert (other != version, made) == (True, 150.0)
    world.change(5, PutDomain("d13.test", "pod1"))
    assert await virtual_host(170.0) == (version, 160.0, 160.0), "as it was before, but not since then"
    world.now = 180.0
    world.change(6, DeleteDomain("d10.test"))
    assert await virtual_host(190.0) == (version, 160.0, 180.0), "what changed is another pod's"


async def test_a_virtual_host_that_is_made_into_the_same_again_keeps_its_age() -> None:
    explained = Explained()
    explained.world.now = 100.0
    explained.world.change(2, PutDomain("*.test", "pod1"))
    explained.world.now = 130.0
    explained.world.change(3, PutDomain("d1.test", "pod2"), PutDomain("d1.test", "pod1"))
    tables = explained.world.resources.tables
    number = tables.number_of("d1.test")
    tables.move("d1.test", "pod1", None)
    tables.move("d1.test", None, "pod1")
    tables.encoded(number)
    assert (await explained.get())["virtual_host_age"] == {"seconds": 30.0, "since_start": False}


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_every_envoy_comes_once_in_pages_whatever_changes_meanwhile(limit: int) -> None:
    explained = Explained()
    for number in range(1, 8):
        explained.connect(number)
    seen, cursor, pages = [], "", 0
    while pages < 10:
        page = await explained.get("/envoys", limit=limit, cursor=cursor)
        seen += [envoy["node"] for envoy in page["items"]]
        assert page["total"] == 7
        pages += 1
        # With each page all of them lack something, and then none does.
        explained.world.change(1 + pages, PutDomain("d1.test", f"pod{1 + pages % 2}"))
        if pages % 2:
            for envoy in explained.envoys.values():
                envoy.take()
        if (cursor := page["next"]) is None:
            break
    assert seen == [f"edge-{number}" for number in range(1, 8)]
    assert pages == -(-7 // limit)


async def test_while_a_long_page_of_envoys_is_made_others_have_their_turn() -> None:
    explained = Explained()
    for number in range(1, 61):
        explained.connect(number)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    page = await every(explained.view, Live(), "d1.test", 0, 1_000)
    counting.cancel()
    assert (len(page.items), turns >= 3) == (60, True)


async def test_each_envoy_of_a_page_says_what_it_has() -> None:
    explained = Explained()
    explained.connect(1)
    explained.connect(2)
    explained.world.change(2, PutDomain("d1.test", "pod2"))
    explained.envoys[2].take()
    first, second = (await explained.get("/envoys"))["items"]
    assert (first["has_it"], second["has_it"]) == (False, True)
    table = next(one for one in first["resources"] if one["type"] == ROUTE.name)
    assert table["wanted"] != table["acked"]


def service_certificate(folder: Path, begins: float, at: float) -> EdgeTls:
    """Of *.test, since then."""
    tls = EdgeTls(Options(folder, "edge"), lambda update: None, lambda tls: None, lambda host: False)
    renew(tls, begins, at)
    return tls


def renew(tls: EdgeTls, begins: float, at: float) -> None:
    tls.index.put(Entry(Place("edge", 0), Facts(("*.test",), begins, 2_000_000_000.0, "EC P-256")), at)


async def test_each_envoy_says_whether_it_has_the_certificate_that_is_shown(tmp_path: Path) -> None:
    explained = Explained(tls=service_certificate(tmp_path, 0.0, 0.0))
    world = explained.world

    def publish(body: bytes) -> None:
        world.cache.publish({SECRET: {"edge": resource(SECRET, "edge", body)}})

    async def state() -> tuple[int, int, dict[str, tuple[bool, str | None]]]:
        found = (await explained.get())["envoys"]
        copies = {
            each["node"]: (each["has_it"], copy["error"])
            for each in found["shown"]
            for copy in each["resources"]
            if copy["type"] == "secret"
        }
        return found["have_it"], found["rejecting"], copies

    publish(b"first")
    with_it, without = explained.connect(1), explained.connect(2)
    with_it.ask(SECRET, "edge")
    with_it.take()
    assert await state() == (2, 0, {"edge-1": (True, None)}), "the other one gets it elsewhere"
    publish(b"second")
    assert await state() == (1, 0, {"edge-1": (False, None)})
    with_it.take("no such curve")
    assert await state() == (1, 1, {"edge-1": (False, "no such curve")})
    assert [one["has_it"] for one in (await explained.get("/envoys"))["items"]] == [False, True]
    publish(b"third")
    with_it.take()
    without.take()
    assert await state() == (2, 0, {"edge-1": (True, None)})


async def test_the_certificate_is_told_since_when_it_is_the_one_and_from_when_to_when_it_is_valid(
    tmp_path: Path,
) -> None:
    now = time.time()
    tls = service_certificate(tmp_path, 1_600_000_000.0, now - 900.0)
    explained = Explained(tls=tls)
    found = (await explained.get())["certificate"]
    assert (found["not_before"], found["not_after"]) == ("2020-09-13T12:26:40+00:00", "2033-05-18T03:33:20+00:00")
    assert found["age"]["since_start"]
    assert 900.0 <= found["age"]["seconds"] < 960.0
    renew(tls, 1_700_000_000.0, now - 60.0)
    found = (await explained.get())["certificate"]
    assert not found["age"]["since_start"]
    assert 60.0 <= found["age"]["seconds"] < 120.0


async def test_a_place_that_is_none_and_a_host_that_is_none_are_refused() -> None:
    explained = Explained()
    for path in ("d1.test/explain/envoys?cursor=x", "d1.test/explain/envoys?limit=0", "no%20host/explain/envoys"):
        answer = await explained.client.get(f"/api/v1/domains/{path}")
        assert answer.status_code in (400, 422)


async def test_a_probe_that_cannot_be_made_is_told_as_it_is_and_not_as_one_of_a_group() -> None:
    with pytest.raises(PointsmanError, match=r"setting http\.probe"):
        await explained(Explained().view, Live(), "d1.test", lambda domain: None, "404", probe=True)

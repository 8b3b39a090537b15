"""Each link of a host's chain with its age, and every Envoy that is connected, in pages."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tracked_world import Envoy, World, view_of

from xds.cache import Cache
from xds.errors import PointsmanError
from xds.gds.model import PutDomain
from xds.http.app import create_app
from xds.http.explain import explained
from xds.http.live import Live
from xds.protocol.stream import Stream
from xds.resources.types import CLUSTER, ROUTE, SECRET, Resource, resource


class Explained:
    """The API over a world. ``envoys`` by number."""

    def __init__(self) -> None:
        self.world = World(domains=20)
        self.envoys: dict[int, Envoy] = {}
        self.view = view = view_of(
            self.world,
            streams=lambda: [envoy.stream for envoy in self.envoys.values()],
            streams_after=self._after,
            clock=lambda: self.world.now,
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
        "cluster": (107.0, True),
        "endpoints": (107.0, True),
    }
    assert found["scope"]["version"]
    assert found["cluster"]["endpoints_version"]


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


async def test_a_place_that_is_none_and_a_host_that_is_none_are_refused() -> None:
    explained = Explained()
    for path in ("d1.test/explain/envoys?cursor=x", "d1.test/explain/envoys?limit=0", "no%20host/explain/envoys"):
        answer = await explained.client.get(f"/api/v1/domains/{path}")
        assert answer.status_code in (400, 422)


async def test_a_probe_that_cannot_be_made_is_told_as_it_is_and_not_as_one_of_a_group() -> None:
    with pytest.raises(PointsmanError, match=r"setting http\.probe"):
        await explained(Explained().view, Live(), "d1.test", lambda domain: None, "404", probe=True)

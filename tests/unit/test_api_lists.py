"""Lists of the API: each thing once, whatever is between, and only what differs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from tracked_world import Envoy, World, view_of

from xds.certificates.checks import Facts
from xds.certificates.index import Aside, Entry
from xds.certificates.layouts import Place
from xds.edge_tls import EdgeTls, Options
from xds.gds.model import BadRecord, Pod, PutDomain, PutPod
from xds.http.app import create_app
from xds.operator import Operator
from xds.unknown_hosts import UnknownHosts


class Holding:
    """Says what is held; nobody orders anything of it here."""

    def __init__(self, held: dict[str, tuple[str | None, str | None]]) -> None:
        self._held = held

    def held(self) -> list[str]:
        return list(self._held)

    def waits(self, domain: str) -> tuple[str | None, str | None] | None:
        return self._held.get(domain)


class Api:
    def __init__(self, world: World, *envoys: Envoy, operator: Holding | None = None, **more: Any) -> None:
        self.world = world
        view = view_of(world, streams=lambda: [envoy.stream for envoy in envoys], clock=lambda: world.now, **more)
        app = create_app(view, cast(Operator | None, operator))
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pointsman")

    async def pages(self, path: str, **query: object) -> list[dict[str, object]]:
        """All pages together."""
        found: list[dict[str, object]] = []
        cursor = ""
        for _ in range(1_000):
            answer = await self.http.get(f"/api/v1/{path}", params={**query, "cursor": cursor})  # type: ignore[dict-item]
            assert answer.status_code == 200, answer.text
            found += answer.json()["items"]
            if answer.json()["next"] is None:
                return found
            cursor = answer.json()["next"]
        raise AssertionError("the pages have no end")


@pytest.fixture(params=[10_000, 8], ids=["ordinary", "split"])
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    """With and without a pair of first characters that is spread over all tables."""
    made = Api(World(domains=60, tables=8, crowded=request.param))
    made.world.change(2, PutDomain("*.wild.test", "pod2"), PutDomain("other.test", "pod2"))
    async with made.http:
        yield made


async def test_every_domain_is_listed_once(api: Api) -> None:
    expected = sorted(api.world.pipeline.directory.domains)
    for limit in (1, 7, 1000):
        assert sorted(str(one["domain"]) for one in await api.pages("domains", limit=limit)) == expected


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"pod": "pod2"}, 2),
        ({"prefix": "d"}, 60),
        ({"prefix": "d5"}, 11),
        ({"prefix": "D5.TEST"}, 1),
        ({"prefix": "*"}, 1),
        ({"prefix": "*.wild"}, 1),
        ({"prefix": "d5", "pod": "pod2"}, 0),
    ],
)
async def test_domains_are_found_by_pod_and_by_how_they_begin(api: Api, query: dict[str, str], count: int) -> None:
    assert len(await api.pages("domains", limit=4, **query)) == count


async def test_a_pod_that_is_not_there_has_no_list(api: Api) -> None:
    answer = await api.http.get("/api/v1/domains", params={"pod": "nobody"})
    assert (answer.status_code, "nobody" in answer.text) == (404, True)


async def test_a_page_goes_on_where_it_was_though_a_domain_is_gone() -> None:
    api = Api(World(domains=30, tables=1))
    async with api.http:
        first = (await api.http.get("/api/v1/domains", params={"limit": 10})).json()
        last = first["items"][-1]["domain"]
        api.world.snapshot(2, {name: "pod1" for name in api.world.pipeline.directory.domains if name != last})
        rest = (await api.http.get("/api/v1/domains", params={"limit": 100, "cursor": first["next"]})).json()
        names = [one["domain"] for one in (*first["items"], *rest["items"])]
        assert len(names) == len(set(names)) == 30


async def test_every_record_set_aside_is_listed_once_the_pods_first() -> None:
    api = Api(World())
    names = [f"homeless{number}.test" for number in range(9)]
    bad = BadRecord("pod", "pod9", "no endpoint of it has an address")
    api.world.change(2, *(PutDomain(name, "nowhere") for name in reversed(names)), bad)
    async with api.http:
        for limit in (1, 7, 1_000):
            assert [one["name"] for one in await api.pages("set-aside", limit=limit)] == ["pod9", *names]


async def test_every_unknown_host_is_listed_once_those_asked_for_most_first() -> None:
    counted = UnknownHosts(10)
    for number in range(9):
        for _ in range(1 + number // 3):
            counted.add(f"h{number}.test")
    counted.add("\ufffd.test")
    api = Api(World(), unknown_hosts=counted)
    expected = [f"h{number}.test" for number in (6, 7, 8, 3, 4, 5, 0, 1, 2)] + ["\ufffd.test"]
    async with api.http:
        for limit in (1, 4, 1_000):
            assert [one["host"] for one in await api.pages("unknown-hosts", limit=limit)] == expected
        told = (await api.http.get("/api/v1/unknown-hosts", params={"limit": 2})).json()
    assert (told["counting"], told["requests"], told["total"]) == (True, 19, 10)


async def test_every_certificate_is_listed_once_those_that_expire_first_first(tmp_path: Path) -> None:
    tls = EdgeTls(Options(tmp_path, "edge"), lambda update: None, lambda tls: None, lambda host: False)
    names = [f"c{number}.test" for number in range(9)]
    for number, name in enumerate(names):
        tls.index.put(Entry(Place(name, 0), Facts((name,), 0.0, 86_400.0 * (1 + number // 4), "EC P-256")), 0.0)
        tls.index.put_aside(f"bad {name} \u00e4", Aside("key", "why"), keep=False)
    api = Api(World(), tls=tls)
    async with api.http:
        for limit in (1, 4, 1_000):
            assert [one["name"] for one in await api.pages("certificates", limit=limit)] == names
            aside = await api.pages("certificates/set-aside", limit=limit)
            assert [one["certificate"] for one in aside] == [f"bad {name} \u00e4" for name in names]


@pytest.mark.parametrize(
    "path", ["domains", "pods", "nodes", "revisions", "diff", "audit", "set-aside", "unknown-hosts"]
)
async def test_a_cursor_that_is_none_is_a_problem(path: str) -> None:
    api = Api(World())
    async with api.http:
        answer = await api.http.get(f"/api/v1/{path}", params={"cursor": "no such thing"})
        assert answer.status_code in (401, 422)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code


async def test_a_change_that_no_envoy_has_is_not_called_complete_unless_none_is_demanded() -> None:
    world = World()
    api = Api(world)
    async with api.http:
        url = "/api/v1/revisions/1"
        assert (await api.http.get(url)).json()["state"] == "published"
        assert (await api.pages("revisions"))[0]["state"] == "published"
        assert (await api.http.get(url, params={"envoys": 0})).json()["complete"]
        Envoy(world).subscribe()
        world.tracker.look()
        assert (await api.http.get(url)).json()["complete"]
        assert (await api.pages("revisions"))[0]["state"] == "complete"
        two = (await api.http.get(url, params={"envoys": 2})).json()
        assert (two["complete"], two["envoys"]["have"]) == (False, 1)


async def test_what_an_envoy_lacks_is_told_with_what_it_has() -> None:
    world = World()
    good, bad = Envoy(world, "good"), Envoy(world, "bad")
    for envoy in (good, bad):
        envoy.subscribe()
    api = Api(world, good, bad)
    async with api.http:
        assert await api.pages("diff") == []
        world.change(2, PutDomain("d1.test", "pod2"))
        assert len(await api.pages("diff", limit=1)) == 2
        good.take()
        bad.take("no such pod")
        (one,) = await api.pages("diff")
        assert (one["node"], one["type"], one["reason"]) == ("bad", "route", "no such pod")
        assert None not in (one["from"], one["to"])
        assert one["from"] != one["to"]
        assert await api.pages("diff", node="good") == []


async def test_an_explanation_shows_the_envoys_that_lack_something_first() -> None:
    world = World()
    good, late = Envoy(world, "good"), Envoy(world, "late")
    for envoy in (good, late):
        envoy.subscribe()
    world.change(2, PutDomain("d1.test", "pod2"))
    good.take()
    api = Api(world, good, late)
    async with api.http:
        found = (await api.http.get("/api/v1/domains/d1.test/explain")).json()
    assert (found["envoys"]["connected"], found["envoys"]["have_it"]) == (2, 1)
    first, second = found["envoys"]["shown"]
    assert (first["node"], first["has_it"], second["node"], second["has_it"]) == ("late", False, "good", True)
    (table,) = [one for one in first["resources"] if one["type"] == "route"]
    assert table["acked"] != table["wanted"]
    assert found["record"]["previous_pod"] == "pod1"


async def test_what_is_held_is_listed_once_by_name_and_then_what_envoys_lack(api: Api) -> None:
    held = {f"h{number:03}.test": (None, "pod1") for number in range(25)}
    envoys = [Envoy(api.world, f"edge-{number}") for number in (2, 1)]
    for envoy in envoys:
        envoy.subscribe()
    api.world.change(3, PutDomain("d1.test", "pod2"))
    made = Api(api.world, *envoys, operator=Holding(held))
    async with made.http:
        for limit in (1, 7, 1_000):
            found = await made.pages("diff", limit=limit)
            assert [one["name"] for one in found if one["kind"] == "held"] == sorted(held)
            assert [one["node"] for one in found[25:]] == ["edge-1", "edge-2"]


async def test_a_list_of_differences_goes_on_where_it_was_though_what_was_told_is_gone() -> None:
    world = World(tables=64)
    envoys = [Envoy(world, f"edge-{number}") for number in range(4)]
    for envoy in envoys:
        envoy.subscribe()
    held: dict[str, tuple[str | None, str | None]] = {f"h{number}.test": (None, "pod1") for number in range(4)}
    world.change(2, *(PutDomain(f"d{number}.test", "pod2") for number in range(8)))
    api = Api(world, *envoys, operator=Holding(held))
    async with api.http:
        whole = [(one["node"], one["name"]) for one in await api.pages("diff", limit=1_000)]
        found, cursor = [], ""
        for _ in range(len(whole)):
            answer = (await api.http.get("/api/v1/diff", params={"limit": 1, "cursor": cursor})).json()
            (one,) = answer["items"]
            found.append((one["node"], one["name"]))
            held.pop(one["name"], None)
            if one["node"] == "edge-1":
                envoys[1].take()  # and lacks nothing any more
            cursor = answer["next"]
            if cursor is None:
                break
    assert cursor is None
    assert len(found) == len(set(found))
    assert [one for one in whole if one[0] != "edge-1"] == [one for one in found if one[0] != "edge-1"]


async def test_when_each_envoy_had_a_change_is_listed_once_in_pages() -> None:
    world = World()
    envoys = [Envoy(world, f"edge-{number}") for number in range(9)]
    for envoy in envoys:
        envoy.subscribe()
    world.change(2, PutDomain("d1.test", "pod2"))
    for envoy in envoys[:6]:
        envoy.take()
    api = Api(world, *envoys)
    async with api.http:
        first = (await api.http.get("/api/v1/revisions/2/trace", params={"limit": 4})).json()
        for envoy in envoys[6:]:
            envoy.take()
        query = {"limit": 5, "cursor": first["next"]}
        second = (await api.http.get("/api/v1/revisions/2/trace", params=query)).json()
        whole = (await api.http.get("/api/v1/revisions/2/trace")).json()
    assert (len(whole["acks"]), whole["total"], whole["next"], second["next"]) == (9, 9, None, None)
    assert first["acks"] + second["acks"] == whole["acks"]


async def test_certificates_that_are_gone_or_readable_are_listed_by_themselves(tmp_path: Path) -> None:
    tls = EdgeTls(Options(tmp_path, "edge"), lambda update: None, lambda tls: None, lambda host: False)
    for number in range(30):
        facts = Facts((f"c{number}.test",), 0.0, 86_400.0 * (1 + number // 4), "EC P-256")
        tls.index.put(Entry(Place(f"c{number}.test", 0), facts, readable=number % 3 == 0), 0.0)
        if number % 2:
            tls.folder.missing[f"c{number}.test"] = None
    api = Api(World(), tls=tls)
    async with api.http:
        for only, step, first in (("readable", 3, 0), ("missing", 2, 1)):
            names = {f"c{number}.test" for number in range(first, 30, step)}
            for limit in (1, 4, 1_000):
                found = [one["name"] for one in await api.pages("certificates", limit=limit, only=only)]
                assert set(found) == names
                assert len(found) == len(names)
            answer = (await api.http.get("/api/v1/certificates", params={"only": only, "limit": 2})).json()
            assert (answer["total"], len(answer["items"])) == (len(names), 2)


async def test_pages_of_records_and_hosts_go_on_though_what_was_told_is_gone() -> None:
    world = World()
    world.change(2, *(PutDomain(f"homeless{number}.test", "nowhere") for number in range(9)))
    counted = UnknownHosts(20)
    for number in range(9):
        counted.add(f"h{number}.test")
    api = Api(world, unknown_hosts=counted)
    async with api.http:
        first = (await api.http.get("/api/v1/set-aside", params={"limit": 3})).json()
        gone = [one["name"] for one in first["items"]]
        world.change(3, *(PutDomain(name, "pod1") for name in gone))
        rest = (await api.http.get("/api/v1/set-aside", params={"cursor": first["next"]})).json()
        assert [one["name"] for one in rest["items"]] == [f"homeless{number}.test" for number in range(3, 9)]
        first = (await api.http.get("/api/v1/unknown-hosts", params={"limit": 3})).json()
        rest = (await api.http.get("/api/v1/unknown-hosts", params={"cursor": first["next"]})).json()
        assert len({one["host"] for one in (*first["items"], *rest["items"])}) == 9


async def test_pages_of_pods_and_receipts_go_on_though_there_are_others() -> None:
    world = World()
    for revision in range(2, 12):
        world.change(revision, PutDomain("d1.test", f"pod{1 + revision % 2}"))
    api = Api(world)
    async with api.http:
        first = (await api.http.get("/api/v1/revisions", params={"limit": 4})).json()
        world.change(12, PutDomain("d2.test", "pod2"))
        rest = (await api.http.get("/api/v1/revisions", params={"cursor": first["next"]})).json()
        told = [one["revision"] for one in (*first["items"], *rest["items"])]
        assert told == list(range(11, 0, -1)), "each once, and the newest is on a first page only"
        first = (await api.http.get("/api/v1/pods", params={"limit": 1})).json()
        world.change(13, PutPod(Pod("pod0")))
        rest = (await api.http.get("/api/v1/pods", params={"cursor": first["next"]})).json()
        assert [one["name"] for one in rest["items"]] == ["pod2"]


async def test_a_host_of_a_split_pair_is_explained_with_both_scopes() -> None:
    world = World(domains=60, tables=8, crowded=8)
    envoy = Envoy(world)
    envoy.subscribe()
    async with (api := Api(world, envoy)).http:
        found = (await api.http.get("/api/v1/domains/d11.test/explain")).json()
    assert found["scope"]["split"]
    assert found["scope"]["table"] != found["table"]
    assert len([one for one in found["envoys"]["shown"][0]["resources"] if one["type"] == "scope"]) == 2

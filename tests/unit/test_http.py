"""What the control plane says of itself over HTTP."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.routing import Route

from xds.directory import Directory
from xds.gds.mirror import MirrorStatus
from xds.gds.model import Pod, PutDomain, Snapshot, Transaction
from xds.http.access import GUARDED
from xds.http.app import create_app
from xds.http.page.render import PAGES
from xds.http.view import Counts, View
from xds.protocol.state import TypeState
from xds.resources.routes import RouteTables
from xds.server.refusals import Kind
from xds.server.streams import NodeState
from xds.tracker import Tracker

NODE = NodeState("edge-1", "edge", "envoy 1.40.0", "ipv4:127.0.0.1:5", "edge-1", "delta", 1.0, [TypeState("route")], 1)


class Plane:
    """The parts that are looked at, and a client that looks."""

    def __init__(self, stale_after: float | None = None) -> None:
        self.directory = Directory()
        self.mirror = MirrorStatus()
        self.nodes: list[NodeState] = []
        refused: Counter[Kind] = Counter(handshake=3, claim=1)
        self.now = 100.0
        view = View(
            self.directory,
            self.mirror,
            RouteTables(512),
            lambda: self.nodes,
            lambda: Counts(5, 7, 2, 9, refused),
            stale_after=stale_after,
            clock=lambda: self.now,
            tracker=Tracker(self.directory, publishes=lambda: 0, changes=lambda: 0, held=lambda: False),
            nodes_after=lambda number, most: [one for one in self.nodes if one.number > number][:most],
        )
        self.app = create_app(view)
        transport = httpx.ASGITransport(self.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://pointsman")

    def fill(self) -> None:
        domains = [("acme.example.com", "pod1"), ("*.wild.test", "pod2"), ("homeless.test", "pod9")]
        self.directory.replace(Snapshot("e", 4, (Pod("pod1"), Pod("pod2")), domains))

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(path)


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    made = Plane()
    async with made.client:
        yield made


async def test_it_lives_before_it_is_ready_and_is_ready_once_the_directory_is_complete(plane: Plane) -> None:
    assert (await plane.get("/healthz")).status_code == 200
    unready = await plane.get("/readyz")
    assert (unready.status_code, unready.json()["ready"]) == (503, False)
    assert "no whole snapshot" in unready.json()["unready"]
    plane.fill()
    answer = await plane.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() | {"gds": "starting"} == answer.json()
    assert (answer.json()["domains"], answer.json()["pods"], answer.json()["revision"]) == (2, 2, 4)


@pytest.mark.parametrize(("stale_after", "status"), [(None, 200), (600.0, 503)])
async def test_it_says_how_long_gds_is_silent_and_stays_ready_unless_told_otherwise(
    stale_after: float | None, status: int
) -> None:
    plane = Plane(stale_after)
    plane.fill()
    assert (await plane.get("/readyz")).json()["gds_silent_seconds"] is None
    plane.mirror.heard_at = 90.0
    told = await plane.get("/readyz")
    assert (told.status_code, told.json()["gds_silent_seconds"], told.json()["stale"]) == (200, 10.0, False)
    plane.now += 600
    told = await plane.get("/readyz")
    assert (told.status_code, told.json()["gds_silent_seconds"]) == (status, 610.0)
    assert told.json()["stale"] is (status == 503)
    assert "pointsman_gds_silent_seconds 610.0" in (await plane.get("/metrics")).text.splitlines()


async def test_a_host_is_told_its_pod_its_table_and_the_revision_that_said_so(plane: Plane) -> None:
    plane.fill()
    plane.directory.apply(Transaction("e", 5, (PutDomain("acme.example.com", "pod2"),)))
    told = (await plane.get("/api/v1/domains/ACME.example.com.:443")).json()
    table = told.pop("table")
    assert told == {"host": "acme.example.com", "domain": "acme.example.com", "pod": "pod2", "revision": 5}
    assert table.startswith("table-")


async def test_a_host_under_a_wildcard_is_told_the_wildcard(plane: Plane) -> None:
    plane.fill()
    told = (await plane.get("/api/v1/domains/any.wild.test")).json()
    assert (told["domain"], told["pod"]) == ("*.wild.test", "pod2")


@pytest.mark.parametrize(
    ("host", "status", "word"),
    [
        ("nobody.test", 404, "is on no pod at revision 4"),
        ("homeless.test", 404, "'pod9' is not in the directory"),
        ("not a host", 400, "not a lower-case host name"),
    ],
)
async def test_a_host_that_goes_nowhere_is_told_why(plane: Plane, host: str, status: int, word: str) -> None:
    plane.fill()
    answer = await plane.get(f"/api/v1/domains/{host}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert word in answer.json()["detail"]


async def test_before_the_first_snapshot_no_host_is_said_to_be_unknown(plane: Plane) -> None:
    assert (await plane.get("/api/v1/domains/acme.example.com")).status_code == 503


async def test_records_set_aside_are_listed_with_their_reason(plane: Plane) -> None:
    plane.fill()
    told = (await plane.get("/api/v1/set-aside")).json()
    assert told["total"] == 1
    assert told["items"][0]["name"] == "homeless.test"


async def test_nodes_are_listed_type_by_type(plane: Plane) -> None:
    assert (await plane.get("/api/v1/nodes")).json() == {"items": [], "next": None, "total": 0}
    plane.nodes = [NODE]
    (told,) = (await plane.get("/api/v1/nodes")).json()["items"]
    assert (told["node"], told["variant"], told["types"][0]["type"]) == ("edge-1", "delta", "route")


async def test_metrics_are_prometheus_text(plane: Plane) -> None:
    plane.fill()
    plane.nodes = [NODE]
    text = (await plane.get("/metrics")).text
    for line in (
        "pointsman_domains 2.0",
        "pointsman_records_set_aside 1.0",
        "pointsman_directory_complete 1.0",
        "pointsman_publishes_total 5.0",
        "pointsman_isolation_searches_total 2.0",
        'pointsman_orders_total{outcome="denied"} 0.0',
        "pointsman_audit_failing 0.0",
        'pointsman_xds_refused_total{kind="handshake"} 3.0',
        'pointsman_responses_nacked_total{node="edge-1",type="route"} 0.0',
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/api/docs", "/docs/oauth2-redirect"])
async def test_no_page_runs_what_another_host_serves(plane: Plane, path: str) -> None:
    answer = await plane.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_no_page_that_is_served_names_another_origin(plane: Plane) -> None:
    plane.fill()
    of_the_framework = {route.path for route in plane.app.routes if isinstance(route, Route)}
    ours = {"/", "/explain", "/explain?host=acme.example.com", *(f"/{page}" for page in PAGES)}
    ours -= GUARDED
    pages = set()
    for path in of_the_framework | ours:
        answer = await plane.get(path)
        if answer.headers.get("content-type", "").startswith("text/html"):
            pages.add(path)
            named = re.findall(r"""(?:src|href|action|url)\s*[=:(]\s*['"]?\s*((?:https?:)?//[^'"\s>)]+)""", answer.text)
            assert named == [], path
    assert pages == ours

"""Everybody is asked for every host: what differs is told, within bounds, and nobody is asked in vain for ever."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import httpx
import pytest
from answering_gds import AnsweringGds, answering
from answering_gds import Said as Answer

from xds.compare.run import Bounds, compare
from xds.compare.sources import ControlPlane, Edge, Gds
from xds.compare.verdict import CONTROL_PLANE, EDGE, GDS, MAP, Row, Said, Tally
from xds.errors import CompareError
from xds.lookup.budget import Budget
from xds.lookup.client import LookupClient

QUICK = Bounds(rate=10_000, settle=0)


@dataclass
class Told:
    """Says what it was told, host by host; else that it is unknown."""

    name: str
    pods: dict[str, Said] = field(default_factory=dict)
    otherwise: Said = field(default_factory=Said)
    failures: int = 5
    asked: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        return self.name

    async def said(self, host: str) -> Said:
        self.asked.append(host)
        return self.pods.get(host, self.otherwise)


def pods(**said: str) -> dict[str, Said]:
    return {f"{name}.test": Said(pod) for name, pod in said.items()}


def hosts(count: int) -> Iterable[tuple[str, str]]:
    return ((f"h{number}.test", "") for number in range(count))


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ({MAP: Said("pod1"), GDS: Said("pod1"), CONTROL_PLANE: Said("pod1"), EDGE: Said("pod1")}, "equal"),
        ({MAP: Said("pod1"), GDS: Said("pod2")}, "different"),
        ({MAP: Said("pod1"), GDS: Said()}, "different"),
        ({GDS: Said(), CONTROL_PLANE: Said("pod1")}, "different"),
        ({GDS: Said(), CONTROL_PLANE: Said(), EDGE: Said()}, "equal"),
        ({GDS: Said("pod1"), CONTROL_PLANE: Said(silent=True)}, "equal"),
        ({GDS: Said("pod1"), EDGE: Said(error="503")}, "unanswered"),
        ({MAP: Said("pod1"), GDS: Said("pod2"), EDGE: Said(error="503")}, "different"),
    ],
)
def test_what_is_a_difference(said: Mapping[str, Said], verdict: str) -> None:
    assert Row("a.test", said).verdict == verdict


async def test_every_difference_is_told_and_everybody_is_asked_once() -> None:
    gds = Told(GDS, pods(a="pod1", b="pod2", c="pod3"))
    plane = Told(CONTROL_PLANE, pods(a="pod1", b="pod2", c="pod1"))
    listed = [("a.test", "pod1"), ("b.test", "pod1"), ("c.test", "pod3"), ("d.test", "")]
    seen: list[str] = []
    tally = await compare(listed, [gds, plane], QUICK, lambda row: seen.append(row.host))
    assert [row.host for row in tally.different] == ["b.test", "c.test"]
    assert tally.different[0].as_json() == {
        "host": "b.test",
        "verdict": "different",
        "map": {"pod": "pod1"},
        "gds": {"pod": "pod2"},
        "control_plane": {"pod": "pod2"},
    }
    assert (tally.hosts, tally.equal, tally.unanswered) == (4, 2, [])
    assert sorted(seen) == sorted(gds.asked) == sorted(plane.asked) == ["a.test", "b.test", "c.test", "d.test"]


async def test_a_domain_that_moves_meanwhile_is_asked_for_again_and_is_no_difference() -> None:
    class Moving(Told):
        async def said(self, host: str) -> Said:
            self.asked.append(host)
            return Said("pod2" if len(self.asked) > 1 else "pod1")

    tally = await compare([("a.test", "")], [Told(GDS, pods(a="pod2")), Moving(CONTROL_PLANE)], Bounds(settle=0.01))
    assert (tally.hosts, tally.equal, tally.settled, tally.different) == (1, 1, 1, [])


async def test_one_who_fails_again_and_again_is_not_asked_any_more() -> None:
    gds = Told(GDS, otherwise=Said(error="timed out"))
    with pytest.raises(CompareError, match=r"gds failed 5 times in a row.*timed out"):
        await compare(hosts(1_000), [gds], Bounds(rate=10_000, together=4))
    assert len(gds.asked) < 12


async def test_one_failure_is_told_and_the_rest_goes_on() -> None:
    gds = Told(GDS, {"h3.test": Said(error="timed out")})
    tally = await compare(hosts(10), [gds], QUICK)
    assert ([row.host for row in tally.unanswered], tally.equal, tally.hosts) == (["h3.test"], 9, 10)


def test_gds_is_asked_at_a_steady_pace_whatever_comes_together() -> None:
    budget = Budget(100)

    def wait(now: float) -> float | None:
        return budget.reserve(now, math.inf)

    assert [round(wait(5.0) or 0.0, 2) for _ in range(4)] == [0.0, 0.01, 0.02, 0.03]
    assert wait(60.0) == 0.0
    assert round(wait(60.0) or 0.0, 2) == 0.01


def test_the_tally_of_what_was_asked_again_counts_each_host_once() -> None:
    tally = Tally()
    row = Row("a.test", {MAP: Said("pod1"), GDS: Said("pod2")})
    tally.count(row)
    tally.different.clear()
    tally.count_again(row)
    assert (tally.hosts, tally.equal, tally.settled, tally.different) == (1, 0, 0, [row])


@pytest.fixture
def server() -> Iterator[AnsweringGds]:
    with answering() as made:
        yield made


async def test_no_more_than_the_bounds_are_asked_of_gds_together(server: AnsweringGds) -> None:
    server.otherwise = Answer(b"pod1", after=0.02)
    async with LookupClient(server.url) as client:
        tally = await compare(hosts(60), [Gds(client)], Bounds(rate=10_000, together=5))
    assert (tally.equal, len(server.asked)) == (60, 60)
    assert 1 < server.most_together <= 5


async def test_gds_errors_are_answers_of_their_own(server: AnsweringGds) -> None:
    server.otherwise = Answer(b"<html>", kind="text/html")
    async with LookupClient(server.url) as client:
        said = await Gds(client).said("a.test")
    assert "text/html, not text/plain" in said.error


@pytest.mark.parametrize(
    ("answer", "lookup", "said"),
    [
        (Answer(json.dumps({"pod": "pod1"}).encode()), False, Said("pod1")),
        (Answer(b'{"detail": "on no pod"}', 404), False, Said()),
        (Answer(b'{"detail": "on no pod"}', 404), True, Said(silent=True)),
        (Answer(b'{"detail": "no whole snapshot"}', 503), False, Said(error="503: no whole snapshot")),
    ],
)
async def test_what_the_control_plane_says(server: AnsweringGds, answer: Answer, lookup: bool, said: Said) -> None:
    server.otherwise = answer
    async with httpx.AsyncClient() as http:
        assert await ControlPlane(server.url, http, lookup=lookup).said("a.test") == said


@pytest.mark.parametrize("answer", [Answer(b"<html>"), Answer(b"[]"), Answer(b"{}"), Answer(b"1", 503)])
async def test_what_is_no_control_plane_is_an_error(server: AnsweringGds, answer: Answer) -> None:
    server.otherwise = answer
    async with httpx.AsyncClient() as http:
        assert "--url" in (await ControlPlane(server.url, http, lookup=False).said("a.test")).error
        assert "--url" in (await ControlPlane("http://127.0.0.1:9", http, lookup=False).said("a.test")).error


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(headers={"x-pod": "pod1"}), Said("pod1")),
        (Answer(status=404, headers={"x-pod": "pod1"}), Said("pod1")),
        (Answer(status=404), Said()),
        (Answer(status=404, headers={"x-pod": "-"}), Said()),
        (Answer(status=503), Said(error="503 without a header x-pod (setting edge.pod_header)")),
        (Answer(headers={"x-pod": "pod 1"}), Said(error="header x-pod: 'pod 1' is no pod's name")),
    ],
)
async def test_what_the_edge_says(server: AnsweringGds, answer: Answer, said: Said) -> None:
    server.otherwise = answer
    async with httpx.AsyncClient() as http:
        assert await Edge(server.url, "/", "x-pod", http).said("a.test") == said
    path, headers = server.asked[0]
    assert (path, headers["host"]) == ("/rest/", "a.test")


async def test_an_edge_that_is_asked_too_often_is_asked_again() -> None:
    answers = iter([httpx.Response(429), httpx.Response(200, headers={"x-pod": "pod1"})])
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda request: next(answers))) as http:
        assert await Edge("http://edge.test", "/", "x-pod", http).said("a.test") == Said("pod1")


async def test_what_a_pod_says_is_taken_at_once_whatever_its_status() -> None:
    answers = iter([httpx.Response(429, headers={"x-pod": "pod1"})])
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda request: next(answers))) as http:
        assert await Edge("http://edge.test", "/", "x-pod", http).said("a.test") == Said("pod1")

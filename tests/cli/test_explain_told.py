"""What ``explain``, ``history``, ``trace`` and ``watch`` say of who made a change, and of a very large fleet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from command import pointsman, said
from stub_control_plane import StubControlPlane

from xds.cli.watch import _said

ENVOYS = 2_345
HOSTILE = "\x1b[31mada\x07 [bold red]x[/] <b>\r\n"


def envoy(number: int) -> dict[str, Any]:
    copy = {"type": "route", "name": "table-1", "wanted": "v2", "sent": "v2", "in_flight": False, "rejected": None}
    lacks = number % 1_000 == 999
    copy |= {"acked": "v1" if lacks else "v2", "error": None}
    return {"node": f"edge-{number}", "has_it": not lacks, "connected_seconds": 1.0, "resources": [copy], "live": None}


class Fleet(StubControlPlane):
    """A control plane with very many Envoys; ``record`` has what a test says of the record's author."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.record: dict[str, Any] = {"by": None, "committed_at": None, "source": None, "unknown_because": "why not"}
        self.certificate: dict[str, Any] | None = None
        self.old = self.well = False
        self.acks = 0
        self.receipt: dict[str, Any] = {}
        super().__init__(self._answered)

    def _answered(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        place, query = urlsplit(path).path, parse_qs(urlsplit(path).query)
        if place.endswith("/explain/envoys"):
            after, limit = int(query.get("cursor", ["0"])[0]), int(query["limit"][0])
            items = [envoy(number) for number in range(after, min(after + limit, ENVOYS))]
            more = str(after + limit) if after + limit < ENVOYS else None
            return 200, {"items": items, "next": more, "total": ENVOYS}
        if place.endswith("/explain"):
            return 200, self._explanation()
        receipt = {
            "revision": 7, "epoch": "E", "state": "complete", "received_at": 1.0, "published_at": 2.0, "kind": "change",
            "completed_at": 2.0, "changes": 1, "first_changes": [], "envoys": None, "nacks": [], "refused": [],
            "refused_more": 0, "seconds": None, "by": HOSTILE, "committed_at": 1.0,
            **self.receipt,
        }  # fmt: skip
        if place.endswith("/trace"):
            after, limit = int(query.get("cursor", ["0"])[0]), int(query["limit"][0])
            acks = [{"node": f"edge-{number}", "seconds": number / 1000} for number in range(self.acks)]
            more = str(after + limit) if after + limit < self.acks else None
            return 200, receipt | {"acks": acks[after : after + limit], "next": more, "total": self.acks}
        return 200, receipt if place.endswith("/7") else {"items": [receipt], "next": None, "total": 1}

    def _explanation(self) -> dict[str, Any]:
        age = None if self.old else {"seconds": 240.0, "since_start": False}
        start = None if self.old else {"seconds": 7_200.0, "since_start": True}
        record = {"domain": "a.test", "pod": "pod1", "revision": 7, "received_at": None, "previous_pod": None}
        cluster = {"name": "pod1", "version": "c1", "datacenter": "", "endpoints": [], "max_connections": 1, "age": age}
        if self.well:
            cluster["endpoints"] = [{"address": "192.0.2.1", "port": 80, "zone": "", "weight": 1, "health": "healthy"}]
        return {
            "host": "a.test", "epoch": "E", "revision": 7, "published": 7, "routed": True, "answer": "", "notes": [],
            "record": record | self.record, "scope": {"key": "a.", "name": "s", "table": "table-1", "split": False},
            "table": "table-1", "table_version": "t1", "table_age": start, "virtual_host": "pod1", "route": "r",
            "virtual_host_version": None if self.old else "h1", "virtual_host_age": age,
            "cluster": cluster, "certificate": self.certificate, "probe": None,
            "envoys": {
                "connected": ENVOYS, "have_it": ENVOYS - 2 * (not self.well), "rejecting": 0, "shown": [envoy(999)]
            },
        }  # fmt: skip


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    found = Fleet()
    yield found
    found.close()


def test_every_envoy_of_a_large_fleet_is_listed_page_by_page_those_that_lack_something_first(fleet: Fleet) -> None:
    shown = said("explain", "a.test", "--all", "--url", fleet.url, code=3)["envoys"]["shown"]
    assert sorted(one["node"] for one in shown) == sorted(f"edge-{number}" for number in range(ENVOYS))
    assert [one["node"] for one in shown[:2]] == ["edge-999", "edge-1999"]
    assert sum("/explain/envoys" in path for path in fleet.asked) == 24, "each page has time to ask its Envoys itself"
    lines = pointsman("explain", "a.test", "--all", "--url", fleet.url).stdout.splitlines()
    assert sum(line.startswith("edge-") for line in lines) == ENVOYS


def test_without_all_no_page_of_envoys_is_asked_for(fleet: Fleet) -> None:
    done = pointsman("explain", "a.test", "--url", fleet.url)
    assert "and 1 that lack something of it and 2,343 that have it (--all)" in done.stdout
    assert not any("/explain/envoys" in path for path in fleet.asked)


def test_a_url_is_explained_by_its_host_with_the_envoys_of_each_control_plane_named(fleet: Fleet) -> None:
    address = f"{fleet.url}/"
    told = said("explain", "https://a.test/path?x=1", "--url", fleet.url, "--url", address, code=3)
    assert {urlsplit(path).path for path in fleet.asked} == {"/api/v1/domains/a.test/explain"}
    assert told["envoys"]["connected"] == 2 * ENVOYS


def test_who_made_the_record_and_when_or_why_that_is_not_known(fleet: Fleet) -> None:
    def made() -> str:
        lines = pointsman("explain", "a.test", "--url", fleet.url).stdout.splitlines()
        (line,) = (line for line in lines if line.startswith("  made"))
        return " ".join(line.split())

    assert made() == "made by whom and when isn't known: why not"
    fleet.record = {"by": "ada", "committed_at": time.time() - 600, "source": "gds", "unknown_because": None}
    assert made().startswith("made by ada, 10 min ago (20")
    assert made().endswith("as GDS says")
    fleet.record |= {"source": "change", "committed_at": None}
    assert made() == "made by ada, at a time that isn't told, as the change said when it came"
    fleet.record = {}
    assert "older one" in made()


def test_each_link_says_since_when_it_is_so(fleet: Fleet) -> None:
    told = pointsman("explain", "a.test", "--url", fleet.url).stdout
    assert "pod1, version c1, published 4 min ago" in told
    assert "pod1, version h1, published 4 min ago" in told
    assert "table-1, version t1, as it was 2 h ago at the start; how old it was then isn't known" in told
    fleet.old = True
    assert "pod1, version c1\n" in pointsman("explain", "a.test", "--url", fleet.url).stdout


def test_of_many_envoys_that_have_a_change_those_are_traced_that_took_longest(fleet: Fleet) -> None:
    fleet.acks = 2_345
    lines = pointsman("trace", "7", "--url", fleet.url).stdout.splitlines()
    assert len(lines) < 25
    (whole,) = (line for line in lines if "2,345 Envoys" in line)
    assert " ".join(whole.split()) == (
        "ACKed by 2,345 Envoys: the first 0.0 ms after that, median 1.17 s, p99 2.32 s, the last 2.34 s"
    )
    assert [line.rpartition(" ")[2] for line in lines if ", by edge-" in line] == [
        f"edge-{number}" for number in range(2_335, 2_345)
    ]
    every = pointsman("trace", "7", "--all", "--url", fleet.url).stdout
    assert every.count(", by edge-") == 2_345
    fleet.acks = 10
    few = pointsman("trace", "7", "--url", fleet.url).stdout
    assert (few.count(", by edge-"), "--all" in few) == (10, False)


def test_for_programs_a_trace_has_every_envoy(fleet: Fleet) -> None:
    fleet.acks = 2_345
    told = said("trace", "7", "--url", fleet.url)
    assert (len(told["acks"]), told["acks"][-1]["node"], told["next"]) == (2_345, "edge-2344", None)


def test_who_lacks_a_change_or_rejected_it_comes_before_those_that_have_it(fleet: Fleet) -> None:
    fleet.acks = 500
    envoys = {"total": 502, "acked": 500, "pending": 2, "missing": 0, "left": 0, "nacked": 2, "joining": 0, "have": 500}
    nack = {"type": "route", "reason": "no", "at": 1e9}
    nacks = [{**nack, "node": "edge-a", "mended": False}, {**nack, "node": "edge-b", "mended": True}]
    fleet.receipt = {"state": "published", "envoys": envoys, "lacking": ["edge-a", "edge-c"], "missing": [],
                     "nacks": nacks, "completed_at": None}  # fmt: skip
    lines = [" ".join(line.split()) for line in pointsman("trace", "7", "--url", fleet.url).stdout.splitlines()]
    worst = [
        "not at 2 connected without it (edge-a, edge-c)",
        "NACKed 2001-09-09 01:46:40 UTC by edge-a; route: no",
        "NACKed 2001-09-09 01:46:40 UTC by edge-b, mended since; route: no",
    ]
    assert lines[4:8] == [*worst, lines[7]]
    assert lines[7].startswith("ACKed by 500 Envoys")


def test_the_certificate_says_since_when_it_is_the_one_and_from_when_to_when_it_is_valid(fleet: Fleet) -> None:
    dates = {"not_before": "2026-09-01T00:00:00+00:00", "not_after": "2026-12-01T00:00:00+00:00"}
    fleet.certificate = {"name": "edge", "covers": True, "on_demand": False, "days": 60.4, "note": "the service's own"}

    def told() -> str:
        assert fleet.certificate is not None
        fleet.certificate |= dates
        return pointsman("explain", "a.test", "--url", fleet.url).stdout

    assert "edge, the service's own\n" in told(), "an older control plane doesn't say since when"
    fleet.certificate["age"] = {"seconds": 240.0, "since_start": False}
    assert "edge, the service's own, this one for 4 min\n" in told()
    assert "valid from 2026-09-01 00:00:00 UTC to 2026-12-01 00:00:00 UTC, ends in 60 days\n" in told()
    fleet.certificate["age"] = {"seconds": 7_200.0, "since_start": True}
    assert "as it was 2 h ago at the start; since when before that isn't known" in told()
    fleet.certificate["days"] = -3.2
    assert "ended 3 days ago" in told()


@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        ({}, 0),
        ({"days": 0.4}, 0),
        ({"days": -0.4}, 3),
        ({"name": None, "covers": False, "days": None, "not_after": None, "note": "the handshake is refused"}, 3),
    ],
)
def test_a_host_of_which_no_client_gets_a_certificate_that_holds_is_not_well(
    fleet: Fleet, certificate: dict[str, Any], code: int
) -> None:
    fleet.well = True
    shown = {
        "name": "edge",
        "covers": True,
        "on_demand": False,
        "days": 60.4,
        "note": "its own",
        "not_after": "2026-12-01T00:00:00+00:00",
    }
    fleet.certificate = shown | certificate
    assert pointsman("explain", "a.test", "--url", fleet.url).returncode == code


@pytest.mark.parametrize("words", [("history",), ("trace", "7")])
def test_who_made_a_change_is_text_that_a_terminal_does_not_obey(fleet: Fleet, words: tuple[str, ...]) -> None:
    told = pointsman(*words, "--url", fleet.url).stdout
    assert "[bold red]x[/] <b>" in told
    assert not any(one in told for one in "\x1b\x07\r")


def test_a_change_that_flows_by_says_who_made_it() -> None:
    told = {"revision": 7, "first_changes": [{"name": "a.test", "to": "pod1"}], "changes": 1, "by": "ada"}
    assert _said("received", told) == "revision 7, a.test: nowhere → pod1, by ada"

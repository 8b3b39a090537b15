"""Orders to several control planes: all of them are asked, each is reported, and what one couldn't do is said."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from command import ENVIRONMENT, failed, pointsman, said
from edge_harness import until
from stub_control_plane import StubControlPlane

from xds.cli.fleet import addresses, fleet
from xds.cli.plane import Plane
from xds.cli.status import wrongs
from xds.errors import OrderError

NONE: dict[str, Any] = {"state": "none"}
HELD: dict[str, Any] = {
    "state": "held",
    "reason": "moved",
    "text": "1000 domains would be moved",
    "since": 1.0,
    "by": "",
    "changes": None,
    "examples": [],
}


class ControlPlane(StubControlPlane):
    """Its hold, and what it was ordered; ``refuses`` is what it says to every order, with ``status``."""

    def __init__(self, hold: dict[str, Any], refuses: str = "", status: int = 409) -> None:
        self.orders: list[str] = []
        self._hold, self._refuses, self._status = hold, refuses, status
        super().__init__(self._answered)

    def _answered(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        if method == "GET":
            return 200, self._hold
        assert headers["authorization"] == "Bearer the-token-of-all-of-them"
        self.orders.append(path)
        return (self._status, {"detail": self._refuses}) if self._refuses else (200, NONE)


@pytest.fixture
def planes() -> Iterator[list[ControlPlane]]:
    found = [ControlPlane(HELD), ControlPlane(NONE), ControlPlane(HELD, "GDS hasn't answered"), ControlPlane(HELD)]
    yield found
    for one in found:
        one.close()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("the-token-of-all-of-them\n")
    (tmp_path / "token").chmod(0o600)
    return tmp_path / "token"


def urls(*planes: ControlPlane) -> list[str]:
    return [word for plane in planes for word in ("--url", plane.url)]


def test_an_order_goes_to_all_and_what_one_could_not_do_is_said(planes: list[ControlPlane], token: Path) -> None:
    done = pointsman("hold", "release", *urls(*planes), "--token-file", token)
    assert done.returncode == 1
    first, second, third, fourth = done.stdout.splitlines()
    assert (first, fourth) == (f"{planes[0].url}: released", f"{planes[3].url}: released")
    assert second == f"{planes[1].url}: nothing is held"
    assert "NOT DONE" in third
    assert "1 of 4 control planes didn't do it" in done.stderr
    assert "GDS hasn't answered" in done.stderr
    assert [plane.orders for plane in planes] == [["/api/v1/hold/release"], [], *[["/api/v1/hold/release"]] * 2]


def test_one_that_is_away_keeps_no_order_from_the_others(planes: list[ControlPlane], token: Path) -> None:
    words = ["rollback", "to", "E:7", "--url", "http://127.0.0.1:1", *urls(planes[0]), "--token-file", token]
    done = pointsman(*words)
    assert (done.returncode, planes[0].orders) == (1, ["/api/v1/rollback"])


def test_the_settings_name_all_of_them(planes: list[ControlPlane], token: Path) -> None:
    replicas = json.dumps([planes[0].url, planes[3].url])
    settings = token.with_name("pointsman.toml")
    settings.write_text(f'[xds]\nplaintext = true\n[http]\ntoken_file = "token"\nreplicas = {replicas}\n')
    shown = said("hold", "show", "-c", settings, code=3)
    assert [(one["url"], one["answer"]["state"]) for one in shown] == [(planes[n].url, "held") for n in (0, 3)]
    assert [one["error"] for one in said("hold", "release", "-c", settings)] == [None, None]
    assert planes[0].orders == planes[3].orders == ["/api/v1/hold/release"]


def test_a_release_is_refused_when_nothing_is_held_anywhere(planes: list[ControlPlane], token: Path) -> None:
    done = pointsman("hold", "release", *urls(planes[1], planes[1]), "--token-file", token)
    assert (done.returncode, "nothing is held at any of them" in done.stderr) == (1, True)
    assert "409: GDS hasn't answered" in failed("hold", "release", *urls(planes[2]), "--token-file", token)


def settings(folder: Path, *replicas: str) -> Path:
    """Of one of these control planes."""
    made = folder / "pointsman.toml"
    made.write_text(
        f"""
        gds = {{ url = "http://127.0.0.1:1/rest/private/gds" }}
        xds = {{ plaintext = true }}
        state = {{ folder = "." }}
        http = {{ replicas = {json.dumps(replicas)} }}
        """
    )
    return made


def test_control_planes_that_have_not_the_same_token_are_said_to_need_it(tmp_path: Path, token: Path) -> None:
    one, other = ControlPlane(HELD), ControlPlane(HELD, "the token is another one", status=401)
    try:
        done = pointsman("hold", "release", "-c", settings(tmp_path, one.url, other.url))
    finally:
        one.close()
        other.close()
    assert (done.returncode, one.orders) == (1, ["/api/v1/hold/release"])
    assert f"{other.url} says 401" in done.stderr
    assert "need the same token (setting http.token_file)" in done.stderr


def test_the_token_of_the_settings_is_shown_to_their_own_control_planes_alone(tmp_path: Path, token: Path) -> None:
    config = settings(tmp_path, "http://192.0.2.1:18080")
    told = failed("hold", "release", "-c", config, "--url", "http://192.0.2.2:18080", code=1)
    assert "http://192.0.2.2:18080 isn't one of http.replicas" in told
    assert "--token-file" in told
    for url, shown in {"http://192.0.2.1:18080": True, "http://192.0.2.2:18080": False, "http://[::1]:1": True}.items():
        assert ("authorization" in Plane(config, url).at_once(1).headers) == shown, url
    assert "authorization" in Plane(config, "http://192.0.2.2:18080", token).at_once(1).headers


def status(**more: Any) -> dict[str, Any]:
    """Of one with two Envoys, where all is well."""
    nodes = {"connected": 2, "converged": 2, "behind": 0, "nacking": 0, "late": 0, "spared": 0}
    gds = {"state": "following", "revision": 7, "lag_revisions": 0, "silent_seconds": 0.1, "error": ""}
    hold = {"state": "none", "reason": "", "text": "", "since": None}
    counts = {"domains": 30, "pods": 3, "set_aside": 0, "revision": 7, "published": 7}
    return {
        "version": "1",
        "ready": True,
        "unready": "",
        "mode": "watch",
        "started_at": 0.0,
        "now": 60.0,
        "epoch": "E",
        "from_disk": False,
        "state_error": "",
        "audit_error": "",
        "own_certificates": [],
        "gds": gds,
        "hold": hold,
        "nodes": nodes,
        "certificates": None,
        "convergence": {"count": 0, "p50": 0.0, "p99": 0.0, "max": 0.0},
        "lookup": None,
        **counts,
        **more,
    }


@pytest.fixture
def states() -> Iterator[list[StubControlPlane]]:
    """All is well at the first; the second holds something."""
    held = {"state": "held", "reason": "moved", "text": "1000 domains would be moved", "since": 1.0}
    answers = [status(), status(hold=held, revision=9)]
    found = [StubControlPlane(lambda method, path, headers, answer=each: (200, answer)) for each in answers]
    yield found
    for one in found:
        one.close()


def test_the_status_of_all_is_one_and_says_what_is_not_well_where(states: list[StubControlPlane]) -> None:
    well, held = states
    found = said("status", "--url", well.url, "--url", held.url, code=3)
    assert [(one["url"], one["error"], len(one["wrong"])) for one in found["control_planes"]] == [
        (well.url, None, 0),
        (held.url, None, 1),
    ]
    assert found["nodes"]["connected"] == 4
    assert found["wrong"] == [f"{held.url}: {found['control_planes'][1]['wrong'][0]}"]
    lines = pointsman("status", "--url", well.url, "--url", held.url).stdout.splitlines()
    assert lines[1].split() == [well.url, "ready", "30", "7", "7", "following", "2", "0", "0", "nothing"]
    assert lines[2].split()[-1] == "held"
    assert "4 connected to 2 control planes that answer, of 2" in lines[3]
    assert said("status", "--url", well.url, "--url", well.url)["wrong"] == []


def test_one_that_does_not_answer_keeps_no_status_of_the_others_back(states: list[StubControlPlane]) -> None:
    well, _ = states
    done = pointsman("status", "--url", well.url, "--url", "http://127.0.0.1:1", "--json")
    assert (done.returncode, "1 of 2 control planes can't be asked" in done.stderr) == (1, True)
    first, second = json.loads(done.stdout)["control_planes"]
    assert (first["status"]["revision"], second["status"]) == (7, None)
    assert "http://127.0.0.1:1 doesn't answer" in second["error"]
    done = pointsman("status", "--url", well.url, "--url", "http://127.0.0.1:1")
    assert any(line.startswith("http://127.0.0.1:1 ") and "doesn't answer" in line for line in done.stdout.splitlines())
    assert "doesn't answer" in failed("status", "--url", "http://127.0.0.1:1", "--url", "http://127.0.0.1:1")


LOOKUP = {
    "breaker": "closed",
    "waiting": 0,
    "known": 30,
    "round_seconds": 30.0,
    "missing": 0,
    "gds_doubted": False,
    "gds_knows_nobody": False,
    "pods_error": "",
}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ""),
        ({"breaker": "open"}, "GDS fails"),
        ({"breaker": "trying"}, "GDS fails"),
        ({"gds_knows_nobody": True}, "no host since the start"),
        ({"gds_doubted": True, "missing": 12}, "12 known hosts"),
        ({"pods_error": "pods.json: not JSON"}, "pods.json: not JSON"),
    ],
)
def test_a_gds_that_is_asked_host_by_host_is_well_or_not_as_the_alerts_say(changed: dict[str, Any], words: str) -> None:
    plane = StubControlPlane(lambda *_: (200, status(mode="lookup", lookup={**LOOKUP, **changed})))
    try:
        wrong = said("status", "--url", plane.url, code=3 if words else 0)["wrong"]
        assert "30 hosts known" in pointsman("status", "--url", plane.url).stdout
    finally:
        plane.close()
    assert [words in one for one in wrong] == ([True] if words else [])


def resolved(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def found(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert host == "pointsman-each"
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.mark.parametrize(
    ("found", "urls"),
    [
        (("10.0.0.2", "10.0.0.1"), ["http://10.0.0.1:18080", "http://10.0.0.2:18080"]),
        (("10.0.0.1",), ["http://pointsman-each:18080"]),
        (("fd00::1", "10.0.0.1"), ["http://pointsman-each:18080"]),
        (("fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2"), ["http://10.0.0.1:18080", "http://10.0.0.2:18080"]),
        (("fd00::1", "fd00::2"), ["http://[fd00::1]:18080", "http://[fd00::2]:18080"]),
    ],
)
def test_a_name_with_several_addresses_stands_for_all_of_them(
    monkeypatch: pytest.MonkeyPatch, found: tuple[str, ...], urls: list[str]
) -> None:
    resolved(monkeypatch, *found)
    assert addresses("http://pointsman-each:18080") == urls


def test_over_https_the_name_stays_since_the_certificate_is_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, "10.0.0.1", "10.0.0.2")
    assert addresses("https://pointsman-each:18080") == ["https://pointsman-each:18080"]


def test_the_addresses_of_a_replica_are_shown_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    resolved(monkeypatch, "10.0.0.1", "10.0.0.2")
    (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef")
    (tmp_path / "token").chmod(0o600)
    config = tmp_path / "pointsman.toml"
    config.write_text(
        '[gds]\nurl = "http://127.0.0.1:1/gds"\n[xds]\nplaintext = true\n'
        '[http]\nreplicas = ["http://pointsman-each:18080"]\ntoken_file = "token"\n'
    )
    planes = fleet(config, [])
    assert [plane.url for plane in planes] == ["http://10.0.0.1:18080", "http://10.0.0.2:18080"]
    assert all("0123456789abcdef" in plane._authorization()["authorization"] for plane in planes)
    with pytest.raises(OrderError, match=r"http\.replicas"):
        Plane(config, "http://10.0.0.3:18080")._authorization()


def test_an_edge_without_any_envoy_is_not_well_and_a_control_plane_that_stands_by_is() -> None:
    none = {"connected": 0, "converged": 0, "behind": 0, "nacking": 0, "late": 0, "spared": 0}
    well = StubControlPlane(lambda method, path, headers: (200, status()))
    bare = StubControlPlane(lambda method, path, headers: (200, status(nodes=none)))
    try:
        assert ["no Envoy" in one for one in said("status", "--url", bare.url, code=3)["wrong"]] == [True]
        assert said("status", "--url", bare.url, "--url", bare.url, code=3)["wrong"] != []
        assert said("status", "--url", well.url, "--url", bare.url)["wrong"] == []
    finally:
        well.close()
        bare.close()


def explanation(envoys: int, query: Mapping[str, list[str]]) -> dict[str, Any]:
    """Of a host that of so many Envoys two lack, and one rejects."""

    def envoy(number: int, acked: str, rejected: str | None = None) -> dict[str, Any]:
        copy = {"type": "route", "name": "table-1", "wanted": "v2", "sent": "v2", "acked": acked, "in_flight": False}
        copies = [{**copy, "rejected": rejected, "error": "no such filter" if rejected else None}]
        has_it = acked == "v2"
        return {
            "node": f"edge-{number}",
            "has_it": has_it,
            "connected_seconds": 1.0,
            "resources": copies,
            "live": None,
        }

    shown = [envoy(0, "v1", "v2"), envoy(1, "v1"), envoy(2, "v1"), *(envoy(n, "v2") for n in range(3, envoys))]
    most = int(query["envoys"][0])
    return {
        "host": "a.test",
        "routed": True,
        "answer": "",
        "notes": [],
        "revision": 7,
        "published": 7,
        "epoch": "E",
        "record": {"domain": "a.test", "pod": "pod1", "revision": 7, "received_at": None, "previous_pod": None},
        "scope": {"key": "a.", "name": "scope", "table": "table-1", "split": False},
        "table": "table-1",
        "table_version": "v2",
        "virtual_host": "pod1",
        "route": "prefix / -> pod1",
        "cluster": None,
        "certificate": None,
        "probe": None,
        "envoys": {"connected": envoys, "have_it": envoys - 3, "rejecting": 1, "shown": shown[:most]},
    }


def test_of_a_thousand_envoys_those_that_differ_are_explained_and_all_when_they_are_wanted() -> None:
    def answer(method: str, path: str, _: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        if urlsplit(path).path.endswith("/explain/envoys"):
            return 200, one_page(*explanation(1_000, {"envoys": ["1000"]})["envoys"]["shown"])
        return 200, explanation(1_000, parse_qs(urlsplit(path).query))

    large = StubControlPlane(answer)
    try:
        lines = pointsman("explain", "a.test", "--url", large.url).stdout.splitlines()
        summary = next(place for place, line in enumerate(lines) if line.startswith("  Envoys "))
        assert lines[summary].endswith("997 of 1,000 have it, 1 reject something of it, 2 lack something of it")
        assert [line.split()[0] for line in lines[summary + 2 : -1]] == ["edge-0", "edge-1", "edge-2"]
        assert lines[-1] == "  and 997 that have it (--all)"
        done = pointsman("explain", "a.test", "--all", "--url", large.url)
        assert sum(line.startswith("edge-") for line in done.stdout.splitlines()) == 1_000
        assert "--all" not in done.stdout
        assert len(said("explain", "a.test", "--url", large.url, code=3)["envoys"]["shown"]) == 100
    finally:
        large.close()


def one_page(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"items": list(items), "next": None, "total": len(items), **more}


def planes_that_say(*answers: Any) -> list[StubControlPlane]:
    """Each says its own, whatever it is asked; a status instead of an answer is refused with."""

    def made(answer: Any) -> StubControlPlane:
        refused = answer, {"detail": "no"}
        return StubControlPlane(lambda method, path, headers: refused if isinstance(answer, int) else (200, answer))

    return [made(answer) for answer in answers]


def test_a_host_is_asked_for_again_at_every_control_plane(token: Path) -> None:
    moved = {"host": "a.test", "was": "pod1", "pod": "pod2"}
    known = {"host": "a.test", "was": "pod2", "pod": "pod2"}
    first, second, broken = planes_that_say(moved, known, 503)
    try:
        urls = ["--url", first.url, "--url", second.url]
        done = pointsman("refresh", "a.test", *urls, "--token-file", token)
        assert done.stdout.splitlines() == [f"{first.url}: a.test: pod1 → pod2", f"{second.url}: a.test: pod2"]
        done = pointsman("refresh", "a.test", *urls, "--url", broken.url, "--token-file", token)
        assert (done.returncode, "1 of 3 control planes didn't do it" in done.stderr) == (1, True)
    finally:
        for one in (first, second, broken):
            one.close()


def test_what_the_envoys_of_any_control_plane_lack_is_a_difference() -> None:
    lack = {"kind": "envoy", "name": "table-1", "from": "v1", "to": "v2", "node": "edge-2", "type": "route"}
    well, behind, unknown = planes_that_say(one_page(), one_page({**lack, "reason": None}), 404)
    try:
        urls = ["--url", well.url, "--url", behind.url]
        (found,) = said("diff", *urls, code=3)
        assert (found["node"], found["control_plane"]) == ("edge-2", behind.url)
        assert behind.url in pointsman("diff", *urls).stdout
        assert said("diff", "edge-2", "--url", unknown.url, "--url", behind.url, code=3) == [found]
        done = pointsman("diff", "--url", well.url, "--url", "http://127.0.0.1:1")
        assert (done.returncode, done.stdout) == (1, ""), "one that isn't asked may have a difference"
    finally:
        for one in (well, behind, unknown):
            one.close()


def test_the_certificates_of_each_control_plane_are_its_own() -> None:
    none = {"complete": True, "set_aside_total": 0, "missing_total": 0, "missing": []}
    well = one_page(**none, trouble="", readable=[], readable_total=0)
    away = {**well, "trouble": "certificates: Permission denied"}
    gone = {**well, "missing_total": 1, "missing": ["shop.test"], "readable": ["mail.test"]}
    planes = planes_that_say(well, away, gone)
    try:
        assert said("certs", "--url", planes[0].url)["items"] == []
        assert (
            "the folder can't be read now: certificates: Permission denied"
            in (done := pointsman("certs", "--url", planes[0].url, "--url", planes[1].url)).stdout
        )
        assert done.returncode == 3
        found = said("certs", *(word for plane in planes for word in ("--url", plane.url)), code=3)
        assert [one["answer"]["trouble"] for one in found] == ["", away["trouble"], ""]
        done = pointsman("certs", "--url", planes[2].url)
        assert done.returncode == 3
        assert "shop.test: its files are gone" in done.stdout
        assert "mail.test: others than the owner may read its key" in done.stdout
        done = pointsman("certs", "--url", planes[0].url, "--url", "http://127.0.0.1:1")
        assert (done.returncode, "1 of 2 control planes can't be asked" in done.stderr) == (1, True)
    finally:
        for one in planes:
            one.close()


def test_the_orders_of_all_control_planes_are_one_audit_log() -> None:
    def entry(at: float, order: str) -> dict[str, Any]:
        who = {"who": "ann", "address": "::1", "reason": "", "revision": 7}
        return {"number": 1, "at": at, "order": order, "outcome": "done", **who}

    planes = planes_that_say(
        one_page(entry(3.0, "rollback"), entry(1.0, "refresh")), one_page(entry(2.0, "hold.release"))
    )
    try:
        urls = ["--url", planes[0].url, "--url", planes[1].url]
        found = said("audit", *urls)
        assert [one["order"] for one in found] == ["rollback", "hold.release", "refresh"]
        assert [one["control_plane"] for one in found] == [planes[0].url, planes[1].url, planes[0].url]
        assert len(said("audit", "-n", "1", *urls)) == 1
    finally:
        for one in planes:
            one.close()


def test_one_that_hangs_keeps_no_order_from_the_others(planes: list[ControlPlane], token: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = f"http://127.0.0.1:{silent.getsockname()[1]}"
        words = ["hold", "release", "--url", hanging, *urls(planes[0]), "--token-file", str(token)]
        with subprocess.Popen([sys.executable, "-m", "xds.cli", *words], env=ENVIRONMENT) as made:
            until(lambda: planes[0].orders == ["/api/v1/hold/release"], "the other one has it", 30)
            made.kill()


def test_what_each_of_several_holds_has_its_own_lines(planes: list[ControlPlane]) -> None:
    done = pointsman("hold", "show", *urls(planes[0], planes[1]))
    held, unknown, nothing = done.stdout.splitlines()
    assert held.startswith(f"{planes[0].url}: held since")
    assert unknown.startswith("  GDS hasn't answered since the start")
    assert nothing == f"{planes[1].url}: nothing is held"


def test_an_audit_log_that_can_not_be_written_and_an_own_certificate_that_has_ended_are_not_well() -> None:
    own = {"setting": "xds.certificate", "not_after": "2026-11-01T00:00:00Z", "days": -2.0}
    found = status(audit_error="disk full", own_certificates=[own, {**own, "setting": "xds.client_ca", "days": 20.0}])
    assert wrongs(found) == [
        "the audit log can't be written: disk full",
        "the control plane's own certificate (setting xds.certificate) has ended",
    ]
    assert wrongs(status()) == []


@pytest.mark.parametrize(
    ("emptied", "replaced", "words"),
    [
        (3, 2, "change 5 (of these 3 lose all endpoints and 2 get other endpoints)"),
        (0, 2, "change 5 (of these 2 get other endpoints)"),
        (0, 0, "change 5"),
    ],
)
def test_pods_that_would_lose_their_endpoints_are_told_of(emptied: int, replaced: int, words: str) -> None:
    changes = {"moved": 0, "removed": 0, "added": 0, "pods_removed": 0, "pods_changed": 5}
    changes |= {"pods_emptied": emptied, "pods_replaced": replaced}
    held = {"state": "held", "reason": "endpoints", "text": "why", "since": 1.0, "changes": changes, "examples": []}
    one = StubControlPlane(lambda method, path, headers: (200, held))
    try:
        done = pointsman("hold", "show", "--url", one.url)
    finally:
        one.close()
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1].endswith(words)

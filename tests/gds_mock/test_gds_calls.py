"""Each call of the contract, what it answers and how it refuses."""

from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from gds_harness import Gds

from gds_mock.errors import BadLines, StoreUnavailable
from gds_mock.ndjson import NdjsonReader
from gds_mock.sqlite.store import SqliteStore
from gds_mock.store import Store

PUT = {"op": "put", "domain": "a.example.com", "pod": "pod1"}


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


# GET, PUT and DELETE /backend/{host}


def test_a_backend_is_the_pods_name_alone(gds: Gds) -> None:
    gds.put("a.example.com", "pod1")
    answer = gds.client.get("/backend/a.example.com")
    assert (answer.status_code, answer.text) == (200, "pod1")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("host", ["A.Example.COM", "a.example.com:443", "a.example.com.", "A.example.com.:8443"])
def test_a_lookup_does_not_mind_case_port_and_trailing_dot(gds: Gds, host: str) -> None:
    gds.put("a.example.com", "pod1")
    assert gds.client.get(f"/backend/{host}").text == "pod1"


def test_the_longest_wildcard_answers_when_no_exact_entry_does(gds: Gds) -> None:
    gds.put("*.example.com", "pod1")
    gds.put("*.eu.example.com", "pod2")
    gds.put("exact.eu.example.com", "pod1")
    answers = {h: gds.client.get(f"/backend/{h}") for h in ("a.example.com", "a.eu.example.com", "a.b.eu.example.com")}
    assert {host: answer.text for host, answer in answers.items()} == {
        "a.example.com": "pod1",
        "a.eu.example.com": "pod2",
        "a.b.eu.example.com": "pod2",
    }
    assert gds.client.get("/backend/exact.eu.example.com").text == "pod1"
    assert "etag" not in answers["a.example.com"].headers


def test_a_wildcard_does_not_answer_for_its_own_suffix(gds: Gds) -> None:
    gds.put("*.example.com", "pod1")
    assert gds.client.get("/backend/%2A.example.com").text == "pod1"
    assert_problem(gds.client.get("/backend/example.com"), 404)


def test_an_unknown_host_is_404_and_what_is_no_host_400(gds: Gds) -> None:
    assert_problem(gds.client.get("/backend/unknown.example.com"), 404)
    for host in ("not_a_host", "a..b", "a%2Fb", "%ff", "", "*"):
        assert_problem(gds.client.get(f"/backend/{host}"), 400)
        assert_problem(gds.client.put(f"/backend/{host}", json={"pod": "pod1"}), 400)
        assert_problem(gds.client.delete(f"/backend/{host}"), 400)


def test_a_put_creates_then_moves_then_changes_nothing(gds: Gds) -> None:
    _, before = gds.position()
    answers = [gds.client.put("/backend/A.example.com.:443", json={"pod": pod}) for pod in ("pod1", "pod2", "pod2")]
    assert [answer.status_code for answer in answers] == [201, 200, 200]
    assert [answer.json()["revision"] - before for answer in answers] == [1, 2, 2]
    assert answers[0].json() == {"domain": "a.example.com", "pod": "pod1", "revision": before + 1}
    assert answers[2].headers["etag"] == f'"{before + 2}"'


def test_a_domain_cannot_be_put_on_an_unknown_pod(gds: Gds) -> None:
    assert_problem(gds.client.put("/backend/a.example.com", json={"pod": "nowhere"}), 409)
    assert_problem(gds.client.get("/backend/a.example.com"), 404)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"pod": 3}', b'{"pod":"pod1","x":1}', b'{"pod":"\\ud800"}', b"\xff"]
)
def test_a_put_without_a_pod_in_its_body_is_400(gds: Gds, body: bytes) -> None:
    assert_problem(gds.client.put("/backend/a.example.com", content=body), 400)


def test_a_body_beyond_all_reason_is_413(gds: Gds) -> None:
    assert_problem(gds.client.put("/backend/a.example.com", content=b" " * 2_000_000), 413)


def test_if_match_holds_only_at_the_revision_the_domain_last_changed(gds: Gds) -> None:
    gds.put("a.example.com", "pod1")
    tag = gds.client.get("/backend/a.example.com").headers["etag"]
    gds.put("other.example.com", "pod1")

    def put(if_match: str, host: str = "a.example.com", pod: str = "pod2") -> httpx.Response:
        return gds.client.put(f"/backend/{host}", json={"pod": pod}, headers={"If-Match": if_match})

    moved = put(tag)
    assert moved.status_code == 200
    assert_problem(put(tag, pod="pod1"), 412)
    assert_problem(put(f"W/{moved.headers['etag']}", pod="pod1"), 412)
    assert_problem(put("*", host="unknown.example.com"), 412)
    assert_problem(put("17"), 400)
    assert put(f'"1", {moved.headers["etag"]}', pod="pod1").status_code == 200
    assert put("*").status_code == 200
    assert gds.client.get("/backend/a.example.com").text == "pod2"


def test_a_delete_is_204_and_then_404(gds: Gds) -> None:
    gds.put("a.example.com", "pod1")
    assert_problem(gds.client.delete("/backend/a.example.com", headers={"If-Match": '"1"'}), 412)
    assert gds.client.delete("/backend/A.example.com:80").status_code == 204
    assert_problem(gds.client.delete("/backend/a.example.com"), 404)
    assert_problem(gds.client.get("/backend/a.example.com"), 404)


# Pods


def test_a_pod_is_created_replaced_read_and_deleted(gds: Gds) -> None:
    pod = {
        "name": "pod3",
        "datacenter": "fra",
        "endpoints": [{"address": "2001:db8::1", "port": 443, "zone": "fra-1", "weight": 7}],
        "max_connections": 10,
    }
    assert gds.client.put("/pods/pod3", json=pod).status_code == 201
    assert gds.client.put("/pods/pod3", json=pod | {"datacenter": "ams"}).status_code == 200
    assert gds.client.get("/pods/pod3").json() == pod | {"datacenter": "ams"}
    assert [each["name"] for each in gds.client.get("/pods").json()] == ["pod1", "pod2", "pod3"]
    assert gds.client.delete("/pods/pod3").status_code == 204
    assert_problem(gds.client.get("/pods/pod3"), 404)
    assert_problem(gds.client.delete("/pods/pod3"), 404)


def test_the_same_pod_again_makes_no_new_revision(gds: Gds) -> None:
    before = gds.position()
    gds.pod("pod1")
    assert gds.position() == before


def test_a_pod_on_which_domains_live_cannot_be_deleted(gds: Gds) -> None:
    gds.put("a.example.com", "pod1")
    assert "a.example.com" in assert_problem(gds.client.delete("/pods/pod1"), 409)["detail"]
    gds.put("a.example.com", "pod2")
    assert gds.client.delete("/pods/pod1").status_code == 204


@pytest.mark.parametrize(
    "pod",
    [
        {"endpoints": [{"address": "backend.internal", "port": 80}]},
        {"endpoints": [{"address": "fe80::1%eth0", "port": 80}]},
        {"endpoints": [{"address": "10.0.0.1", "port": 0}]},
        {"endpoints": [{"address": "10.0.0.1", "port": 65536}]},
        {"endpoints": [{"address": "10.0.0.1", "port": 80, "weight": 0}]},
        {"endpoints": [{"address": "10.0.0.1"}]},
        {"max_connections": 0},
        {"max_connections": None},
        {"name": "another"},
        {"colour": "blue"},
        [],
    ],
)
def test_a_pod_no_proxy_could_use_is_400(gds: Gds, pod: object) -> None:
    assert_problem(gds.client.put("/pods/pod9", json=pod), 400)
    assert_problem(gds.client.get("/pods/pod9"), 404)


def test_a_pods_name_must_be_one(gds: Gds) -> None:
    for name in ("-pod", "p" * 64, "a%20b", "%22", "%00"):
        assert_problem(gds.client.put(f"/pods/{name}", json={}), 400)
        assert_problem(gds.client.get(f"/pods/{name}"), 404)
        assert_problem(gds.client.delete(f"/pods/{name}"), 404)
        assert_problem(gds.client.put("/backend/a.example.com", json={"pod": unquote(name)}), 409)


# POST /backends


def test_a_load_is_one_revision(gds: Gds) -> None:
    gds.put("old.example.com", "pod1")
    _, before = gds.position()
    answer = gds.load(
        PUT, PUT | {"domain": "*.B.example.com"}, {"op": "delete", "domain": "old.example.com"}, PUT | {"pod": "pod2"}
    )
    assert answer.json() == {"revision": before + 1, "puts": 2, "deletes": 1}
    assert gds.client.get("/backend/a.example.com").text == "pod2"  # the last line about a domain wins
    assert gds.client.get("/backend/x.b.example.com").text == "pod1"
    assert_problem(gds.client.get("/backend/old.example.com"), 404)


def test_a_load_that_changes_nothing_makes_no_revision(gds: Gds) -> None:
    revision = gds.load(PUT).json()["revision"]
    answer = gds.load(PUT, {"op": "delete", "domain": "unknown.example.com"})
    assert answer.json() == {"revision": revision, "puts": 0, "deletes": 0}
    assert gds.client.post("/backends", content=b"\n\n").json()["revision"] == revision


def test_one_bad_line_and_nothing_of_a_load_is_applied(gds: Gds) -> None:
    before = gds.position()
    lines = [
        b'{"op":"put","domain":"a.example.com","pod":"pod1"}',
        b"",
        b'{"op":"put","domain":"not a host","pod":"pod1"}',
        b'{"op":"put","domain":"a.example.com","pod":"nowhere"}',
        b"{",
        b'{"op":"move","domain":"a.example.com"}',
        b'{"op":"delete"}',
        b"\xff\xfe",
        b'{"op":"put","domain":"' + b"a" * 300_000 + b'"}',
        b'{"op":"put","domain":"b.example.com"}',
    ]
    problem = assert_problem(gds.client.post("/backends", content=b"\n".join(lines)), 400)
    assert [error["line"] for error in problem["errors"]] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert all(error["detail"] for error in problem["errors"])
    assert problem["total"] == 8
    assert gds.position() == before
    assert_problem(gds.client.get("/backend/a.example.com"), 404)


def test_the_first_hundred_bad_lines_are_named_and_all_are_counted(gds: Gds) -> None:
    problem = assert_problem(gds.client.post("/backends", content=b"x\n" * 250), 400)
    assert [error["line"] for error in problem["errors"]] == list(range(1, 101))
    assert problem["total"] == 250


def test_the_blocks_a_load_arrives_in_do_not_matter(gds: Gds) -> None:
    body = b"".join(b'{"op":"put","domain":"d%d.example.com","pod":"pod1"}\n' % n for n in range(200)).rstrip()
    pieces = (body[start : start + 7] for start in range(0, len(body), 7))
    assert gds.client.post("/backends", content=pieces).json()["puts"] == 200


# GET /backends


def test_a_snapshot_has_a_head_and_then_the_domains_in_order(gds: Gds) -> None:
    for domain in ("b.example.com", "*.example.com", "a.example.com"):
        gds.put(domain, "pod1")
    answer = gds.client.get("/backends")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    head, *records = map(json.loads, answer.text.splitlines())
    epoch, revision = gds.position()
    assert head == {"epoch": epoch, "revision": revision, "domains": 3, "pods": gds.client.get("/pods").json()}
    assert records == [{"domain": d, "pod": "pod1"} for d in ("*.example.com", "a.example.com", "b.example.com")]


def test_a_write_in_the_middle_of_a_snapshot_is_not_in_it(store: Store, gds: Gds) -> None:
    gds.load(*(PUT | {"domain": f"d{number:04}.example.com"} for number in range(2_500)))
    snapshot = store.snapshot()
    revision = snapshot.revision
    first = snapshot.block()
    gds.put("d2499.example.com", "pod2")
    gds.client.delete("/backend/d2000.example.com")
    gds.put("zz.example.com", "pod1")
    records = first + b"".join(iter(snapshot.block, b""))
    assert records.count(b"\n") == 2_500
    assert b"pod2" not in records
    assert b"d2000.example.com" in records
    assert b'"revision":%d,"domains":2500' % revision in snapshot.head()
    snapshot.close()


# The rest


def test_health_is_200_while_the_store_answers_and_503_when_not(
    gds: Gds, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gds.client.get("/healthz").status_code == 200

    def broken() -> int:
        raise StoreUnavailable("disk I/O error")

    monkeypatch.setattr(store, "revision", broken)
    assert_problem(gds.client.get("/healthz"), 503)


@pytest.mark.parametrize("db", ["sqlite"], indirect=True)
def test_a_write_that_another_process_keeps_out_is_503_and_not_applied(gds: Gds, store: Store) -> None:
    assert isinstance(store, SqliteStore)
    other = store.connection()
    other.execute("BEGIN IMMEDIATE")
    store._db.execute("PRAGMA busy_timeout = 50")
    assert_problem(gds.client.put("/backend/a.example.com", json={"pod": "pod1"}), 503)
    other.execute("ROLLBACK")
    other.close()
    assert gds.client.put("/backend/a.example.com", json={"pod": "pod1"}).status_code == 201


def test_what_the_framework_refuses_is_a_problem_too(gds: Gds) -> None:
    assert_problem(gds.client.get("/nothing"), 404)
    assert_problem(gds.client.post("/pods"), 405)


def test_a_mistake_of_the_server_is_a_problem_too(gds: Gds, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "pods", None)
    assert_problem(gds.client.get("/pods"), 500)


def test_many_writers_at_once_each_get_a_revision_of_their_own(gds: Gds) -> None:
    _, before = gds.position()
    revisions: list[int] = []
    threads = [
        threading.Thread(target=lambda n=number: revisions.append(gds.put(f"d{n}.example.com", "pod1")))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(revisions) == list(range(before + 1, before + 21))


def test_a_pod_that_goes_while_a_load_is_on_its_way_makes_its_lines_bad(gds: Gds, store: Store) -> None:
    with store.stage() as stage:
        reader = NdjsonReader(stage)
        reader.feed(b'\n{"op":"put","domain":"a.example.com","pod":"pod1"}\n')
        reader.finish()
        store.delete_pod("pod1")
        with pytest.raises(BadLines) as refused:
            stage.apply()
    assert [error.line for error in refused.value.errors] == [2]
    assert_problem(gds.client.get("/backend/a.example.com"), 404)
    gds.put("b.example.com", "pod2")  # and the store goes on

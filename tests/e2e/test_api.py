"""The API with a real edge: receipts, explanations, events, and who may what."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from edge_harness import VARIANT, Edge, running, until

from demo.system import LOOPBACK, WITHOUT_TLS, Ports

WAIT = 20


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    def settings(ports: Ports) -> dict[str, dict[str, object]]:
        probe = f"{LOOPBACK}:{ports.edge_https}"
        return {
            "edge": {"pod_header": "x-served-by"},
            "http": {"probe": probe, "port": ports.http},
            "http.envoy_admins": {"edge-1": f"http://{LOOPBACK}:{ports.admin}"},
        }

    folder: Path = tmp_path_factory.mktemp("api")
    with running(folder, settings) as made:
        yield made


def ask(edge: Edge, path: str, **query: Any) -> httpx.Response:
    return WITHOUT_TLS.get(f"{edge.system.api_url}/api/v1/{path}", params=query, timeout=WAIT + 10)


def told(edge: Edge, path: str, **query: Any) -> Any:
    answer = ask(edge, path, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def bearer(edge: Edge) -> dict[str, str]:
    return {"authorization": f"Bearer {(edge.system.folder / 'state' / 'token').read_text().strip()}"}


def test_whoever_waits_for_a_move_is_told_when_the_edge_has_it(edge: Edge) -> None:
    before = edge.put("receipt.example.com", "pod1")
    assert told(edge, f"revisions/{before}", wait=WAIT)["complete"]
    revision = edge.put("receipt.example.com", "pod2")
    receipt = told(edge, f"revisions/{revision}", wait=WAIT)
    assert edge.ask("receipt.example.com").pod == "pod2", "not later, but now"
    assert (receipt["state"], receipt["complete"]) == ("complete", True)
    assert receipt["first_changes"] == [{"kind": "domain", "name": "receipt.example.com", "from": "pod1", "to": "pod2"}]
    assert receipt["envoys"] | {"total": 1, "acked": 1, "pending": 0, "nacked": 0} == receipt["envoys"]
    assert receipt["received_at"] <= receipt["published_at"] <= receipt["completed_at"]
    assert receipt["seconds"]["published_to_last_ack"] >= receipt["seconds"]["published_to_first_ack"] > 0
    trace = told(edge, f"revisions/{revision}/trace")
    assert [step["node"] for step in trace["acks"]] == ["edge-1"]


def test_whoever_waits_for_what_never_comes_is_told_so_in_time(edge: Edge) -> None:
    receipt = told(edge, "revisions/999999999", wait=0.3)
    assert (receipt["state"], receipt["complete"], receipt["known"]) == ("expected", False, False)


def test_a_change_that_comes_while_the_only_envoy_is_away_is_complete_when_it_is_back_with_it(edge: Edge) -> None:
    before = edge.put("away.example.com", "pod1")
    assert told(edge, f"revisions/{before}", wait=WAIT)["complete"]
    edge.system.kill("envoy", signal.SIGKILL)
    until(lambda: not edge.nodes(), "it is gone")
    revision = edge.put("away.example.com", "pod2")
    until(lambda: told(edge, f"revisions/{revision}")["state"] == "published", "it is published")
    receipt = told(edge, f"revisions/{revision}", wait=1, envoys=0)
    assert (receipt["state"], receipt["missing"], receipt["envoys"]["have"]) == ("published", ["edge-1"], 0)
    assert not told(edge, f"revisions/{before}")["complete"], "no connected Envoy has it"
    edge.system.start_envoy()
    receipt = told(edge, f"revisions/{revision}", wait=WAIT)
    assert (receipt["state"], receipt["missing"]) == ("complete", [])
    assert receipt["envoys"] | {"total": 1, "acked": 1, "left": 0, "have": 1} == receipt["envoys"]
    edge.system.wait_envoy()
    assert edge.ask("away.example.com").pod == "pod2"
    receipt = told(edge, f"revisions/{revision}", wait=0.3, envoys=2)
    assert (receipt["state"], receipt["complete"]) == ("published", False)


def test_the_newest_receipts_come_first_and_in_pages(edge: Edge) -> None:
    for pod in ("pod1", "pod2", "pod3"):
        last = edge.put("pages.example.com", pod)
    until(lambda: told(edge, f"revisions/{last}")["complete"], "the last is complete")
    first = told(edge, "revisions", limit=2)
    assert [one["revision"] for one in first["items"]] == [last, last - 1]
    second = told(edge, "revisions", limit=2, cursor=first["next"])
    assert second["items"][0]["revision"] == last - 2


def test_a_host_is_explained_from_gds_to_what_envoy_routes_by(edge: Edge) -> None:
    edge.put("why.example.com", "pod1")
    revision = edge.put("why.example.com", "pod3")
    assert told(edge, f"revisions/{revision}", wait=WAIT)["complete"]
    found = told(edge, "domains/Why.Example.com:443/explain")
    assert found["record"] | {"domain": "why.example.com", "pod": "pod3", "previous_pod": "pod1"} == found["record"]
    assert found["record"]["revision"] == revision
    assert (found["routed"], found["scope"]["key"], found["scope"]["table"]) == (True, "wh", found["table"])
    assert found["cluster"]["endpoints"][0]["port"] == edge.pods["pod3"]
    (envoy,) = found["envoys"]["shown"]
    assert (envoy["node"], envoy["has_it"]) == ("edge-1", True)
    assert all(one["wanted"] == one["acked"] for one in envoy["resources"])
    assert {one["type"] for one in envoy["resources"]} == {"scope", "route", "cluster", "endpoint", "secret"}
    assert envoy["live"] | {"pod": "pod3", "error": ""} == envoy["live"], "and its admin says so"
    # Asked for the state of the world, Envoy is told the version of a whole response, and no table's.
    assert (envoy["live"]["version"] == found["table_version"]) is (VARIANT == "delta")
    assert found["cluster"]["endpoints"][0]["health"] == "healthy"


def test_a_host_is_explained_with_who_moved_it_when_and_since_when_each_link_is_so(edge: Edge) -> None:
    before = time.time()
    answer = edge.gds.put("/backend/whose.example.com", json={"pod": "pod2"}, headers={"GDS-Actor": "ada"})
    revision = answer.json()["revision"]
    receipt = told(edge, f"revisions/{revision}", wait=WAIT)
    assert (receipt["complete"], receipt["by"]) == (True, "ada")
    found = told(edge, "domains/whose.example.com/explain")
    record = found["record"]
    assert (record["by"], record["source"], found["gds"]["state"]) == ("ada", "gds", "told")
    assert record["committed_at"] == receipt["committed_at"]
    assert before - 1 <= record["committed_at"] <= time.time() + 1
    assert not any("by now" in note for note in found["notes"])
    assert found["table_age"]["since_start"] is False
    assert found["table_age"]["seconds"] <= time.time() - before
    assert found["cluster"]["age"]["since_start"]
    old = told(edge, "domains/t0.example.com/explain")
    assert (old["record"]["by"], old["record"]["source"]) == ("the demo", "gds"), "it came with the snapshot"
    (envoy,) = told(edge, "domains/whose.example.com/explain/envoys")["items"]
    assert (envoy["node"], envoy["has_it"], envoy["live"]["pod"]) == ("edge-1", True, "pod2")


def test_a_host_is_explained_without_the_envoys_where_they_are_not_wanted(edge: Edge) -> None:
    found = told(edge, "domains/why.example.com/explain", envoys=0)
    assert (found["host"], found["envoys"]) == ("why.example.com", None)
    found = told(edge, "domains/why.example.com/explain", envoys=1)
    assert (found["envoys"]["connected"], len(found["envoys"]["shown"])) == (1, 1)
    assert ask(edge, "domains/why.example.com/explain", envoys=1001).status_code == 422


def test_a_host_that_goes_nowhere_is_explained_too(edge: Edge) -> None:
    found = told(edge, "domains/nobody.example.org/explain")
    assert (found["routed"], found["record"], found["answer"]) == (False, None, "404")
    edge.load({"op": "put", "domain": "lost.example.com", "pod": "pod1"})
    assert ask(edge, "domains/not a host/explain").status_code == 400


def test_a_probe_says_which_pod_answers_and_needs_the_token(edge: Edge) -> None:
    edge.put("probe.example.com", "pod2")
    edge.becomes("probe.example.com", "pod2")
    url = f"{edge.system.api_url}/api/v1/domains/probe.example.com/explain?probe=true"
    assert WITHOUT_TLS.get(url).status_code == 401
    found = WITHOUT_TLS.get(url, headers=bearer(edge)).json()["probe"]
    assert (found["status"], found["pod"], found["error"]) == (200, "pod2", "")


def test_changes_flow_by_as_events_with_the_status_each_second(edge: Edge) -> None:
    before = edge.put("events.example.com", "pod2")
    assert told(edge, f"revisions/{before}", wait=WAIT)["complete"]
    seen: list[tuple[str, dict[str, Any]]] = []
    ready = threading.Event()

    def listen() -> None:
        url = f"{edge.system.api_url}/api/v1/events"
        with httpx.stream("GET", url, trust_env=False, timeout=30) as answer:
            name = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    seen.append((name, json.loads(line.removeprefix("data: "))))
                    ready.set()
                    if name == "complete" and seen[-1][1]["revision"] > before:
                        return

    listener = threading.Thread(target=listen)
    listener.start()
    assert ready.wait(WAIT)
    revision = edge.put("events.example.com", "pod1")
    listener.join(WAIT)
    names = [name for name, data in seen if data.get("revision") == revision and name != "status"]
    assert names == ["received", "published", "first_ack", "complete"]
    status = next(data for name, data in seen if name == "status")
    assert status["nodes"]["connected"] == 1


def test_the_status_says_how_everything_stands(edge: Edge) -> None:
    revision = edge.put("status.example.com", "pod1")
    assert told(edge, f"revisions/{revision}", wait=WAIT)["complete"]
    found = told(edge, "status")
    assert (found["ready"], found["published"], found["gds"]["lag_revisions"]) == (True, revision, 0)
    assert found["nodes"] == {"connected": 1, "converged": 1, "behind": 0, "nacking": 0, "late": 0, "spared": 0}
    assert found["certificates"]["soonest"]["name"] == "edge"
    assert found["convergence"]["count"] > 0
    assert told(edge, "convergence")["points"]


def test_domains_are_listed_each_once_in_pages(edge: Edge) -> None:
    assert told(edge, f"revisions/{edge.put('*.wild.example.com', 'pod2')}", wait=WAIT)["complete"]
    names: list[str] = []
    cursor = ""
    while True:
        page = told(edge, "domains", limit=50, cursor=cursor)
        names += [one["domain"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert len(names) == len(set(names)) == page["total"]
    assert "*.wild.example.com" in names
    of_pod = told(edge, "domains", limit=1000, pod="pod2")
    assert {one["pod"] for one in of_pod["items"]} == {"pod2"}
    assert len(of_pod["items"]) == of_pod["total"] == told(edge, "pods/pod2")["domains"]
    some = told(edge, "domains", prefix="*.wild")
    assert [one["domain"] for one in some["items"]] == ["*.wild.example.com"]


def test_nothing_differs_while_the_edge_has_all(edge: Edge) -> None:
    until(lambda: told(edge, "status")["nodes"]["behind"] == 0, "all is ACKed")
    assert told(edge, "diff") == {"items": [], "next": None, "total": None}


def test_what_costs_much_or_says_who_did_what_needs_the_token(edge: Edge) -> None:
    for path in ("states", "audit"):
        answer = ask(edge, path)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
        url = f"{edge.system.api_url}/api/v1/{path}"
        assert WITHOUT_TLS.get(url, headers=bearer(edge)).status_code == 200


def test_orders_are_in_the_audit_log_on_disk_too(edge: Edge) -> None:
    url = f"{edge.system.api_url}/api/v1/hold/release"
    assert WITHOUT_TLS.post(url, json={"by": "ann"}, headers=bearer(edge)).status_code == 409
    acts = WITHOUT_TLS.get(f"{edge.system.api_url}/api/v1/audit", headers=bearer(edge)).json()["items"]
    assert (acts[0]["who"], acts[0]["order"], acts[0]["outcome"]) == ("ann", "hold.release", "refused")
    file = edge.system.folder / "state" / "audit.log"
    until(lambda: '"ann"' in file.read_text(), "it is on disk")
    assert file.stat().st_mode & 0o077 == 0


def test_a_web_page_of_another_name_may_not_read_what_is_public_on_loopback(edge: Edge) -> None:
    answer = WITHOUT_TLS.get(f"{edge.system.api_url}/api/v1/status", headers={"host": "evil.example"})
    assert answer.status_code == 403

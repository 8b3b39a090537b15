"""The commands against a control plane and an Envoy that run: what they say, and the exit codes that scripts read."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command import ENVIRONMENT, failed, on_terminal, pointsman, said
from edge_harness import Edge, until

from demo.tied import tied
from gds_mock.opening import open_store
from gds_mock.values import decode_pod

POISON = "fe80::1%no-such-zone"
"""An address that only an Envoy takes whose machine has such a network interface."""


def config(edge: Edge) -> list[str]:
    return ["-c", str(edge.system.folder / "pointsman.toml")]


def asked(edge: Edge, *words: str, code: int = 0) -> Any:
    return said(*words, *config(edge), code=code)


def moved(edge: Edge, domain: str, pod: str) -> int:
    revision = edge.put(domain, pod)
    asked(edge, "wait", str(revision), "--timeout", "20s")
    return revision


def test_all_is_well(edge: Edge) -> None:
    found = asked(edge, "status")
    assert (found["ready"], found["wrong"], found["nodes"]["connected"]) == (True, [], 1)
    done = pointsman("status", *config(edge))
    assert "1 connected" in done.stdout
    assert done.returncode == 0


def test_the_control_plane_is_found_by_the_environment_or_an_address(edge: Edge) -> None:
    path = str(edge.system.folder / "pointsman.toml")
    assert said("status", env={"POINTSMAN_CONFIG": path})["ready"]
    assert said("status", "--url", edge.system.api_url)["ready"]
    assert said("status", env={"POINTSMAN_URL": edge.system.api_url})["ready"]


@pytest.mark.parametrize("command", ["explain", "refresh", "domains"])
def test_a_shell_completes_hosts_from_the_control_plane(edge: Edge, command: str) -> None:
    words = f"pointsman {command} -c {edge.system.folder / 'pointsman.toml'} t0"
    env = {"_POINTSMAN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "4"}
    completed = pointsman(env=env).stdout.split()
    assert "t0.example.com" in completed
    assert all(host.startswith("t0") for host in completed)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pods -c {} po", "pod1"),
        ("domains -c {} --pod po", "pod1"),
        ("nodes -c {} ed", "edge-1"),
        ("diff -c {} e", "edge-1"),
    ],
)
def test_a_shell_completes_pods_and_envoys(edge: Edge, words: str, offered: str) -> None:
    line = f"pointsman {words.format(edge.system.folder / 'pointsman.toml')}"
    env = {"_POINTSMAN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    assert offered in pointsman(env=env).stdout.split()


def test_without_a_control_plane_no_host_is_completed_and_nothing_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for words in (f"pointsman explain --url {url} t1", "pointsman explain --url http://127.0.0.1:1 t1"):
            env = {"_POINTSMAN_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "4"}
            done = pointsman(env=env, cwd=tmp_path, timeout=30)
            assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_a_host_is_explained_link_by_link(edge: Edge) -> None:
    found = asked(edge, "explain", "t0.example.com", "--probe")
    assert (found["routed"], found["record"]["pod"], found["probe"]["pod"]) == (True, "pod1", "pod1")
    (envoy,) = found["envoys"]["shown"]
    assert (envoy["has_it"], envoy["live"]["pod"]) == (True, "pod1")
    done = pointsman("explain", "t0.example.com", *config(edge))
    assert done.returncode == 0
    for words in ("t0.example.com → pod1", "record", "table-", "cluster", "certificate", "1 of 1 have it", "ACKed"):
        assert words in done.stdout


def test_a_probe_that_the_edge_answers_itself_is_not_well(edge: Edge) -> None:
    """The pod's name stands in the edge's own 503, too."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    edge.put_pod("away", port)
    try:
        moved(edge, "probed.example.com", "away")
        found = asked(edge, "explain", "probed.example.com", "--probe", code=3)
        assert (found["probe"]["status"], found["probe"]["by_pod"], found["probe"]["pod"]) == (503, False, None)
        done = pointsman("explain", "probed.example.com", "--probe", *config(edge))
        assert "answers 503" in done.stdout
        assert "by itself: no pod answered" in done.stdout
        moved(edge, "probed.example.com", "pod1")
        found = asked(edge, "explain", "probed.example.com", "--probe")
        assert (found["probe"]["by_pod"], found["probe"]["pod"]) == (True, "pod1")
    finally:
        edge.delete("probed.example.com")
        edge.gds.delete("/pods/away").raise_for_status()


def test_a_host_whose_pod_has_no_endpoints_is_not_well(edge: Edge) -> None:
    edge.put_pod("bare")
    try:
        moved(edge, "bare.example.com", "bare")
        assert asked(edge, "explain", "bare.example.com", code=3)["routed"]
    finally:
        edge.delete("bare.example.com")
        edge.gds.delete("/pods/bare").raise_for_status()


def test_what_is_not_there_is_said_and_not_taken_for_nothing(edge: Edge) -> None:
    assert "edge-9" in failed("diff", "edge-9", *config(edge))
    assert "pod99" in failed("domains", "--pod", "pod99", *config(edge))
    done = pointsman("watch", "--only", "nothing", "--for", "1", *config(edge))
    assert done.returncode == 2
    assert "there are received" in " ".join(done.stderr.split())
    assert pointsman("watch", "--only", "released", "--for", "0.5", *config(edge)).returncode == 0


def test_a_host_that_goes_nowhere_says_so_with_its_exit_code(edge: Edge) -> None:
    assert asked(edge, "explain", "nowhere.example.com", code=3)["routed"] is False
    assert "says 400" in failed("explain", "not a host", *config(edge))


def test_the_envoys_are_listed_and_one_is_shown_type_by_type(edge: Edge) -> None:
    (node,) = asked(edge, "nodes")
    assert (node["node"], node["converged"], node["rejecting"]) == ("edge-1", True, False)
    done = pointsman("nodes", "edge-1", *config(edge))
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith(("cluster", "route"))]
    assert "edge-9" in failed("nodes", "edge-9", *config(edge))


def test_domains_come_one_a_line(edge: Edge) -> None:
    done = pointsman("domains", *config(edge))
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == len({domain for domain, *_ in rows}) >= 30
    assert ["t0.example.com", "pod1"] in [row[:2] for row in rows]
    lines = pointsman("domains", "--json", "--pod", "pod1", *config(edge)).stdout.splitlines()
    assert {json.loads(line)["pod"] for line in lines} == {"pod1"}
    assert len(lines) == asked(edge, "domains", "--pod", "pod1", "--count")["domains"]
    assert pointsman("domains", "t0", *config(edge)).stdout.startswith("t0.example.com\tpod1\t")
    assert len(pointsman("domains", "-n", "2", *config(edge)).stdout.splitlines()) == 2


def test_pods_are_listed_with_their_domains_and_endpoints(edge: Edge) -> None:
    found = {one["name"]: one for one in asked(edge, "pods")}
    assert found["pod1"]["domains"] >= 10
    (one,) = asked(edge, "pods", "pod1")
    assert one == found["pod1"]
    assert f"127.0.0.1:{edge.pods['pod1']}" in pointsman("pods", *config(edge)).stdout
    assert "pod99" in failed("pods", "pod99", *config(edge))


def test_certificates_that_end_soon_are_a_matter_of_the_exit_code(edge: Edge) -> None:
    found = asked(edge, "certs")
    assert ([one["name"] for one in found["items"]], found["set_aside"], found["ending"]) == (["edge"], [], 0)
    assert asked(edge, "certs", "--within", "60", code=3)["ending"] == 1


def test_who_waited_for_a_move_finds_it_at_the_edge(edge: Edge) -> None:
    for pod in ("pod1", "pod2", "pod3"):
        revision = edge.put("waited.example.com", pod)
        found = asked(edge, "wait", str(revision), "--timeout", "20s")
        assert edge.ask("waited.example.com").pod == pod, "not later, but now"
        assert (found["state"], found["envoys"]["pending"]) == ("complete", 0)


def test_what_does_not_come_in_time_has_a_code_of_its_own(edge: Edge) -> None:
    began = time.monotonic()
    assert asked(edge, "wait", "999999", "--timeout", "500ms", code=4)["state"] == "expected"
    assert time.monotonic() - began >= 0.5
    assert "is not a time" in failed("wait", "1", "--timeout", "soon", *config(edge), code=2)
    assert "was replaced" in failed("wait", "1", "--epoch", "another", *config(edge))


def test_with_several_control_planes_all_are_waited_for(edge: Edge) -> None:
    revision = moved(edge, "several.example.com", "pod1")
    token = ["--token-file", str(edge.system.folder / "state" / "token")]
    urls = ["--url", edge.system.api_url, "--url", edge.system.api_url]
    found = said("wait", str(revision), *urls, *token)
    assert [(one["url"], one["answer"]["complete"]) for one in found] == [(edge.system.api_url, True)] * 2
    done = pointsman("wait", "999999", "-t", "200ms", *urls, *token)
    assert (done.returncode, done.stdout.count("not complete after")) == (4, 2)


def test_a_change_is_in_the_history_and_can_be_traced(edge: Edge) -> None:
    moved(edge, "traced.example.com", "pod1")
    revision = moved(edge, "traced.example.com", "pod2")
    newest = asked(edge, "history", "-n", "1")[0]
    assert (newest["revision"], newest["state"]) == (revision, "complete")
    found = asked(edge, "trace", str(revision))
    assert [one["node"] for one in found["acks"]] == ["edge-1"]
    assert found["receipt"]["revision"] == revision
    assert "traced.example.com: pod1 → pod2" in pointsman("history", *config(edge)).stdout
    assert "by edge-1" in pointsman("trace", str(revision), *config(edge)).stdout
    assert "no receipt of revision 999999" in failed("trace", "999999", *config(edge))


def begun(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


@contextmanager
def watching(edge: Edge, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = tied([sys.executable, "-m", "xds.cli", "watch", *words, *config(edge)])
    with begun(command) as made:
        try:
            yield made
        finally:
            made.kill()


def lines_until(watch: subprocess.Popen[str], event: str) -> list[dict[str, Any]]:
    assert watch.stdout is not None
    found = []
    for line in watch.stdout:
        found.append(json.loads(line))
        if found[-1]["event"] == event:
            return found
    raise AssertionError(f"it ended before {event}: {found}")


def test_changes_are_seen_as_they_flow_also_after_the_control_plane_was_away(edge: Edge) -> None:
    with watching(edge, "--json", "--status") as watch:
        began = lines_until(watch, "status")[-1]["started_at"]
        revision = edge.put("watched.example.com", "pod2")
        events = lines_until(watch, "complete")
        received = next(one for one in events if one["event"] == "received")
        assert (received["revision"], received["first_changes"][0]["name"]) == (revision, "watched.example.com")
        edge.system.kill("pointsman", signal.SIGKILL)
        edge.system.start_control_plane()
        edge.system.wait_control_plane()
        until(lambda: bool(edge.nodes()) and edge.nodes()[0]["converged"], "the Envoy is back")
        while lines_until(watch, "status")[-1]["started_at"] == began:  # what it said before it was killed
            pass
        moved(edge, "watched.example.com", "pod3")
        assert lines_until(watch, "complete")
        watch.send_signal(signal.SIGINT)
        assert watch.wait(20) == 130
        assert watch.stderr is not None
        assert "trying again" in watch.stderr.read()


def test_a_watch_ends_after_its_time(edge: Edge) -> None:
    done = pointsman("watch", "--for", "1", "--status", *config(edge))
    assert (done.returncode, done.stderr) == (0, "")
    assert "of 1 Envoys have everything" in done.stdout


def test_who_reads_no_further_gets_no_traceback(edge: Edge) -> None:
    command = [sys.executable, "-m", "xds.cli", "domains", *config(edge)]
    with begun(command) as made:
        assert made.stdout is not None
        assert made.stderr is not None
        made.stdout.close()
        assert (made.wait(60), made.stderr.read()) == (141, "")


def test_what_goes_to_a_file_is_all_there_and_the_terminal_has_the_progress(edge: Edge, tmp_path: Path) -> None:
    written = tmp_path / "domains.txt"
    with written.open("w") as file:
        told = on_terminal("domains", *config(edge), stdout=file)
    assert written.read_text() == pointsman("domains", *config(edge)).stdout
    assert "domains" in told
    assert ".example.com" not in told


def test_a_terminal_without_utf_8_gets_plainer_characters(edge: Edge) -> None:
    moved(edge, "plain.example.com", "pod1")
    moved(edge, "plain.example.com", "pod2")
    done = pointsman("history", *config(edge), env={"PYTHONIOENCODING": "ascii"})
    assert "plain.example.com: pod1 -> pod2" in done.stdout


def test_what_is_held_differs_is_released_and_is_in_the_audit_log(edge: Edge) -> None:
    assert asked(edge, "hold", "show") == {"state": "none"}
    assert asked(edge, "diff") == []
    assert asked(edge, "diff", "--gds") == []
    names = [f"bulk{number}.example.com" for number in range(150)]
    edge.load(*[{"op": "put", "domain": name, "pod": "pod1"} for name in names])
    until(lambda: asked(edge, "domains", "bulk", "--count")["domains"] == 150, "they are routed")
    edge.load(*[{"op": "delete", "domain": name} for name in names])
    until(lambda: pointsman("hold", "show", *config(edge)).returncode == 3, "they are held")
    assert {one["kind"] for one in asked(edge, "diff", "-n", "5", code=3)} == {"held"}
    assert len(asked(edge, "diff", "--gds", code=3)) == 150
    assert asked(edge, "hold", "show", code=3)["changes"]["removed"] == 150
    assert any("held" in one for one in asked(edge, "status", code=3)["wrong"])
    assert asked(edge, "hold", "release")["state"] == "none"
    until(lambda: asked(edge, "domains", "bulk", "--count")["domains"] == 0, "they are gone")
    acts = asked(edge, "audit")
    (released,) = [one for one in acts if (one["order"], one["outcome"]) == ("hold.release", "done")]
    assert released["revision"] == asked(edge, "status")["revision"], "it says what was released"
    assert "hold.release" in pointsman("audit", *config(edge)).stdout
    states = asked(edge, "rollback", "list", "-n", "5")
    assert states == sorted(states, key=lambda one: -one["revision"])


def test_what_an_envoy_rejects_has_a_code_of_its_own(edge: Edge) -> None:
    edge.system.kill("gds")
    path = edge.system.folder / "gds.sqlite"
    with open_store(str(path)) as store:
        endpoints = [{"address": "192.0.2.66", "port": 80}]
        store.put_pod(decode_pod(json.dumps({"name": "poisoned", "endpoints": endpoints}).encode()))
    with sqlite3.connect(path) as db:  # the reference GDS would refuse it; another one may not
        db.execute("UPDATE pods SET body = replace(body, '192.0.2.66', ?)", (POISON,))
        db.execute("UPDATE changes SET payload = replace(payload, '192.0.2.66', ?)", (POISON,))
    db.close()
    edge.system.start_gds()
    edge.system.wait_gds()

    def of_it() -> list[int]:
        receipts = asked(edge, "history")
        return [one["revision"] for one in receipts if any(each["name"] == "poisoned" for each in one["first_changes"])]

    until(lambda: of_it() != [], "it came")
    found = asked(edge, "wait", str(of_it()[0]), "--timeout", "90s", code=5)
    assert found["state"] == "set_aside"
    aside = asked(edge, "set-aside", code=3)
    assert [one["name"] for one in aside["items"]] == ["poisoned"]
    assert POISON in pointsman("set-aside", *config(edge)).stdout
    edge.put_pod("poisoned", edge.pods["pod3"])
    until(lambda: pointsman("set-aside", *config(edge)).returncode == 0, "it was put right")


@pytest.mark.parametrize(
    "words",
    [["status"], ["nodes"], ["explain", "a.test"], ["domains"], ["pods"], ["set-aside"], ["certs"], ["diff"], ["watch"],
     ["history"], ["trace", "1"], ["wait", "1"], ["audit"], ["hold", "show"], ["rollback", "list"]],
    ids=" ".join,
)  # fmt: skip
def test_a_control_plane_that_is_not_there_is_one_line(words: list[str]) -> None:
    line = failed(*words, "--url", "http://127.0.0.1:1")
    assert "the control plane at http://127.0.0.1:1 doesn't answer" in line


def test_an_order_without_the_token_says_what_is_needed(edge: Edge) -> None:
    token = edge.system.folder / "another-token"
    token.write_text("a-token-that-is-another-one\n")
    words = ("hold", "release", "--url", edge.system.api_url, "--token-file", str(token))
    assert "says 401" in failed(*words)
    os.unlink(token)

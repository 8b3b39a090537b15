"""``pointsman check`` on real parts: each thing that would stop a control plane is named, and the exit code says so."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import ENVIRONMENT, pointsman, said
from edge_harness import until
from stub_control_plane import StubControlPlane

from demo.system import LOOPBACK, Ports, System, listens
from demo.tied import tied
from xds import settings
from xds.check import envoy, run
from xds.check.finding import Finding, ok
from xds.gds.model import Endpoint, Pod, Snapshot
from xds.state.folder import StateFolder
from xds.state.format import State

POD = {"name": "pod1", "datacenter": "dc1", "endpoints": [{"address": LOOPBACK, "port": 20001}]}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Only GDS runs."""
    made = System(tmp_path_factory.mktemp("check"), Ports.free(), {"edge": {"tables": 8}}, heartbeat=0.5)
    made.prepare()
    made.load([("a.example.com", "pod1"), ("*.b.example.com", "pod1")], [POD])
    try:
        made.start_gds()
        made.wait_gds()
        yield made
    finally:
        made.stop()


def levels(system: System, *words: str, code: int, env: dict[str, str] | None = None) -> dict[str, Any]:
    found = said("check", "-c", system.folder / "pointsman.toml", *words, code=code, env=env)
    assert found["ok"] == (code == 0)
    return {each["name"]: each for each in found["checks"]}


def test_all_is_well(system: System) -> None:
    found = levels(system, code=0)
    assert {each["level"] for each in found.values()} == {"ok", "skipped"}
    assert "2 domains on 1 pods" in found["gds"]["found"]
    assert "takes the listeners, 1 clusters and 2 domains" in found["envoy"]["found"]
    assert found["gds-watch"]["level"] == "ok"


def test_a_person_reads_lines_that_are_not_cut(system: System) -> None:
    done = pointsman("check", "-c", system.folder / "pointsman.toml", "--no-gds", "--no-envoy")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"ok      xds-client-ca      {system.folder}/certs/ca.crt: 1 CA certificates" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[-1].endswith("0 warnings, 0 failures")


def test_a_gds_that_is_asked_host_by_host_is_asked_and_the_pods_file_is_read(system: System) -> None:
    (system.folder / "pods.json").write_text(json.dumps([POD]))
    lookup = {"POINTSMAN_GDS__MODE": "lookup", "POINTSMAN_LOOKUP__PODS": str(system.folder / "pods.json")}
    found = levels(system, "--no-envoy", code=0, env=lookup)
    assert "it answers that it doesn't know it" in found["gds"]["found"]
    assert "1 pods" in found["pods-file"]["found"]
    lookup["POINTSMAN_LOOKUP__PODS"] = str(system.folder / "none.json")
    assert levels(system, "--no-envoy", "--no-gds", code=3, env=lookup)["pods-file"]["level"] == "fail"


def test_a_gds_that_says_no_to_every_host_is_warned_of(system: System) -> None:
    (system.folder / "pods.json").write_text(json.dumps([POD]))
    right = {
        "POINTSMAN_GDS__MODE": "lookup",
        "POINTSMAN_LOOKUP__PODS": str(system.folder / "pods.json"),
        "POINTSMAN_STATE__FOLDER": str(system.folder / "of-check"),
    }
    wrong = {**right, "POINTSMAN_GDS__URL": f"{system.gds_url}/none"}
    assert levels(system, "--no-envoy", code=0, env=wrong)["gds-hosts"]["level"] == "skipped"
    named = levels(system, "--no-envoy", "--host", "a.example.com", "--host", "gone.test", code=0, env=right)
    assert named["gds-hosts"]["level"] == "ok"
    assert "has a.example.com on pod1; it doesn't know gone.test" in named["gds-hosts"]["found"]
    levels(system, "--no-envoy", "--strict", "--host", "a.example.com", code=3, env=wrong)
    folder = StateFolder(system.folder / "of-check")
    folder.load()
    folder.write(State("E", 1, 0.0, {"pod1": Pod("pod1")}, {"*.b.example.com": "pod1", "a.example.com": "pod1"}))
    try:
        assert levels(system, "--no-envoy", code=0, env=right)["gds-hosts"]["level"] == "ok"
        found = levels(system, "--no-envoy", code=0, env=wrong)
    finally:
        folder.close()
    assert (found["gds"]["level"], found["gds-hosts"]["level"]) == ("ok", "warn")
    assert "knows none of a.example.com" in found["gds-hosts"]["found"]
    assert "base path" in found["gds-hosts"]["advice"]


@pytest.mark.parametrize(
    ("setting", "value", "name", "words"),
    [
        ("XDS__CERTIFICATE", "none.crt", "xds-certificate", "No such file"),
        ("XDS__KEY", "certs/envoy.key", "xds-certificate", "does not belong"),
        ("XDS__CLIENT_CA", "certs/envoy.key", "xds-client-ca", "not PEM"),
        ("EDGE__CERTIFICATE", "other", "edge-certificate", "holds no certificate 'other'"),
        ("EDGE__CERTIFICATES", "none", "edge-certificates", "No such file"),
        ("HTTP__TOKEN_FILE", "none", "token", "can't be read"),
        ("GDS__URL", "http://127.0.0.1:1/gds", "gds", "can't be read"),
        ("EDGE__UNKNOWN_HOST__PAGE", "none.html", "envoy", "No such file"),
        ("HTTP__AUDIT_FILE", "none/audit.log", "audit-file", "there is no folder"),
        ("GDS__CA", "none.crt", "gds-files", "can't be used"),
        ("GDS__TOKEN_FILE", "none", "gds-files", "can't be read"),
        ("STATE__FOLDER", "pointsman.toml", "state", "is no folder"),
        ("XDS__PORT", "many", "settings", "xds.port"),
    ],
)
def test_what_would_stop_it_is_named(system: System, setting: str, value: str, name: str, words: str) -> None:
    if value.startswith(("none", "certs/", "pointsman")):
        value = str(system.folder / value)
    heavy = [] if name in ("gds", "envoy") else ["--no-gds", "--no-envoy"]
    found = levels(system, *heavy, code=3, env={f"POINTSMAN_{setting}": value})
    assert found[name]["level"] == "fail"
    assert words in found[name]["found"]
    assert found[name]["advice"]


def test_a_port_that_somebody_has_is_a_failure(system: System) -> None:
    with socket.create_server((LOOPBACK, system.ports.xds)):
        found = levels(system, "--no-gds", "--no-envoy", code=3)
    assert found["xds-port"]["level"] == "fail"


def test_strict_takes_a_warning_for_a_failure(system: System) -> None:
    key = system.folder / "certs" / "certificates" / "edge.key"
    before = key.stat().st_mode
    os.chmod(key, 0o644)
    try:
        found = levels(system, "--no-gds", "--no-envoy", code=0)
        assert found["edge-certificate"]["level"] == "warn"
        levels(system, "--no-gds", "--no-envoy", "--strict", code=3)
    finally:
        os.chmod(key, before)


def test_control_planes_beside_each_other_are_to_share_a_token_and_a_secret(system: System) -> None:
    env = {"POINTSMAN_HTTP__REPLICAS": '["http://192.0.2.1:18080", "http://192.0.2.2:18080"]'}
    found = levels(system, "--no-gds", "--no-envoy", code=0, env=env)
    assert "http.token_file" in found["token"]["advice"]
    assert "edge.tls.tickets.secret" in found["ticket-secret"]["advice"]
    assert {found["token"]["level"], found["ticket-secret"]["level"]} == {"warn"}
    (system.folder / "shared-token").write_text("a-token-of-all-of-them\n")
    (system.folder / "shared-token").chmod(0o600)
    (system.folder / "shared-secret").write_bytes(bytes(range(32)))
    (system.folder / "shared-secret").chmod(0o600)
    env |= {
        "POINTSMAN_HTTP__TOKEN_FILE": str(system.folder / "shared-token"),
        "POINTSMAN_EDGE__TLS__TICKETS__SECRET": str(system.folder / "shared-secret"),
    }
    found = levels(system, "--no-gds", "--no-envoy", code=0, env=env)
    assert {found["token"]["level"], found["ticket-secret"]["level"]} == {"ok"}


def test_an_envoy_that_can_not_be_had_is_said_and_one_that_rejects_is_a_failure(system: System) -> None:
    found = levels(system, "--no-gds", code=3, env={"ENVOY": "/nowhere/envoy"})["envoy"]
    assert (found["level"], "$ENVOY is /nowhere/envoy" in found["found"]) == ("fail", True)
    assert levels(system, "--no-gds", code=3, env={"ENVOY": "/bin/false"})["envoy"]["level"] == "fail"


def test_envoy_sees_the_tables(tmp_path: Path) -> None:
    (tmp_path / "pointsman.toml").write_text("[xds]\nplaintext = true\n")
    pods = tuple(Pod(name, endpoints=(Endpoint(LOOPBACK, 1),)) for name in ("pod1", "pod2"))
    twice = Snapshot("E", 1, pods, [("a.example.com", "pod1"), ("a.example.com", "pod2")])
    (found,) = envoy.look(settings.load(tmp_path / "pointsman.toml"), twice)
    assert found.level == "fail"
    assert "unique" in found.found


OWN = {"POINTSMAN_HTTP__CERTIFICATE": "xds-server.crt", "POINTSMAN_HTTP__KEY": "xds-server.key"}


def https(system: System, **other: str) -> dict[str, str]:
    """The environment of a control plane that speaks HTTPS, with other files of the certificates' folder."""
    return {name: str(system.folder / "certs" / file) for name, file in {**OWN, **other}.items()}


@pytest.mark.parametrize(
    ("other", "name", "words"),
    [
        ({"POINTSMAN_HTTP__CERTIFICATE": "none.crt"}, "http-certificate", "No such file"),
        ({"POINTSMAN_HTTP__KEY": "envoy.key"}, "http-certificate", "does not belong"),
        ({"POINTSMAN_HTTP__CLIENT_CA": "envoy.key"}, "http-client-ca", "not PEM"),
    ],
)
def test_the_certificate_of_the_api_is_looked_at(system: System, other: dict[str, str], name: str, words: str) -> None:
    assert levels(system, "--no-gds", "--no-envoy", code=0, env=https(system))["http-certificate"]["level"] == "ok"
    found = levels(system, "--no-gds", "--no-envoy", code=3, env=https(system, **other))[name]
    assert (found["level"], words in found["found"]) == ("fail", True)


@pytest.mark.parametrize("kind", ["http", "https"])
def test_its_own_control_plane_is_known_though_it_answers_nobody_without_a_token(system: System, kind: str) -> None:
    folder = str(system.folder / f"of-{kind}")
    env = {"POINTSMAN_HTTP__PUBLIC_READ": "false", "POINTSMAN_STATE__FOLDER": folder}
    env |= https(system) if kind == "https" else {}
    command = [sys.executable, "-m", "xds.cli", "serve", "-c", str(system.folder / "pointsman.toml")]
    with subprocess.Popen(tied(command), env={**ENVIRONMENT, **env}, stderr=subprocess.DEVNULL) as made:
        try:
            until(lambda: listens(system.ports.http) and listens(system.ports.xds), "it listens")
            found = levels(system, "--no-gds", "--no-envoy", code=0, env=env)
            assert (found["http-port"]["level"], found["xds-port"]["level"]) == ("warn", "warn")
            assert "a control plane runs there" in found["http-port"]["found"]
        finally:
            made.terminate()


def test_an_address_that_this_machine_has_not_is_no_port_in_use(system: System) -> None:
    found = levels(system, "--no-gds", "--no-envoy", code=3, env={"POINTSMAN_XDS__ADDRESS": "192.0.2.1"})
    assert (found["xds-port"]["level"], "in use" in found["xds-port"]["found"]) == ("fail", False)


def test_what_every_user_may_read_is_warned_of(system: System) -> None:
    token = system.folder / "loose-token"
    token.write_text("a-token-of-all-of-them\n")
    for file, name, env in (
        (system.folder / "certs" / "xds-server.key", "xds-certificate", {}),
        (token, "token", {"POINTSMAN_HTTP__TOKEN_FILE": str(token)}),
    ):
        file.chmod(0o644)
        try:
            found = levels(system, "--no-gds", "--no-envoy", code=0, env=env)[name]
        finally:
            file.chmod(0o600)
        assert (found["level"], "every user may read" in found["found"]) == ("warn", True)


def test_an_envoy_that_is_too_old_is_a_failure(system: System, tmp_path: Path) -> None:
    old = tmp_path / "envoy"
    old.write_text('#!/bin/sh\necho "envoy  version: 816188b8/1.30.4/Clean/RELEASE/BoringSSL"\n')
    old.chmod(0o755)
    found = levels(system, "--no-gds", code=3, env={"ENVOY": str(old)})["envoy"]
    assert (found["level"], "Envoy 1.30.4" in found["found"], "1.36" in found["advice"]) == ("fail", True, True)


def test_a_page_that_is_not_there_is_found_without_an_envoy_too(system: System, tmp_path: Path) -> None:
    env = {"ENVOY": "/nowhere/envoy", "POINTSMAN_EDGE__UNKNOWN_HOST__PAGE": str(tmp_path / "none.html")}
    found = levels(system, "--no-gds", code=3, env=env)["envoy"]
    assert "none.html" in found["found"]


def test_a_check_that_can_not_be_made_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pointsman.toml").write_text("xds = { plaintext = true }\n")

    def broken(settings: object) -> Iterator[Finding]:
        yield ok("state", "begun")
        raise PermissionError(13, "Permission denied", "state/lock")

    def odd(settings: object) -> Iterator[Finding]:
        yield ok("files", "begun")
        raise KeyError("x")

    monkeypatch.setitem(run.files.EVERY, "state", broken)
    monkeypatch.setitem(run.files.EVERY, "files", odd)
    found = {(one.name, one.level): one.found for one in run.every(tmp_path / "pointsman.toml", gds=False)}
    assert found["state", "fail"] == "state/lock: Permission denied"
    assert found["files", "fail"] == "KeyError: 'x'"
    assert ("xds-port", "ok") in found or ("xds-port", "fail") in found, "what comes after it is looked at"


def test_a_wrong_base_path_and_another_service_are_told_apart(system: System) -> None:
    service = StubControlPlane(lambda method, path, headers: (200, "<html>It works!</html>"))
    try:
        for url, words in ((f"{system.gds_url}/none", "answered 404"), (service.url, "not application/x-ndjson")):
            found = levels(system, "--no-envoy", code=3, env={"POINTSMAN_GDS__URL": url})
            assert (found["gds"]["level"], words in found["gds"]["found"]) == ("fail", True), found["gds"]
    finally:
        service.close()

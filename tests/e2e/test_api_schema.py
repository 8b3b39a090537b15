"""The API holds to its own OpenAPI document, whatever it is asked: schemathesis with all its checks and phases, against
control planes that hold something. Without `/api/v1/events`, which never ends, and without waiting for a revision."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from edge_harness import RUNNING, Edge, customers, envoy_is, running, until
from looking_up import looking_up
from wire_envoy import WireEnvoy

from demo.issuer import Issuer, write_flat
from demo.system import LOOPBACK
from gds_mock.opening import open_store
from gds_mock.values import decode_pod

EXAMPLES = 10
DOMAINS = 300
CA = Issuer()
OWN = "u46.example.com"
"""A customer with a certificate of its own."""
STAND_IN, POISON = "192.0.2.66", "fe80::1%no-such-zone"
"""What Envoy rejects, and what stands for it while the reference GDS looks."""


@dataclass(frozen=True)
class Plane:
    edge: Edge

    @property
    def url(self) -> str:
        return self.edge.system.api_url

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {(self.edge.system.folder / 'state' / 'token').read_text().strip()}"}

    def told(self, path: str) -> Any:
        return httpx.get(f"{self.url}/api/{path}", headers=self.bearer, trust_env=False, timeout=30).json()

    @property
    def known(self) -> dict[str, object]:
        """Of each parameter in a path something that is there."""
        revision = self.told("v1/status")["revision"]
        return {"host": customers(1)[0][0], "pod": "pod1", "node": "edge-1", "name": "edge", "revision": revision}

    def hold(self) -> None:
        """Has GDS move so many domains at once that they are held."""
        for pod in itertools.islice(itertools.cycle(RUNNING), 6):
            if self.told("v1/hold")["state"] == "held":
                return
            self.edge.load(*({"op": "put", "domain": domain, "pod": pod} for domain, _ in customers(DOMAINS)[100:]))
            with contextlib.suppress(AssertionError):
                until(lambda: self.told("v1/hold")["state"] == "held", "it is held", 3)
        assert self.told("v1/hold")["state"] == "held"

    def poison(self) -> None:
        """Has GDS name a pod that Envoy rejects: it is set aside, with its domain."""
        self.edge.system.kill("gds")
        path = self.edge.system.folder / "gds.sqlite"
        with open_store(str(path)) as store:
            body = {"name": "poisoned", "endpoints": [{"address": STAND_IN, "port": 80}]}
            store.put_pod(decode_pod(json.dumps(body).encode()))
            store.put_domain("poisoned.example.com", "poisoned")
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE pods SET body = replace(body, ?, ?)", (STAND_IN, POISON))
            db.execute("UPDATE changes SET payload = replace(payload, ?, ?)", (STAND_IN, POISON))
        self.edge.system.start_gds()
        self.edge.system.wait_gds()
        until(lambda: self.told("v1/set-aside")["total"] == 2, "the pod and its domain are set aside", 90)


@contextlib.contextmanager
def watching(folder: Path, public_read: bool | None) -> Iterator[Plane]:
    """An Envoy, and one that rejects all; customers' certificates, one of them unusable; records set aside; a change
    that is held; hosts that nobody knows."""

    def settings(ports: Any) -> dict[str, dict[str, object]]:
        made: dict[str, dict[str, object]] = {
            "edge": {"tables": 16, "misdirected": False, "pod_header": "x-served-by"},
            "http": {"port": ports.http, "probe": f"{LOOPBACK}:{ports.edge_https}"},
            "http.envoy_admins": {"edge-1": f"http://{LOOPBACK}:{ports.admin}"},
            "edge.tls.on_demand": {"enabled": not envoy_is("1.36")},
        }
        if public_read is not None:
            made["http"]["public_read"] = public_read
        return made

    with running(folder, settings, DOMAINS) as edge:
        plane = Plane(edge)
        certificates = folder / "certs" / "certificates"
        write_flat(certificates, OWN, CA.issue(OWN))
        (certificates / "bad.example.com.crt").write_text("this is no certificate")
        (certificates / "bad.example.com.key").write_text("nor is this a key")
        plane.poison()
        for number in range(3):
            edge.ask(f"nobody{number}.example.net")
        with WireEnvoy(folder, (LOOPBACK, edge.system.ports.xds), "edge-bad", answer="nack", tables=16):
            plane.hold()
            until(lambda: plane.told("v1/status")["nodes"]["nacking"] == 1, "an Envoy rejects")
            until(lambda: plane.told("v1/certificates/set-aside")["total"] == 1, "a certificate is set aside")
            yield plane


@contextlib.contextmanager
def asking(folder: Path) -> Iterator[Plane]:
    """GDS is asked host by host; some are known, one is not."""
    with looking_up(folder, domains=DOMAINS, more={"http": {"public_read": False}}) as looked:
        for number in range(5):
            looked.edge.ask(customers(DOMAINS)[number][0])
        looked.edge.ask("nobody.example.net")
        yield Plane(looked.edge)


PLANES: dict[str, Callable[[Path], contextlib.AbstractContextManager[Plane]]] = {
    "public": lambda folder: watching(folder, None),
    "with-the-token": lambda folder: watching(folder, False),
    "lookup": asking,
}


@pytest.fixture(scope="module", params=[*PLANES])
def plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with PLANES[request.param](tmp_path_factory.mktemp("schema")) as made:
        yield made


@pytest.mark.timeout(1_300)  # as long as its run may take, and what is around it
def test_every_answer_is_as_the_document_says(plane: Plane, tmp_path: Path) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(quick(plane.told("openapi.json"), plane.known)))
    options = ["--checks", "all", "--mode", "all", "--phases", "examples,coverage,fuzzing", "--seed", "7"]
    options += ["--max-examples", str(EXAMPLES), "--request-timeout", "30", "--continue-on-failure", "--no-color"]
    options += ["--url", plane.url, "-H", f"Authorization: {plane.bearer['authorization']}"]
    with held_on(plane):
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", str(document), *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=1_200,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert plane.told("v1/status")["nodes"]["connected"] > 0, "it held something to the end"


def test_whatever_is_said_to_need_something_does(plane: Plane) -> None:
    document = plane.told("openapi.json")
    guarded = [
        (method, path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if operation["security"] and {} not in operation["security"]
    ]
    assert len(guarded) >= 7
    for method, path in guarded:
        for headers in ({}, {"authorization": "Bearer of-nothing"}):
            answer = httpx.request(method, f"{plane.url}{path}", headers=headers, trust_env=False)
            assert answer.status_code == 401, (method, path)


def quick(document: Mapping[str, Any], known: Mapping[str, object]) -> dict[str, Any]:
    """What has an end, and soon; with examples of what is there."""
    made = copy.deepcopy(dict(document))
    del made["paths"]["/api/v1/events"]
    revision = made["paths"]["/api/v1/revisions/{revision}"]["get"]
    revision["parameters"] = [one for one in revision["parameters"] if one["name"] != "wait"]
    for operations in made["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["example"] = known[parameter["name"]]
    return made


@contextlib.contextmanager
def held_on(plane: Plane) -> Iterator[None]:
    """What is released is held anew, while the block runs; where GDS is watched."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(1.0):
            plane.hold()

    keeper = threading.Thread(target=keep)
    if plane.told("v1/status")["mode"] == "watch":
        keeper.start()
    try:
        yield
    finally:
        over.set()
        if keeper.is_alive():
            keeper.join()

"""What the data plane is measured with: load with every host in turn, HAProxy as it was, and settings that change."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from envoy_data_plane.envoy.config.listener.v3 import Listener

from bench import dataplane, load, probed, varied
from bench.haproxy import MAP_FIRST, PUBLISHED, HAProxy
from bench.knobs import BASE, beside
from bench.load import PACKAGES, Load, Measured, Shape
from bench.nginx import Nginx
from bench.varied import VARIANTS, changed
from demo.certificates import write_all
from demo.processes import DemoError, Process
from demo.system import ROOT, free_ports, listens
from xds.gds.model import Pod
from xds.resources import edge
from xds.resources.clusters import cluster
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge, listeners
from xds.resources.local_replies import UnknownHost
from xds.resources.types import LISTENER

GDS = "/rest/private/gds"
HOSTS = [f"host{number:03}.example.com" for number in range(100)]
PODS = ("pod1", "pod2")

installed = pytest.mark.skipif(
    any(shutil.which(name, path=f"/usr/bin:/bin{load.SBIN}") is None for name in PACKAGES),
    reason=f"needs apt-get install {' '.join(PACKAGES.values())}",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_all(tmp_path)
    return tmp_path


@contextlib.contextmanager
def ending(process: Process, port: int) -> Iterator[None]:
    try:
        process.wait_until(lambda: listens(port))
        yield
    finally:
        process.stop()


@installed
@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_each_request_asks_for_the_next_host(folder: Path, protocol: str) -> None:
    gds, tls, *pods = free_ports(4)
    homes = {host: PODS[0] for host in HOSTS}
    nginx = Nginx(dict(zip(PODS, pods, strict=True)), gds, tls, homes, folder / "certificates" / "edge")
    with ending(nginx.start(folder, GDS, 1024, logged=True), tls):
        done = Load(folder, HOSTS).run(tls, Shape(protocol, 4, 1, 0.5, 0.1), lambda: 0.0)
    asked = Counter(line.split()[1] for line in (folder / "hosts.log").read_text().splitlines())
    spoken = {line.split()[0] for line in (folder / "hosts.log").read_text().splitlines()}
    assert spoken == {"HTTP/1.1" if protocol == "h1" else "HTTP/2.0"}
    assert set(asked) == set(HOSTS)
    assert max(asked.values()) - min(asked.values()) <= 10
    assert done.requests > 0
    assert done.errors == 0


class Gds:
    """Answers with the pod of ``homes``, and counts how often each host is asked for."""

    def __init__(self, homes: dict[str, str]) -> None:
        self.homes, self.asked = homes, Counter[str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host = self.path.removeprefix(f"{GDS}/backend/")
                outer.asked[host] += 1
                self.send_response(200 if host in outer.homes else 404)
                self.end_headers()
                self.wfile.write(outer.homes.get(host, "").encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Gds:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _ask(folder: Path, port: int, host: str) -> str | None:
    """The pod that answers."""
    trusted = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    asking = http.client.HTTPSConnection("localhost", port, context=trusted, timeout=10)
    with contextlib.closing(asking):
        asking.request("GET", "/", headers={"host": host})
        return asking.getresponse().headers["x-pod"]


@installed
@pytest.mark.parametrize(("way", "questions", "after"), [(PUBLISHED, 4, None), (MAP_FIRST, 1, "pod1")])
def test_haproxy_asks_gds_as_it_did(folder: Path, way: str, questions: int, after: str | None) -> None:
    """As published on every request; map first only once, and then it never learns that the host moved."""
    host = HOSTS[0]
    port, gds_port, tls, *pod_ports = free_ports(5)
    certificate, pods = folder / "certificates" / "edge", dict(zip(PODS, pod_ports, strict=True))
    with Gds({host: "pod1"}) as gds:
        # A pod says its name only where it is at home: for nginx the host stays on the first one.
        nginx = Nginx(pods, gds_port, tls, {host: "pod1"}, certificate).start(folder, GDS, 1024)
        haproxy = HAProxy(way, port, gds.port, GDS, pods, certificate).start(
            folder / "haproxy", [("else.test", "pod2")]
        )
        with ending(nginx, tls), ending(haproxy, port):
            assert [_ask(folder, port, host) for _ in range(3)] == ["pod1"] * 3
            gds.homes[host] = "pod2"
            moved = _ask(folder, port, host)
    assert gds.asked[host] == questions
    assert moved == after


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(load, "SBIN", "")
    with pytest.raises(DemoError, match=r"haproxy.*apt-get install.*nghttp2-client haproxy nginx-light"):
        dataplane.prepare(100)


def _run(cpu_us: float) -> Measured:
    return Measured(requests=1, per_second=1, p50_ms=1, p99_ms=1, errors=0, cpu_us=cpu_us, statuses="")


def test_a_round_in_which_all_is_slower_changes_no_ratio() -> None:
    runs = {BASE: [_run(100), _run(200), _run(100)], "lean": [_run(90), _run(180), _run(90)]}
    assert beside(runs, "lean") == pytest.approx((0.9, 0.0))


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - {"same", "one-thread"}))
def test_every_variant_changes_what_is_generated(name: str) -> None:
    variant = VARIANTS[name]
    bootstrap = (ROOT / "envoy" / "envoy.yaml").read_text()
    made = bytes(listeners(Edge(http3=True, unknown=UnknownHost(count=True)))[0])
    same, other = (changed(VARIANTS[each], Listener.parse(made)) for each in ("same", name))
    assert bytes(same) == made
    assert bytes(other) != bytes(same) or variant.bootstrap(bootstrap) != bootstrap


def test_a_control_plane_started_as_a_variant_generates_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def listening() -> bytes:
        made = EdgeResources(8, timedelta(seconds=1)).listeners(Edge())[LISTENER]["https"]
        assert made is not None
        return made.body

    plain = listening()
    for function in ("listening", "cluster"):
        monkeypatch.setattr(edge, function, getattr(edge, function))  # and put back when the test is over
    monkeypatch.setattr(probed, "pointsman", lambda *started: None)
    monkeypatch.setattr(sys, "argv", ["bench.varied", "no-request-id", "/dev/null"])
    varied.main()
    assert Listener.parse(listening()) == changed(VARIANTS["no-request-id"], Listener.parse(plain))
    assert listening() != plain


def test_the_cluster_of_a_variant_is_changed_too() -> None:
    made = cluster(Pod("pod1"), timedelta(seconds=1))
    change = VARIANTS["buffers-1m"].cluster
    assert change is not None
    before = bytes(made)
    change(made)
    assert bytes(made) != before

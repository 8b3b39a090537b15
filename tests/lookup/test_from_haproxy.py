"""`docs/from-haproxy.md`, typed: each of its commands, in order, beside a HAProxy whose Lua asks a GDS of one call."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from edge_harness import until
from nursery import Sooner
from terminal import Terminal, chapters, settings

from bench import load
from bench.haproxy import MAP_FIRST, HAProxy
from bench.lookup_sides import BUSY, Asker
from demo.processes import Process
from demo.system import BASE, LOOPBACK, ROOT, Ports, answers, free_ports, listens

PAGE = ROOT / "docs" / "from-haproxy.md"
BESIDE, LOOK, COMPARE, IMPORT, TELL = chapters(PAGE).values()
PATH = f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '')}{load.SBIN}"
NEEDED = ("haproxy", "socat", "jq", "curl", "xargs")
MOVED, GONE, STAYS = "moved.example.com", "gone.example.com", "acme.example.com"
HOMES = {MOVED: "pod1", GONE: "pod1", STAYS: "pod2", **{f"t{n}.example.com": f"pod{n % 3 + 1}" for n in range(9)}}

pytestmark = pytest.mark.skipif(
    any(shutil.which(name, path=PATH) is None for name in NEEDED), reason=f"needs {', '.join(NEEDED)}"
)


@dataclass(frozen=True)
class Edges:
    """The old one runs; ours does after `start`."""

    system: Sooner
    old: Asker
    ours: Asker
    gds: httpx.Client
    """Tells GDS what to say."""

    def start(self) -> None:
        started = self.system.start_control_plane()
        started.wait_until(lambda: answers(f"{self.system.api_url}/readyz"), BUSY)
        self.system.start_envoy()
        self.system.wait_envoy()
        until(lambda: self.ours.ask(STAYS).pod == HOMES[STAYS], "the first answer")

    def move(self, host: str, pod: str) -> None:
        self.gds.get(f"/control/move/{host}/{pod}").raise_for_status()


@pytest.fixture
def edges(tmp_path: Path) -> Iterator[Edges]:
    gds, proxy, *pods = free_ports(5)
    running = dict(zip(("pod1", "pod2", "pod3"), pods, strict=True))
    ports = Ports.free()
    system = Sooner(tmp_path, ports, documented(gds))
    system.prepare()
    (tmp_path / "gds.key").write_text("the key of GDS\n")
    (tmp_path / "homes").write_text("".join(f"{host} {pod}\n" for host, pod in HOMES.items()))
    certificate = tmp_path / "certs" / "certificates" / "edge"
    haproxy = HAProxy(MAP_FIRST, proxy, gds, BASE, running, certificate, socket=tmp_path / "haproxy.sock")
    asked = [Asker(port, system.tls()) for port in (proxy, ports.edge_https)]
    others: list[Process] = []
    try:
        for name, port in running.items():
            system.start_pod(name, port)
        command = [sys.executable, "-m", "bench.one_call_gds", str(gds), BASE, str(tmp_path / "homes")]
        others.append(Process("gds", command, tmp_path / "gds.log", tmp_path))
        others[0].wait_until(lambda: listens(gds))
        others.append(haproxy.start(tmp_path / "haproxy", ()))
        others[1].wait_until(lambda: listens(proxy))
        for name, port in running.items():
            system.wait_pod(name, port)
        with httpx.Client(base_url=f"http://{LOOPBACK}:{gds}", trust_env=False) as client:
            yield Edges(system, *asked, client)
    finally:
        for asker in asked:
            asker.close()
        system.stop()
        for part in reversed(others):
            part.stop()


def documented(gds: int) -> dict[str, Mapping[str, object]]:
    """The document's settings, for this GDS; less patient, so that nobody need wait for half a minute."""
    shown: dict[str, Any] = tomllib.loads(settings(PAGE))
    shown["gds"]["url"] = f"http://{LOOPBACK}:{gds}{BASE}"
    shown["lookup.client"] = shown["lookup"].pop("client")
    shown["lookup"] |= {"refresh": 2.0, "grace": 2.0}
    return shown


def typed_here(edges: Edges) -> Terminal:
    """A terminal in which the document's places are the test's."""
    system = edges.system
    here = {
        "/etc/haproxy/": f"{system.folder}/haproxy/",
        "/run/haproxy.sock": f"{system.folder}/haproxy.sock",
        "https://192.0.2.10": f"https://{LOOPBACK}:{system.ports.edge_https}",
        "--edge-ca ca.crt": "--edge-ca certs/ca.crt",
        "cat token": "cat state/token",
        "http://127.0.0.1:18080": system.api_url,
    }
    for place in here:
        assert place in PAGE.read_text(), place
    pattern = re.compile("|".join(map(re.escape, here)))
    return Terminal(system.folder, lambda words: pattern.sub(lambda found: here[found[0]], words), {"PATH": PATH})


def test_each_step_does_what_the_document_says(edges: Edges) -> None:
    for host, pod in HOMES.items():
        assert edges.old.ask(host).pod == pod
    edges.move(MOVED, "pod3")
    edges.move(GONE, "")
    assert edges.old.ask(MOVED).pod == "pod1", "a map that was once filled is never looked at again"
    with typed_here(edges) as terminal:
        (pods_file,) = BESIDE
        done = terminal.type(pods_file)
        assert (done.code, done.said) == (0, "")
        edges.start()

        show_map, check = LOOK
        assert terminal.type(show_map).code == 0
        assert dict(map(str.split, filter(None, read(edges, "backend.map").splitlines()))) == HOMES
        assert terminal.type(check).said == f"{len(HOMES)} hosts can be taken; 0 lines can't be used"

        compare, through_the_edge = COMPARE
        different = re.findall(r"`(map: pod1, gds: [^`]*)`", PAGE.read_text())
        assert len(different) == 2
        done = terminal.type(compare)
        assert done.code == 3
        for said in (*different, "the edge wasn't asked", f"{len(HOMES)} hosts: {len(HOMES) - 2} equal, 2 different"):
            assert said in done.said
        done = terminal.type(through_the_edge)
        assert done.code == 3
        assert re.search(rf"^{MOVED}  map: pod1, gds: pod3.*edge: pod3", done.said, re.MULTILINE), done.said

        take, shown, compare_again, put_right = IMPORT
        done = terminal.type(take)
        counts = re.search(r"(\d+) hosts taken, (\d+) known already; 0 lines can't be used", done.said)
        assert done.code == 0
        assert counts is not None, done.said
        assert int(counts[1]) + int(counts[2]) == len(HOMES)
        until(lambda: f"gone: {GONE}" in terminal.type(shown).said, "what GDS hasn't got is named", 40)
        assert terminal.type(compare_again).code == 3
        assert {row["host"] for row in json.loads(read(edges, "compared.json"))["different"]} == {MOVED, GONE}
        done = terminal.type(put_right)
        assert (done.code, done.said) == (0, f"{MOVED}: pod3")

        for host, pod in {**HOMES, MOVED: "pod3"}.items():
            if host != GONE:
                assert edges.ours.ask(host).pod == pod, host
        assert edges.ours.ask(GONE).status == 404

        (tell,) = TELL
        edges.move(STAYS, "pod1")
        done = terminal.type(tell)
        assert re.search(r'"pod":\s*"pod1"', done.said), done.said
        until(lambda: edges.ours.ask(STAYS).pod == "pod1", "the move is at the edge")


def read(edges: Edges, name: str) -> str:
    return (edges.system.folder / name).read_text()

"""What an operator does to a running edge: the commands, the API, the metrics, and the parts ended and begun."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_harness import LOOPBACK, Edge, until
from steady_load import Load
from whereabouts import Whereabouts

from demo.system import ROOT, WITHOUT_TLS


@contextmanager
def under_load(edge: Edge, domains: Iterable[tuple[str, str]]) -> Iterator[None]:
    """A steady load on these domains, which stay on these pods; at the end no request has failed or was misrouted."""
    with Load(edge.system.ports.edge_https, edge.system.tls(), Whereabouts(dict(domains))) as load:
        yield
    load.prove()


def command(edge: Edge, *words: str) -> tuple[int, Any]:
    """``pointsman WORDS --json`` with the edge's settings: the exit code, and the answer or what it said on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "xds.cli", *words, "--json", "-c", str(edge.system.folder / "pointsman.toml")],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def hold(edge: Edge) -> dict[str, Any]:
    answer: dict[str, Any] = WITHOUT_TLS.get(f"{edge.system.api_url}/api/v1/hold").json()
    return answer


def ready(edge: Edge) -> dict[str, Any]:
    answer: dict[str, Any] = WITHOUT_TLS.get(f"{edge.system.api_url}/readyz").json()
    return answer


def metrics(edge: Edge) -> dict[str, float]:
    text = WITHOUT_TLS.get(f"{edge.system.api_url}/metrics").text
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("pointsman_"))
    return {name: float(value) for name, value in lines}


def becomes_held(edge: Edge, state: str = "held") -> dict[str, Any]:
    until(lambda: hold(edge)["state"] == state, f"the hold is {state}")
    return hold(edge)


def bulk(edge: Edge, domains: list[str], pod: str = "") -> None:
    """One transaction: all of them go to ``pod``, or away."""
    edge.load(
        *[{"op": "put", "domain": name, "pod": pod} if pod else {"op": "delete", "domain": name} for name in domains]
    )


def restart_control_plane(edge: Edge, how: signal.Signals = signal.SIGKILL) -> None:
    edge.system.kill("pointsman", how)
    edge.system.start_control_plane()
    edge.system.wait_control_plane()


def bearer(edge: Edge) -> dict[str, str]:
    """What the operator of this edge shows."""
    settings = tomllib.loads((edge.system.folder / "pointsman.toml").read_text())
    folder = edge.system.folder / settings.get("state", {}).get("folder", "state")
    return {"authorization": f"Bearer {(folder / 'token').read_text().strip()}"}


def on_disk(edge: Edge, revision: int) -> None:
    """Until the state folder has this revision."""

    def found() -> bool:
        states = WITHOUT_TLS.get(f"{edge.system.api_url}/api/v1/states", headers=bearer(edge)).json()
        return any(one["revision"] >= revision for one in states["items"])

    until(found, f"revision {revision} is on disk")


def store_kept(edge: Edge, beside: Path) -> None:
    """A backup of GDS's store."""
    edge.system.kill("gds")
    shutil.copytree(edge.system.folder, beside, ignore=lambda _, names: [n for n in names if "gds.sqlite" not in n])
    edge.system.start_gds()
    edge.system.wait_gds()


def store_restored(edge: Edge, beside: Path) -> None:
    edge.system.kill("gds")
    for file in edge.system.folder.glob("gds.sqlite*"):
        file.unlink()
    shutil.copytree(beside, edge.system.folder, dirs_exist_ok=True)
    edge.system.start_gds()
    edge.system.wait_gds()


def store_replaced(edge: Edge, domains: list[tuple[str, str]]) -> None:
    """Another GDS, of another epoch, that knows the same pods and these domains."""
    edge.system.kill("gds")
    for file in edge.system.folder.glob("gds.sqlite*"):
        file.unlink()
    pods = [{"name": n, "endpoints": [{"address": LOOPBACK, "port": port}]} for n, port in edge.pods.items()]
    edge.system.load(domains, pods)
    edge.system.start_gds()
    edge.system.wait_gds()

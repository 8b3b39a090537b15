"""A real Prometheus that scrapes a running edge, with the rules of `ops/prometheus`."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from edge_harness import Edge, until

from demo.system import LOOPBACK, WITHOUT_TLS, free_ports

OPS = Path(__file__).resolve().parents[2] / "ops"
ALERTS = OPS / "prometheus" / "alerts.yml"


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} isn't here: Debian's prometheus")
    return found


class Prometheus:
    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/v1", timeout=30, trust_env=False)

    def get(self, path: str, **params: str) -> Any:
        answer = self._http.get(path, params=params)
        assert answer.status_code == 200, f"{params}: {answer.text}"
        return answer.json()["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.get("/query", query=expression)["result"]
        return result

    def close(self) -> None:
        self._http.close()


@contextlib.contextmanager
def scraping(folder: Path, *edges: Edge) -> Iterator[Prometheus]:
    """It looks every second. It is started with our example of its settings, but for the addresses and the pace."""
    settings = (OPS / "prometheus" / "prometheus.yml").read_text()
    addresses = '", "'.join(edge.system.api_url.removeprefix("http://") for edge in edges)
    for old, new in (("15s", "1s"), ("127.0.0.1:18080", addresses)):
        assert old in settings
        settings = settings.replace(old, new)
    (folder / "prometheus.yml").write_text(settings)
    shutil.copy(ALERTS, folder)
    (port,) = free_ports(1)
    command = [
        tool("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={LOOPBACK}:{port}",
    ]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    asking = Prometheus(f"http://{LOOPBACK}:{port}")
    try:
        until(lambda: _ready(port), f"Prometheus: {folder}/prometheus.log", patience=60)
        yield asking
    finally:
        asking.close()
        process.terminate()
        process.wait(30)


def _ready(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return WITHOUT_TLS.get(f"http://{LOOPBACK}:{port}/-/ready").status_code == 200
    return False

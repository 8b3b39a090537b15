"""An old proxy's map becomes known to a control plane in lookup mode: how long it takes, what memory, who notices.

``python -m bench.importing [--hosts 100000 1000000]``: for each size a new edge with its Envoy and a GDS of one call,
and ``pointsman import haproxy-map`` of a map of so many hosts. ``seconds`` are those of the command, ``at_envoy_s``
until Envoy has ACKed all of it. Memory is the highest that each process had, Envoy's afterwards, in megabytes. Beside
it the control plane's API is asked for one domain, and Envoy for a known host, again and again: ``api_max_ms`` and
``edge_max_ms`` are the slowest answers.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from bench.edge import free_pods, names, pod_name, rss_mb, serving
from bench.lookup_sides import OURS, Asker, Side
from bench.report import RESULTS, Report
from demo.processes import DemoError

PODS = 24
PATIENCE = 900.0
"""Seconds that the command may take, and Envoy after it."""
MB = 1e6


@dataclass
class Beside:
    """What is done again and again while it is entered: ``act`` returns seconds or megabytes, and the most is kept."""

    act: Callable[[], float]
    pause: float = 0.05
    most: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Beside:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self.pause):
            self.most = max(self.most, self.act())


def measure(folder: Path, count: int) -> dict[str, object]:
    """Raises DemoError when a part doesn't start, or the command fails."""
    homes = {name: pod_name(number % PODS) for number, name in enumerate(names(count))}
    pods = free_pods(PODS)
    file = folder / "backend.map"
    file.write_text("".join(f"{host} {pod}\n" for host, pod in homes.items()))
    (folder / OURS).mkdir()
    side = Side(OURS, folder / OURS, pods, homes)
    with contextlib.ExitStack() as stack:
        stack.enter_context(serving(pods, folder / "pods.log"))
        stack.callback(side.stop)
        side.start()
        return {"hosts": count, **_imported(side, file, homes)}


def _imported(side: Side, file: Path, homes: Mapping[str, str]) -> dict[str, object]:
    plane = side.processes()["pointsman"]
    known = next(iter(homes))
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(httpx.Client(base_url=side.api_url, trust_env=False, timeout=60))
        asker = stack.enter_context(contextlib.closing(Asker(side.port, side.tls())))
        command = [sys.executable, "-m", "xds.cli", "import", "haproxy-map", str(file)]
        command += ["-c", str(side.folder / "pointsman.toml")]
        began = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
            with (
                Beside(lambda: _timed(lambda: api.get(f"/api/v1/domains/{known}").raise_for_status())) as asked,
                Beside(lambda: _timed(lambda: asker.ask(known))) as through,
                Beside(lambda: rss_mb(plane)) as memory,
                Beside(lambda: _rss(child.pid)) as own,
            ):
                said, _ = child.communicate(timeout=PATIENCE)
            took = time.monotonic() - began
        if child.returncode:
            raise DemoError(f"the import ended with {child.returncode}: {said[-400:]}")
        _wait_acked(api)
        acked = time.monotonic() - began
        *_, last = homes
        if asker.ask(last).pod != homes[last]:
            raise DemoError(f"{last} isn't answered by {homes[last]}")
    return {
        "seconds": took,
        "hosts_per_s": round(len(homes) / took),
        "at_envoy_s": acked,
        "command_mb": own.most,
        "pointsman_mb": memory.most,
        "envoy_mb": rss_mb(side.processes()["envoy"]),
        "api_max_ms": asked.most * 1000,
        "edge_max_ms": through.most * 1000,
        "said": said.strip(),
    }


def _wait_acked(api: httpx.Client) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        revision = api.get("/readyz").json()["revision"]
        answer = api.get(f"/api/v1/revisions/{revision}", params={"wait": 30})
        if answer.status_code == 200 and answer.json()["complete"]:
            return
    raise DemoError(f"Envoy doesn't have all of it after {PATIENCE:.0f} s")


def _timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _rss(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss / MB)
    except psutil.NoSuchProcess:
        return 0.0


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.importing", description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--json", type=Path, default=RESULTS / "importing.json")
    options = parser.parse_args()
    report = Report("An old proxy's map becomes known")
    try:
        for count in options.hosts:
            with tempfile.TemporaryDirectory() as folder:
                report.add(**measure(Path(folder), count))
    except DemoError as error:
        print(error, file=sys.stderr)
        return 2
    report.show(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

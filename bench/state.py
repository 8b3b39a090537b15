"""The directory on disk: what a whole state costs, and how long a control plane takes that starts without GDS.

``python -m bench.state [--domains 1000000]``. ``write_s`` and ``read_s`` are of the state alone; ``loaded_s`` is from
the folder to a directory in memory, ``ready_s`` from the start of the process to a ready control plane, GDS being away.
``stall_ms`` is the longest that the event loop of a process was held up while its thread wrote a whole state.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from bench.edge import Edge, names, pod_name, rss_mb
from bench.report import RESULTS, Report
from demo.system import Ports
from xds.delta import Delta
from xds.gds.model import Pod
from xds.state.folder import StateFolder
from xds.state.format import State
from xds.state.keeper import Keeper


def directory(domains: int) -> State:
    pods = {pod_name(number): Pod(pod_name(number)) for number in range(50)}
    homes = {name: pod_name(number) for number, name in enumerate(names(domains))}
    return State("bench", 1, time.time(), pods, homes)


async def stall(state: State, path: Path) -> float:
    """Seconds, while a keeper writes the whole of ``state``."""
    folder = StateFolder(path)
    folder.load()
    keeper = Keeper(folder, lambda: State("bench", 1, 0.0, dict(state.pods), dict(state.domains)), time.time)
    keeper.changed(Delta({}, {}), "bench", 1)
    longest, writing = 0.0, asyncio.create_task(keeper.write())
    while not writing.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before)
    assert writing.result()
    await keeper.close()
    return longest


def started(path: Path, state: State) -> dict[str, float]:
    """A control plane that finds ``state`` and no GDS."""
    system = Edge(path, Ports.free())
    system.prepare()
    folder = StateFolder(path / "state")
    folder.load()
    begun = time.perf_counter()
    folder.write(state)
    written = time.perf_counter()
    folder.close()
    again = StateFolder(path / "state")
    assert again.load().state == state
    read = time.perf_counter()
    again.close()
    size = sum(file.stat().st_size for file in (path / "state").iterdir())
    try:
        asked = time.perf_counter()
        process = system.start_control_plane()
        system.wait_control_plane()
        ready, memory = time.perf_counter() - asked, rss_mb(process)
    finally:
        system.stop()
    said = [json.loads(line) for line in process.log.read_text().splitlines() if '"state.loaded"' in line]
    return {
        "write_s": written - begun,
        "read_s": read - written,
        "file_mb": size / 1e6,
        "loaded_s": said[0]["seconds"],
        "ready_s": ready,
        "memory_mb": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.state", description=__doc__)
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, default=RESULTS / "state.json")
    options = parser.parse_args()
    report = Report("The directory on disk, and a start without GDS")
    state = directory(options.domains)
    with tempfile.TemporaryDirectory() as folder:
        figures = started(Path(folder), state)
        report.add(
            domains=options.domains,
            **figures,
            stall_ms=asyncio.run(stall(state, Path(folder) / "stall")) * 1000,
        )
    report.show(options.json)


if __name__ == "__main__":
    main()

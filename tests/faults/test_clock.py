"""The clock jumps by an hour, either way, while everything runs: nothing that is valid expires, nothing stops.

libfaketime moves the wall clock of the control plane's process; the monotonic one goes on, as it does when a machine's
clock is set.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from edge_harness import until
from faulty_edge import FaultyEdge, running_faulty
from wire_envoy import held_by_all

from demo.system import LOOPBACK

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that says how far the clock is off."""
    if LIBRARY is None:
        pytest.skip("libfaketime is not installed (Debian's package libfaketime)")
    file: Path = tmp_path_factory.mktemp("clock") / "offset"
    file.write_text("+0\n")
    return file


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory, clock: Path) -> Iterator[FaultyEdge]:
    folder = tmp_path_factory.mktemp("clocked")
    fake = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with running_faulty(folder, {"gds": {"stale_after": 20.0}}, environment=fake) as edge:
        yield edge


@pytest.mark.parametrize("offset", [3_500, -3_500, 0])
def test_a_jump_of_an_hour_ends_no_stream_and_delays_no_change(edge: FaultyEdge, clock: Path, offset: int) -> None:
    """A little less than an hour: the demo's certificates are valid since an hour ago."""
    (before,) = edge.nodes()
    lost = edge.metrics()["gds_reconnects_total"]
    with edge.load_on() as load:
        clock.write_text(f"{offset:+d}\n")
        time.sleep(2.5)
        assert edge.ready()["gds_silent_seconds"] < 20.0
        assert edge.ready()["ready"]
        for domain in edge.where.domains[:5]:
            edge.move(domain, edge.elsewhere(domain))
            edge.arrives(domain)
        with held_by_all(edge.system.folder, (LOOPBACK, edge.system.ports.xds)) as client:
            assert client.complete
        said = json.loads((edge.system.folder / "pointsman-0.log").read_text().splitlines()[-1])
        off = datetime.fromisoformat(said["timestamp"]).timestamp() - time.time()
        assert abs(off - offset) < 60, "its clock didn't jump: the test proves nothing"
        load.wait(50)
    load.prove()
    until(lambda: len(edge.nodes()) == 1, "the Envoy alone")
    (after,) = edge.nodes()
    assert after["connected_seconds"] > before["connected_seconds"], "its stream was ended"
    assert edge.metrics()["gds_reconnects_total"] == lost

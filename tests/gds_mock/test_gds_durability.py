"""What stays: after a crash, after a restart, and in memory while a great deal goes through."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gds_harness import Gds, serving

MANY = 600_000


def test_kill_9_after_an_answered_write_loses_nothing(db: str) -> None:
    with serving(db) as gds:
        gds.pod("pod1")
        for number in range(50):
            gds.put(f"d{number}.example.com", "pod1")
        gds.load({"op": "put", "domain": "loaded.example.com", "pod": "pod1"})
        before = gds.position()
        gds.end(signal.SIGKILL)
    with serving(db) as gds:
        assert gds.position() == before
        assert len(gds.client.get("/backends").text.splitlines()) == 1 + 51
        assert gds.client.get("/backend/d49.example.com").text == "pod1"
        with gds.watch(before[0], before[1] - 1) as watch:
            assert watch.change().data["changes"][0]["domain"] == "loaded.example.com"


def test_kill_9_in_the_middle_of_a_load_applies_all_or_nothing(db: str) -> None:
    with serving(db) as gds:
        gds.pod("pod1")
        before = gds.position()

        def body() -> Iterator[bytes]:
            for number in range(20_000):
                yield b'{"op":"put","domain":"d%d.example.com","pod":"pod1"}\n' % number
            gds.end(signal.SIGKILL)
            yield b"\n"

        with pytest.raises(httpx.TransportError):
            gds.client.post("/backends", content=body())
    with serving(db) as gds:
        assert gds.position() == before
        assert len(gds.client.get("/backends").text.splitlines()) == 1


def test_a_new_file_is_a_new_epoch(tmp_path: Path) -> None:
    with serving(tmp_path / "one.sqlite") as one, serving(tmp_path / "two.sqlite") as two:
        assert one.position()[0] != two.position()[0]
        assert one.position()[1] == two.position()[1] == 0


def test_memory_stays_small_however_much_goes_through(db: str) -> None:
    with serving(db, "--keep-changes", MANY) as gds:
        gds.pod("pod1")
        before = peak_memory(gds)
        lines = (b'{"op":"put","domain":"tenant-%d.example.com","pod":"pod1"}\n' % n for n in range(MANY))
        blocks = (b"".join(block) for block in zip(*[lines] * 1_000, strict=True))
        assert gds.client.post("/backends", content=blocks).json()["puts"] == MANY
        assert peak_memory(gds) - before < 120
    with serving(db, "--keep-changes", MANY) as gds:
        before = peak_memory(gds)
        with gds.client.stream("GET", "/backends") as answer:
            sizes = [(len(chunk), chunk.count(b"\n")) for chunk in answer.iter_bytes()]
        assert sum(lines for _, lines in sizes) == MANY + 1
        with gds.watch(gds.position()[0], 1) as watch:
            events = 1
            while watch.change().data["more"]:
                events += 1
        assert events == MANY / 1_000
        whole = sum(size for size, _ in sizes) // 2**20
        assert peak_memory(gds) - before < whole / 2  # neither answer was ever whole in memory


def peak_memory(gds: Gds) -> int:
    """The most memory the server ever had, in MB."""
    assert gds.process is not None
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{gds.process.pid}/status").read_text())
    assert found
    return int(found[1]) // 1024

"""``pointsman import haproxy-map``: how many orders it makes of a map, and what it says when one of them fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from command import failed, pointsman
from stub_control_plane import StubControlPlane

HOSTS = 120_000


class ControlPlane(StubControlPlane):
    """Takes 50,000 hosts of each of the first ``orders``; then it is ending."""

    def __init__(self, orders: int) -> None:
        self.orders = 0
        self._most = orders
        super().__init__(self._answered)

    def _answered(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        self.orders += 1
        if self.orders > self._most:
            return 503, {"detail": "it is ending"}
        return 200, {"taken": 50_000, "kept": 0, "refused": [{"host": "h7.test", "reason": "no"}]}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "token").write_text("a-token-that-is-long-enough-to-be-one")
    (tmp_path / "backend.map").write_text("".join(f"h{number}.test pod1\n" for number in range(HOSTS)))
    return ["import", "haproxy-map", str(tmp_path / "backend.map"), "--token-file", str(tmp_path / "token")]


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    made = ControlPlane(3)
    yield made
    made.close()


def test_a_large_map_is_a_few_orders_and_a_host_that_is_refused_is_named_by_its_line(
    words: list[str], plane: ControlPlane
) -> None:
    done = pointsman(*words, "--url", plane.url)
    assert (done.returncode, plane.orders) == (3, 3), done.stderr
    assert "backend.map:8: no: h7.test pod1" in done.stdout


def test_an_import_that_is_cut_off_says_how_far_it_came(words: list[str]) -> None:
    plane = ControlPlane(2)
    try:
        line = failed(*words, "--url", plane.url)
    finally:
        plane.close()
    assert "it is ending; 100,000 of 120,000 hosts are known, the others may not be: do it again" in line

"""``pointsman import haproxy-map`` where there are several control planes: each learns for itself, so all are told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from command import pointsman
from stub_control_plane import StubControlPlane


class ControlPlane(StubControlPlane):
    """Takes two hosts of every order, or refuses one."""

    def __init__(self, refused: tuple[str, ...] = ()) -> None:
        self.orders: list[str] = []
        self._refused = [{"host": host, "reason": "pod isn't in the pods file"} for host in refused]
        super().__init__(self._answered)

    def _answered(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        self.orders.append(path)
        return 200, {"taken": 2 - len(self._refused), "held": 0, "kept": 0, "refused": self._refused}


@pytest.fixture
def planes() -> Iterator[list[ControlPlane]]:
    made = [ControlPlane(), ControlPlane()]
    yield made
    for one in made:
        one.close()


def importing(folder: Path, *replicas: str) -> list[str | Path]:
    """The command's words, with settings that name these control planes."""
    (folder / "token").write_text("a-token-that-is-long-enough-to-be-one")
    (folder / "token").chmod(0o600)
    (folder / "backend.map").write_text("a.test pod1\nb.test pod1\n")
    (folder / "pointsman.toml").write_text(
        f"[xds]\nplaintext = true\n[http]\ntoken_file = 'token'\nreplicas = {json.dumps(replicas)}\n"
    )
    return ["import", "haproxy-map", folder / "backend.map", "-c", folder / "pointsman.toml"]


def test_all_control_planes_that_the_settings_name_are_told(tmp_path: Path, planes: list[ControlPlane]) -> None:
    words = importing(tmp_path, *(plane.url for plane in planes))
    done = pointsman(*words)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == f"{planes[0].url}: 2 hosts taken, 0 known already"
    assert second == f"{planes[1].url}: 2 hosts taken, 0 known already; 0 lines can't be used"
    assert [plane.orders for plane in planes] == [["/api/v1/lookup/hosts"]] * 2
    told = json.loads(pointsman(*words, "--json").stdout)
    assert [(one["url"], one["taken"]) for one in told["control_planes"]] == [(plane.url, 2) for plane in planes]


def test_one_that_is_away_is_named_and_the_others_learn_all(tmp_path: Path, planes: list[ControlPlane]) -> None:
    done = pointsman(*importing(tmp_path, "http://127.0.0.1:1", planes[0].url))
    assert (done.returncode, planes[0].orders) == (1, ["/api/v1/lookup/hosts"])
    assert "http://127.0.0.1:1: NOT DONE: " in done.stdout
    assert "1 of 2 control planes didn't do it" in done.stderr
    assert "0 of 2 hosts are known" in done.stderr


def test_a_host_that_one_of_them_refuses_is_named_once(tmp_path: Path) -> None:
    made = [ControlPlane(("b.test",)), ControlPlane(("b.test",))]
    try:
        done = pointsman(*importing(tmp_path, *(plane.url for plane in made)))
    finally:
        for one in made:
            one.close()
    assert done.returncode == 3
    assert [line for line in done.stdout.splitlines() if "pods file" in line] == [
        f"{tmp_path / 'backend.map'}:2: pod isn't in the pods file: b.test pod1"
    ]


def test_a_check_needs_no_settings(tmp_path: Path) -> None:
    (tmp_path / "backend.map").write_text("a.test pod1\n")
    done = pointsman("import", "haproxy-map", "--check", tmp_path / "backend.map", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1 hosts can be taken; 0 lines can't be used\n")

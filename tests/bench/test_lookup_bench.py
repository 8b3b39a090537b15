"""The benchmark of lookup runs from one end to the other, and what it measures is what it says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import load

needed = ("haproxy", "h2load", "cc")
pytestmark = pytest.mark.skipif(
    any(shutil.which(name, path=f"/usr/bin:/bin{load.SBIN}") is None for name in needed),
    reason=f"needs apt-get install {' '.join(load.PACKAGES[name] for name in needed)}",
)


def rows(file: Path, *words: str) -> dict[tuple[str, str], dict[str, Any]]:
    command = [sys.executable, "-m", "bench.lookup", "--quick", "--json", str(file), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return {(row["side"], row["part"]): row for row in json.loads(file.read_text())["rows"]}


def test_the_map_of_haproxy_never_learns_of_a_move_and_asking_each_time_does(tmp_path: Path) -> None:
    found = rows(tmp_path / "lookup.json", "--sides", "published", "map", "--parts", "cold", "move")
    assert (found["map", "move"]["errors"], found["published", "move"]["errors"]) == (2, 0)
    assert (found["map", "cold"]["errors"], found["map", "cold"]["gds_calls"]) == (0, 20)


def test_ours_routes_new_hosts_and_takes_a_move_at_once_when_it_is_told(tmp_path: Path) -> None:
    found = rows(tmp_path / "lookup.json", "--sides", "pointsman", "--parts", "cold", "move")
    assert found["pointsman", "cold"]["errors"] == 0
    assert found["pointsman", "move, refresh"]["errors"] == 0


def test_the_figures_of_other_sides_and_parts_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "lookup.json"
    held = [("map", "move"), ("published", "cold"), ("published", "move")]
    file.write_text(json.dumps({"rows": [{"side": side, "part": part, "requests": 0} for side, part in held]}))
    found = rows(file, "--sides", "published", "--parts", "move")
    assert {name: row["requests"] for name, row in found.items()} == {
        ("map", "move"): 0,
        ("published", "cold"): 0,
        ("published", "move"): 2,
    }

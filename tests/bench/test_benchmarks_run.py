"""The benchmarks reach into the control plane: they must still find there what they measure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_move_is_timed_from_its_commit_to_the_ack_and_the_first_request(tmp_path: Path) -> None:
    file = tmp_path / "moves.json"
    command = [sys.executable, "-m", "bench.moves", "--domains", "200", "--moves", "5", "--json", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    (row,) = json.loads(file.read_text())["rows"]
    assert 0 < row["ack_p50_ms"] <= row["ack_p99_ms"]
    assert row["request_p50_ms"] > 0
    assert row["bytes"] > 0


def test_one_table_of_all_domains_is_served_beside_ours(tmp_path: Path) -> None:
    file = tmp_path / "layouts.json"
    options = ["--domains", "200", "--moves", "3", "--json", str(file)]
    ran = subprocess.run(
        [sys.executable, "-m", "bench.layouts", *options], capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stderr
    (row,) = json.loads(file.read_text())["rows"]
    assert row["ratio"] > 0

"""The benchmark of a scan runs from one end to the other, and what it measures is what it says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import load

pytestmark = pytest.mark.skipif(
    any(shutil.which(name, path=f"/usr/bin:/bin{load.SBIN}") is None for name in ("h2load", "cc")),
    reason=f"needs apt-get install {load.PACKAGES['h2load']} {load.PACKAGES['cc']}",
)


def test_known_customers_are_served_while_random_hosts_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "scan.json"
    command = [sys.executable, "-m", "bench.scan", "--quick", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["part"]: row for row in json.loads(file.read_text())["rows"]}
    assert [*rows] == ["quiet", "load", "nobody", "many", "again", "away"]
    for row in rows.values():
        assert row["known"] > 0
        assert row["failed"] == 0
        assert row["gds_calls"] <= row["gds_allowed"]
    for part in ("nobody", "again"):
        assert set(statuses(rows[part])) == {"404", "429"}
    assert rows["many"]["gds_calls"] > rows["nobody"]["gds_calls"]
    assert set(statuses(rows["away"])) == {"429", "503"}


def statuses(row: dict[str, str]) -> dict[str, str]:
    """What the scan got, with its share."""
    return dict(each.split(":") for each in row["scan_got"].split())

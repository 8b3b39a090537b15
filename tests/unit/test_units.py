"""The systemd unit, as it is written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from demo.system import ROOT

UNIT = ROOT / "ops" / "systemd" / "pointsman.service"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/pointsman/bin/pointsman", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert said == []


def test_the_unit_runs_nothing_as_root_and_writes_its_state_alone() -> None:
    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#")
    assert settings["User"] not in ("", "root")
    assert (settings["ProtectSystem"], settings["NoNewPrivileges"]) == ("strict", "yes")
    assert settings["CapabilityBoundingSet"] == ""
    assert "ReadWritePaths" not in settings


EXPOSURE = 1.5
"""Of `systemd-analyze security`, from 0 (nothing is open to it) to 10."""


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_little_that_the_unit_leaves_open() -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={int(EXPOSURE * 10)}", "--no-pager", UNIT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd can't look at a unit that isn't loaded")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="systemd-sysusers is not installed")
def test_systemd_makes_the_user_of_the_unit() -> None:
    command = ["systemd-sysusers", "--dry-run", str(UNIT.with_suffix(".sysusers"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr

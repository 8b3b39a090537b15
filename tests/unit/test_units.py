"""The systemd units, as they are written; `tests/ops` has a systemd run them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from demo.system import ROOT

UNITS = sorted((ROOT / "ops" / "systemd").glob("*.service"))
UNIT = ROOT / "ops" / "systemd" / "pointsman.service"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/pointsman/bin/pointsman", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert said == []


def test_the_unit_runs_nothing_as_root_and_writes_its_state_alone() -> None:
    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#")
    assert settings["User"] not in ("", "root")
    assert (settings["ProtectSystem"], settings["NoNewPrivileges"]) == ("strict", "yes")
    assert settings["CapabilityBoundingSet"] == ""
    assert "ReadWritePaths" not in settings


EXPOSURE = {"pointsman.service": 1.5, "envoy.service": 2.5}
"""Of `systemd-analyze security`, from 0 (nothing is open to it) to 10. Envoy has ports below 1024, and runs Lua."""


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_little_that_the_unit_leaves_open(unit: Path) -> None:
    threshold = int(EXPOSURE[unit.name] * 10)
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={threshold}", "--no-pager", unit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd can't look at a unit that isn't loaded")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="systemd-sysusers is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_makes_the_user_of_the_unit(unit: Path) -> None:
    command = ["systemd-sysusers", "--dry-run", str(unit.with_suffix(".sysusers"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_the_unit_names_to_read_is_installed_with_it() -> None:
    (named,) = re.findall(r"^Documentation=(.*)$", UNIT.read_text(), re.MULTILINE)
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {one.removeprefix("file:///opt/pointsman/") for one in named.split()} == set(wheel["shared-data"].values())
    assert all((ROOT / file).exists() for file in wheel["shared-data"])

"""A part ends with who started it, also when that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from demo.processes import DemoError, Process
from demo.tied import tied

ROOT = Path(__file__).resolve().parents[2]
STARTER = """
import sys, time
from pathlib import Path
from demo.processes import Process
made = Process("sleeper", ["sleep", "600"], Path(sys.argv[1]), Path.cwd())
print(made.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_it_ends_when_who_started_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER, tmp_path / "log"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        sleeper = psutil.Process(int(starter.stdout.readline()))
        assert sleeper.is_running()
        starter.kill()
    psutil.wait_procs([sleeper], timeout=20)
    assert not sleeper.is_running()


def test_it_is_interrupted_also_where_the_shell_of_a_background_job_ignored_that() -> None:
    sleeps = " ".join(f"'{word}'" for word in tied(["sleep", "600"]))
    with subprocess.Popen(["sh", "-c", f"trap '' INT; exec {sleeps}"]) as shell:
        try:
            sleeper = psutil.Process(shell.pid)
            while sleeper.name() != "sleep":
                assert shell.poll() is None
            shell.send_signal(signal.SIGINT)
            assert shell.wait(20) == -signal.SIGINT
        finally:
            shell.kill()


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="envoy: can't run /nowhere/envoy"):
        Process("envoy", ["/nowhere/envoy"], tmp_path / "log", tmp_path)

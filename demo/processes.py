"""Child processes that end when they are told to, and when we do."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from demo.tied import tied

PATIENCE = 90.0
"""Seconds that a part may take to get ready, on a machine that is busy with other things."""


class DemoError(Exception):
    """A part can't run; one line says which and why."""


class Process:
    """A running part: its output goes to ``log``."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path, cwd: Path) -> None:
        self.name = name
        self.log = log
        if shutil.which(command[0]) is None:
            raise DemoError(f"{name}: can't run {command[0]}: there is no such program")
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                tied(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
                start_new_session=True,  # Ctrl-C is for us; we end the parts in order
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._child.poll()

    @property
    def ended(self) -> bool:
        return self.code is not None

    def wait_until(self, ready: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Raises DemoError when the process ends before, or it takes longer than ``patience`` seconds."""
        end = time.monotonic() + patience
        while not ready():
            if self.ended:
                raise DemoError(f"{self.name} ended with {self.code}: {self.last_words()}")
            if time.monotonic() > end:
                raise DemoError(f"{self.name} is not ready after {patience:.0f} s: {self.last_words()}")
            time.sleep(0.02)

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self, how: signal.Signals = signal.SIGTERM, patience: float = 10.0) -> int:
        """Ends the process, by force when it takes longer than ``patience`` seconds; returns its exit code."""
        if not self.ended:
            self._child.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(patience)
            if not self.ended:
                self._child.kill()
        return self._child.wait()

"""Control planes that start in a moment: forked from a process that has imported everything and started nothing.

Importing takes most of a start, and a test that kills fifty of them would wait for little else. Run as a script it is
that process; `Nursery` is the test's end of it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path

from demo.processes import Process
from demo.system import ROOT


class Forked(Process):
    """A control plane of the nursery; stopped and waited for like any other part."""

    def __init__(self, name: str, pid: int, log: Path, nursery: Nursery) -> None:
        self.name = name
        self.log = log
        self._pid = pid
        self._nursery = nursery
        self._code: int | None = None

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def ended(self) -> bool:
        if self._code is None:
            self._code = self._nursery.code(self._pid)
        return self._code is not None

    def stop(self, how: signal.Signals = signal.SIGTERM, patience: float = 10.0) -> int:
        end = time.monotonic() + patience
        if not self.ended:
            os.kill(self._pid, how)
        while not self.ended and time.monotonic() < end:
            time.sleep(0.005)
        if not self.ended:
            os.kill(self._pid, signal.SIGKILL)
        while not self.ended:
            time.sleep(0.005)
        return self._code or 0


class Nursery:
    """Ends with all that it started when it is stopped, or when we end."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self._log = (folder / "nursery.log").open("ab")
        given = {**os.environ, **(environment or {}), "PYTHONPATH": str(ROOT), "GRPC_VERBOSITY": "NONE"}
        self._parent = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=folder,
            env=given,
            text=True,
            start_new_session=True,
        )

    def start(self, name: str, config: Path, log: Path) -> Forked:
        return Forked(name, int(self._ask(f"start\t{config}\t{log}")), log, self)

    def code(self, pid: int) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        said = self._ask(f"code\t{pid}")
        return int(said) if said else None

    def stop(self) -> None:
        if self._parent.stdin is not None:
            self._parent.stdin.close()
        self._parent.wait(10)
        if self._parent.stdout is not None:
            self._parent.stdout.close()
        self._log.close()

    def _ask(self, line: str) -> str:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(f"{line}\n")
        self._parent.stdin.flush()
        answer = self._parent.stdout.readline()
        assert answer, f"the nursery has ended: {Path(self._log.name).read_text()[-500:]}"
        return answer.strip()


def _main() -> None:
    _warm()
    for line in sys.stdin:
        order, *words = line.rstrip("\n").split("\t")
        if order == "start":
            child = os.fork()
            if child == 0:
                _serve(*words)
            print(child, flush=True)
        else:
            pid, status = os.waitpid(int(words[0]), os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if pid else "", flush=True)


def _warm() -> None:
    """What takes its time: the imports, and the dataclasses of Envoy's messages, each made up at its first use."""
    from xds import control_plane  # noqa: F401
    from xds.resources.edge import EdgeResources
    from xds.resources.listeners import Edge

    made = EdgeResources(1, timedelta(seconds=1), 3072)
    made.fixed(Edge())
    made.every_table()


def _serve(config: str, log: str) -> None:
    code = 70
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number in (1, 2):
            os.dup2(out, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        from xds.cli import app

        app(["serve", "-c", config])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _main()

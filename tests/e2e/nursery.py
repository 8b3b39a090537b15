"""Parts that start in a moment: forked from a process that has imported everything and started nothing.

Importing takes most of a start. A test that kills fifty control planes would wait for little else, and the tests as a
whole start hundreds of pods. Run as a script it is that process; `Nursery` is the test's end of it.

What is forked from one nursery has the same random seed for its hashes. Where a control plane must come to the same as
the one before it did, the two have to come from different ones.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path

from demo.processes import Process
from demo.system import ROOT, System


class Forked(Process):
    """A part from the nursery; stopped and waited for like any other."""

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
    def code(self) -> int | None:
        if self._code is None:
            self._code = self._nursery.code(self._pid)
        return self._code

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
    """Ends with all that it started when it is stopped, or when we end. May be used from several threads."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self._asking = threading.Lock()
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

    def start(self, name: str, folder: Path, *words: str | Path) -> Forked:
        """What ``python -m WORDS`` starts, of `PROGRAMS`, in ``folder``. Its log is there."""
        log = folder / f"{name}.log"
        return Forked(name, int(self._ask("start", str(folder), str(log), *map(str, words))), log, self)

    def code(self, pid: int) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        said = self._ask("code", str(pid))
        return int(said) if said else None

    def stop(self) -> None:
        if self._parent.stdin is not None:
            self._parent.stdin.close()
        self._parent.wait(10)
        if self._parent.stdout is not None:
            self._parent.stdout.close()
        self._log.close()

    def _ask(self, *words: str) -> str:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        with self._asking:
            self._parent.stdin.write(json.dumps(words) + "\n")
            self._parent.stdin.flush()
            answer = self._parent.stdout.readline()
        assert answer, f"the nursery has ended: {Path(self._log.name).read_text()[-500:]}"
        return answer.strip()


@functools.cache
def shared(which: int = 0) -> Nursery:
    """One for all tests of this process, and another of each other number; its own log is there until the end."""
    folder = tempfile.TemporaryDirectory(prefix="nursery-")
    nursery = Nursery(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(nursery.stop)  # first
    return nursery


class Sooner(System):
    """A system whose parts come from a nursery. A control plane that is started again comes from another one: it must
    come to the same as the one before it, with another seed."""

    _control_planes = 0
    """How many were started."""

    def _start(self, name: str, command: list[str | Path]) -> Process:
        if command[:2] != [sys.executable, "-m"]:
            return super()._start(name, command)
        which = 0
        if name == "pointsman":
            which = self._control_planes % 2
            self._control_planes += 1
        self.parts[name] = shared(which).start(name, self.folder, *command[2:])
        return self.parts[name]


def _control_plane() -> None:
    from xds.cli import app

    app(sys.argv[1:])


def _gds() -> None:
    from gds_mock.__main__ import main

    sys.exit(main())


def _pod() -> None:
    from demo.pod import main

    main()


PROGRAMS = {"xds.cli": _control_plane, "gds_mock": _gds, "demo.pod": _pod}


def _main() -> None:
    _warm()
    for line in sys.stdin:
        order, *words = json.loads(line)
        if order == "start":
            child = os.fork()
            if child == 0:
                _become(*words)
            print(child, flush=True)
        else:
            pid, status = os.waitpid(int(words[0]), os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if pid else "", flush=True)


def _warm() -> None:
    """What takes its time: the imports, and the dataclasses of Envoy's messages, each made up at its first use."""
    import uvicorn.loops.auto
    import uvicorn.protocols.http.auto  # noqa: F401

    from xds import control_plane  # noqa: F401
    from xds.resources.edge import EdgeResources
    from xds.resources.listeners import Edge

    made = EdgeResources(1, timedelta(seconds=1), 3072)
    made.fixed(Edge())
    made.every_table()


def _become(folder: str, log: str, *words: str) -> None:
    code = 70
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number in (1, 2):
            os.dup2(out, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        sys.argv[:] = words
        PROGRAMS[words[0]]()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    _main()

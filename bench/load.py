"""h2load with a thousand hosts in turn, and what it measured.

Debian's h2load asks every URI of its list with the first one's host. `hosts_in_turn.c` is loaded into it and gives each
request the next host.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.report import quantile
from demo.processes import DemoError

PACKAGES = {"h2load": "nghttp2-client", "haproxy": "haproxy", "nginx": "nginx-light", "cc": "gcc libc6-dev"}
"""Programs, and Debian's packages that bring them."""
PATIENCE = 30.0
"""Seconds after the end in which what is under way must be answered."""
SBIN = ":/usr/sbin:/sbin"


def program(name: str) -> str:
    """Where it is. Raises DemoError that says how to install it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}{SBIN}")
    if found is None:
        raise DemoError(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return found


@dataclass(frozen=True, slots=True)
class Shape:
    """How the load is: ``protocol`` is "h1" or "h2", ``streams`` those of each connection, ``rps`` requests a second of
    each connection, 0 for as many as there can be; ``warm_up`` and ``seconds`` follow one another."""

    protocol: str
    connections: int
    streams: int = 1
    seconds: float = 5
    warm_up: float = 2
    rps: float = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """``errors`` are requests without an answer, or with another status than 200. Times in ms, CPU in µs a request."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float
    statuses: str
    gave_up: bool = False
    """Connections hung long after the end, until h2load was killed."""


class Load:
    """Asks whoever listens on a loopback port. ``hosts`` are all of one length; ``sources``: the addresses from which
    the connections come, in turn."""

    def __init__(self, folder: Path, hosts: Sequence[str], sources: Sequence[str] = ("127.0.0.1",)) -> None:
        self._h2load = program("h2load")
        self._host = hosts[0]
        self._hosts = folder / "hosts"
        self._hosts.write_text("\n".join(hosts) + "\n")
        self._library = folder / "hosts_in_turn.so"
        self._log = folder / "h2load.log"
        self._env = {**os.environ, "LD_PRELOAD": str(self._library), "HOSTS": str(self._hosts)}
        self._env["SOURCES"] = ",".join(sources)
        source = Path(__file__).with_name("hosts_in_turn.c")
        build = [program("cc"), "-O2", "-shared", "-fPIC", "-o", str(self._library), str(source), "-ldl"]
        built = subprocess.run(build, capture_output=True, text=True, check=False)
        if built.returncode:
            raise DemoError(f"cc can't build {source.name}: {built.stderr.strip()}")

    def ask(self, port: int, protocol: str, connections: int, requests: int) -> str:
        """So many requests, in ten streams of each connection in HTTP/2; returns what h2load said."""
        words = [self._h2load, f"--connect-to=127.0.0.1:{port}", "-c", str(connections), "-n", str(requests)]
        words += ["--h1"] if protocol == "h1" else ["-m", "10"]
        done = subprocess.run(
            [*words, f"https://{self._host}/"], capture_output=True, text=True, env=self._env, check=False
        )
        return done.stdout + done.stderr

    def run(self, port: int, shape: Shape, cpu: Callable[[], float]) -> Measured:
        """``cpu``: seconds that the measured process has used so far. Raises DemoError when h2load gives up."""
        self._log.unlink(missing_ok=True)
        began, used, said = 0.0, 0.0, []
        with subprocess.Popen(self._command(port, shape), stdout=subprocess.PIPE, text=True, env=self._env) as child:
            assert child.stdout is not None
            watch = threading.Timer(shape.warm_up + shape.seconds + PATIENCE, child.kill)
            watch.start()
            for line in child.stdout:
                said.append(line)
                if line.startswith("Main benchmark duration is started"):
                    began = cpu()
                elif line.startswith("Main benchmark duration is over"):
                    used = cpu() - began
            watch.cancel()
        output = "".join(said)
        counts = re.search(r"requests: .* (\d+) failed, (\d+) errored, (\d+) timeout", output)
        if child.returncode == -signal.SIGKILL and self._log.exists():
            return self._measured(shape, used, 0, gave_up=True)
        if child.returncode or not counts or not self._log.exists():
            raise DemoError(f"h2load ended with {child.returncode}: {output[-400:]}")
        return self._measured(shape, used, int(counts[2]) + int(counts[3]))

    def _command(self, port: int, shape: Shape) -> list[str]:
        words = [self._h2load, f"--connect-to=127.0.0.1:{port}", "-t", "1", "-c", str(shape.connections)]
        words += ["-m", str(shape.streams), "-D", _duration(shape.seconds)]
        words += [f"--warm-up-time={_duration(shape.warm_up)}", f"--log-file={self._log}", f"https://{self._host}/"]
        if shape.protocol == "h1":
            words.append("--h1")
        if shape.rps:
            words.append(f"--rps={shape.rps}")
        return words

    def _measured(self, shape: Shape, used: float, unanswered: int, *, gave_up: bool = False) -> Measured:
        """Of h2load's log: when each request began, its status or -1, and how long it took, in µs."""
        statuses: Counter[str] = Counter()
        took: list[int] = []
        with self._log.open() as lines:
            for line in lines:
                _, _, rest = line.partition("\t")
                status, _, duration = rest.partition("\t")
                if not duration.endswith("\n"):
                    break  # h2load was killed as it wrote
                statuses[status] += 1
                if status == "200":
                    took.append(int(duration))
        done = statuses.pop("200", 0)
        return Measured(
            requests=done,
            per_second=done / shape.seconds,
            p50_ms=quantile(took, 0.5) / 1000,
            p99_ms=quantile(took, 0.99) / 1000,
            errors=statuses.total() + unanswered,
            cpu_us=used / done * 1e6 if done else float("nan"),
            gave_up=gave_up,
            statuses=" ".join(f"{status}:{count}" for status, count in sorted(statuses.items())),
        )


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"

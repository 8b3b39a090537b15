"""A Docker engine for the tests: the one that answers, or one of their own that leaves nothing on the machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.processes import DemoError, Process


class NoEngine(Exception):
    """Why there is no Docker engine and none can be started."""


class CommandFailed(AssertionError):
    """A command's exit code is not 0; says the end of what it printed."""


@dataclass(frozen=True)
class Engine:
    """``own``: started by the tests, without a way out of its networks, and gone with all that it holds."""

    environment: Mapping[str, str]
    own: bool

    def docker(self, *words: str, timeout: float = 60) -> str:
        return run(["docker", *words], self.environment, timeout=timeout)

    def holds(self, image: str) -> bool:
        return bool(self.docker("images", "--quiet", image).strip())


def run(command: Sequence[str], environment: Mapping[str, str], timeout: float = 60, folder: Path | None = None) -> str:
    """Its standard output. Raises CommandFailed."""
    done = subprocess.run(
        list(command),
        env=dict(environment),
        cwd=folder,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise CommandFailed(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return done.stdout


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """Raises NoEngine."""
    if not shutil.which("docker"):
        raise NoEngine("there is no docker command")
    if _answers(os.environ):
        yield Engine(dict(os.environ), own=False)
        return
    with _started() as own:
        yield own


def compose_command(environment: Mapping[str, str]) -> list[str] | None:
    """``docker compose`` or, where that is not known, ``docker-compose``."""
    for command in (["docker", "compose"], ["docker-compose"]):
        with contextlib.suppress(CommandFailed, OSError):
            run([*command, "version"], environment)
            return command
    return None


def remove(folder: Path) -> None:
    """A folder in which a program may have left mounts: what they show is not ours to remove."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False, timeout=10)
    subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=True, timeout=120)


@contextlib.contextmanager
def _started() -> Iterator[Engine]:
    if os.geteuid() != 0:
        raise NoEngine("no Docker engine answers, and only root can start one")
    if not shutil.which("dockerd"):
        raise NoEngine("no Docker engine answers, and there is no dockerd to start one")
    folder = Path(tempfile.mkdtemp(prefix="pointsman-"))  # a socket's path must be short
    bridge = Path("/sys/class/net/docker0")
    others = bridge.exists()
    try:
        host = f"unix://{folder}/docker.sock"
        environment = {**os.environ, "DOCKER_HOST": host}
        environment.pop("DOCKER_CONTEXT", None)
        daemon = Process("dockerd", _daemon(folder, host), folder / "dockerd.log", folder)
        try:
            daemon.wait_until(lambda: _answers(environment))
            yield Engine(environment, own=True)
        except DemoError as error:
            raise NoEngine(str(error)) from None
        finally:
            daemon.stop(patience=60)
    finally:
        remove(folder)
        if bridge.exists() and not others:  # the one thing that dockerd itself leaves
            subprocess.run(["ip", "link", "delete", bridge.name], check=True, timeout=10)


def _daemon(folder: Path, host: str) -> list[str]:
    # No packet filter rules and no forwarding on the machine itself: containers reach each other through the bridge of
    # their network, and the machine reaches them through dockerd's proxy. The tests need no more, and it ends with it.
    return [
        "dockerd",
        *("--host", host),
        *("--data-root", f"{folder}/data"),
        *("--exec-root", f"{folder}/exec"),
        *("--pidfile", f"{folder}/dockerd.pid"),
        *("--iptables=false", "--ip6tables=false", "--ip-forward=false"),
    ]


def _answers(environment: Mapping[str, str]) -> bool:
    try:
        run(["docker", "version", "--format", "{{.Server.Version}}"], environment, timeout=20)
    except (CommandFailed, subprocess.TimeoutExpired):
        return False
    return True

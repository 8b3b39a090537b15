"""The composed system as a user has it: ``docker-compose.yml`` as it stands, in a copy of the checkout."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from engine import Engine, run
from stand_ins import PYTHON

from demo.system import BASE, LOOPBACK, ROOT, free_ports

PATIENCE = 180.0
"""Seconds in which what must come is there, on a machine that is busy with other things."""

ONE_SHOTS = {"certificates", "seed"}
PARTS = {"gds", "pointsman", "api", "envoy", "pod1", "pod2", "pod3"}
HOST = "acme.example.com"


@dataclass(frozen=True)
class Container:
    """What ``docker inspect`` says of it."""

    service: str
    inspected: Mapping[str, Any]

    @property
    def health(self) -> str:
        return str(self.inspected["State"].get("Health", {}).get("Status", "none"))

    @property
    def id(self) -> str:
        return str(self.inspected["Id"])

    @property
    def exit_code(self) -> int:
        return int(self.inspected["State"]["ExitCode"])

    @property
    def restarts(self) -> int:
        return int(self.inspected["RestartCount"])


@dataclass(frozen=True)
class Stack:
    engine: Engine
    command: tuple[str, ...]
    folder: Path
    project: str
    gds_port: int
    https_port: int
    http_port: int
    api_port: int

    def compose(self, *words: str, timeout: float = 120, **settings: str) -> str:
        """Runs a command of compose; ``settings`` go into its environment."""
        environment = {
            **self.engine.environment,
            "POINTSMAN_GDS_PORT": str(self.gds_port),
            "POINTSMAN_HTTPS_PORT": str(self.https_port),
            "POINTSMAN_HTTP_PORT": str(self.http_port),
            "POINTSMAN_API_PORT": str(self.api_port),
            **settings,
        }
        for official in ("PYTHON_IMAGE", "ENVOY_IMAGE"):
            environment.pop(official, None)
        return run([*self.command, "--project-name", self.project, *words], environment, timeout, self.folder)

    def up(self) -> None:
        self.compose("up", "--detach", timeout=300)
        self.wait_healthy()

    def wait_healthy(self) -> None:
        def healthy() -> bool:
            found = [one for one in self.inspected() if one.service in PARTS]
            return {one.service for one in found} == PARTS and {one.health for one in found} == {"healthy"}

        with self.explained():
            eventually(healthy, "every part is healthy")

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """A failure tells what the parts have said."""
        try:
            yield
        except AssertionError as error:
            states = [(one.service, one.inspected["State"]["Status"], one.health) for one in self.inspected()]
            logs = self.compose("logs", "--no-color", "--tail=20")
            raise AssertionError(f"{error}\n{states}\n{logs}") from None

    def inspected(self) -> list[Container]:
        ids = self.engine.docker("ps", "--all", "--quiet", "--filter", self._label).split()
        said = json.loads(self.engine.docker("inspect", *ids)) if ids else []
        return [Container(one["Config"]["Labels"]["com.docker.compose.service"], one) for one in said]

    def containers(self) -> dict[str, Container]:
        """By service: one of it, when it is scaled."""
        return {one.service: one for one in self.inspected()}

    def left(self) -> dict[str, list[str]]:
        """What of the project is still in the engine, by kind."""
        found = {
            "containers": self.engine.docker("ps", "--all", "--quiet", "--filter", self._label),
            "networks": self.engine.docker("network", "ls", "--quiet", "--filter", self._label),
            "volumes": self.engine.docker("volume", "ls", "--quiet", "--filter", self._label),
            "images": "\n".join(
                image
                for image in self.engine.docker("images", "--format", "{{.Repository}}").split()
                if image.startswith(self.project)
            ),
        }
        return {kind: said.split() for kind, said in found.items() if said.strip()}

    def down(self, *options: str) -> None:
        self.compose("down", "--timeout", "20", *options)

    def tls(self) -> ssl.SSLContext:
        """Trusts the CA that is on the volume, alone."""
        return ssl.create_default_context(cadata=self.compose("exec", "-T", "pointsman", "cat", "/certs/ca.crt"))

    def ask(self, tls: ssl.SSLContext, host: str = HOST) -> httpx.Response:
        """As a client from outside does, with a connection of its own."""
        with httpx.Client(verify=tls, trust_env=False, timeout=10) as client:
            url = f"https://{LOOPBACK}:{self.https_port}/"
            return client.get(url, headers={"host": host}, extensions={"sni_hostname": host})

    def pod(self, tls: ssl.SSLContext, host: str = HOST) -> str:
        """The name of the pod that answers, or the status."""
        answer = self.ask(tls, host)
        return answer.headers["x-pod"] if answer.status_code == 200 else str(answer.status_code)

    def wait_pod(self, tls: ssl.SSLContext, pod: str, host: str = HOST) -> None:
        eventually(lambda: self.pod(tls, host) == pod, f"{host} is on {pod}")

    def known_pod(self, host: str = HOST) -> str:
        """Where the control plane that answers at the API's port has it, empty when none answers."""
        url = f"http://{LOOPBACK}:{self.api_port}/api/v1/domains/{host}"
        try:
            return str(httpx.get(url, trust_env=False, timeout=10).json().get("pod", ""))
        except httpx.HTTPError:
            return ""

    def put(self, host: str, pod: str) -> None:
        url = f"http://{LOOPBACK}:{self.gds_port}{BASE}/backend/{host}"
        httpx.put(url, json={"pod": pod}, trust_env=False, timeout=10).raise_for_status()

    @property
    def _label(self) -> str:
        return f"label=com.docker.compose.project={self.project}"


def new_stack(engine: Engine, command: list[str], folder: Path) -> Stack:
    """Of a name and on ports that nobody has; nothing of it is started."""
    return Stack(engine, tuple(command), folder, f"pointsmantest{uuid.uuid4().hex[:8]}", *free_ports(4))


def eventually(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"not so after {PATIENCE:.0f} s: {what}")
        time.sleep(0.2)


def copy_checkout(folder: Path) -> None:
    """Every file that git has or would take, as it is now: what somebody who clones us gets."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())


def give_wheels(engine: Engine, checkout: Path) -> None:
    """The image's build reaches no package index: this machine's pip downloads what it needs into its folder."""
    version = engine.docker(
        *("run", "--rm", "--network", "none", PYTHON),
        *("python3", "-c", "import sys; print('{}.{}'.format(*sys.version_info))"),
    ).strip()
    pip = checkout / "docker" / "pip"
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(pip / "wheels")]
    download += ["--only-binary", ":all:", "--python-version", version]
    locked = ["--no-deps", "--require-hashes", "--requirement", str(checkout / "requirements.lock")]
    run([*download, *locked], os.environ, 300)
    run([*download, "hatchling>=1.27"], os.environ, 120)
    (pip / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /pip/wheels\n")

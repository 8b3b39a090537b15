"""A network that loses packets and changes their order, between GDS and the control plane: in a namespace, by netem."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_edge import running_faulty

NETEM = ("delay", "20ms", "10ms", "loss", "5%", "reorder", "25%", "duplicate", "1%")


class CannotError(Exception):
    """Why there is no such network here."""


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise CannotError(f"{' '.join(words)}: {done.stderr.strip()}")


@contextlib.contextmanager
def bad_network() -> Iterator[tuple[str, str, str]]:
    """A namespace, our address towards it and its own; what goes either way is delayed, lost and reordered."""
    if os.geteuid() != 0:
        raise CannotError("only root can make a network namespace")
    if not shutil.which("ip") or not shutil.which("tc"):
        raise CannotError("there is no ip or tc (Debian's iproute2)")
    name = f"pm{uuid.uuid4().hex[:8]}"
    _run("ip", "netns", "add", name)
    try:
        inside = ("ip", "netns", "exec", name)
        _run("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        _run("ip", "addr", "add", "198.18.77.1/30", "dev", f"{name}a")
        _run("ip", "link", "set", f"{name}a", "up")
        _run(*inside, "ip", "addr", "add", "198.18.77.2/30", "dev", f"{name}b")
        _run(*inside, "ip", "link", "set", f"{name}b", "up")
        _run("tc", "qdisc", "add", "dev", f"{name}a", "root", "netem", *NETEM)
        _run(*inside, "tc", "qdisc", "add", "dev", f"{name}b", "root", "netem", *NETEM)
        yield name, "198.18.77.1", "198.18.77.2"
    finally:
        _run("ip", "netns", "delete", name)


def test_moves_arrive_through_a_network_that_loses_and_reorders(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        try:
            namespace, _, address = stack.enter_context(bad_network())
        except CannotError as why:
            pytest.skip(str(why))
        edge = stack.enter_context(running_faulty(tmp_path, proxied=("gds",)))
        system, port = edge.system, edge.system.ports.gds
        system.kill("gds")
        db = system.folder / "gds.sqlite"
        command = [sys.executable, "-m", "gds_mock", "--db", str(db), "--host", address, "--port", str(port)]
        system._start("gds", ["ip", "netns", "exec", namespace, *command, "--heartbeat", "1"])
        edge.proxies["gds"].target = (address, port)
        edge.gds.base_url = str(edge.gds.base_url).replace("127.0.0.1", address)
        with edge.load_on() as load:
            for domain in edge.where.domains[:20]:
                edge.move(domain, edge.elsewhere(domain))
                edge.arrives(domain)
        load.prove()

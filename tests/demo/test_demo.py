"""The demo as a newcomer meets it: its ready line, the lines to try, its end, and what it says when it cannot run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from edge_harness import until

from demo.system import LOOPBACK, ROOT, Ports


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "demo", "--folder", str(folder), *options]


def answer(line: str) -> str:
    """What a shell prints that is given the line."""
    return subprocess.run(line, shell=True, capture_output=True, text=True, timeout=30).stdout


@contextmanager
def demo(folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A running demo and the lines that it said until it was ready."""
    running = subprocess.Popen(command(folder, "--free-ports"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    lines: list[str] = []
    try:
        for line in running.stdout or ():
            lines.append(line.rstrip("\n"))
            if "Ctrl-C" in line:
                break
        yield running, lines
    finally:
        running.terminate()
        running.wait(30)
        if running.stdout:
            running.stdout.close()


def test_its_lines_work_as_they_are_and_its_end_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo(folder) as (running, lines):
        said = [line.split()[0] for line in lines if line.startswith("  ") and "curl" not in line]
        assert said == ["certificates", "gds", "pods", "pointsman", "envoy"]
        tried = [line.strip() for line in lines if line.startswith("  curl")]
        first, put = answer(tried[0]), answer(tried[1])
        assert json.loads(first)["pod"] == "pod1"
        assert json.loads(put)["pod"] == "pod2"
        until(lambda: json.loads(answer(tried[2]))["pod"] == "pod2", "it has moved")
        domain, nodes, redirect = map(answer, tried[3:])
        assert json.loads(domain)["pod"] == "pod2"
        assert json.loads(nodes)["items"][0]["node"] == "edge-1"
        assert redirect.startswith("HTTP/1.1 308 ")
        parts = psutil.Process(running.pid).children(recursive=True)
        assert len(parts) == 6  # GDS, control plane, Envoy, three pods
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
        assert not any(part.is_running() for part in parts)
        assert not folder.exists()


def test_a_busy_port_is_named_in_one_line(tmp_path: Path) -> None:
    port = Ports().edge_https
    try:
        taken = socket.create_server((LOOPBACK, port))
    except OSError:
        taken = socket.socket()  # somebody else has it: as good
    with taken:
        done = subprocess.run(command(tmp_path / "demo"), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert f"edge https needs {LOOPBACK}:{port}" in line


def test_a_missing_envoy_is_named_in_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "ENVOY": "/nowhere/envoy"}
    done = subprocess.run(
        command(tmp_path / "demo", "--free-ports"),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line == "demo: envoy: ENVOY=/nowhere/envoy is not a program"


def test_an_envoy_that_dies_is_named_and_the_others_are_ended(tmp_path: Path) -> None:
    with demo(tmp_path / "demo") as (running, _):
        parts = psutil.Process(running.pid).children(recursive=True)
        psutil.Process(int((tmp_path / "demo" / "envoy.pid").read_text())).kill()
        assert running.wait(60) == 1
        assert not any(part.is_running() for part in parts)

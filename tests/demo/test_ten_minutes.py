"""`docs/start.md`, typed: each of its commands, in order, in terminals beside the demo, which shows what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from terminal import Terminal, Typed, chapters

from demo.system import ROOT, WITHOUT_TLS, Ports

PAGE = ROOT / "docs" / "start.md"
START, ASK, MOVE, SEE, BREAK = chapters(PAGE).values()

pytestmark = [
    pytest.mark.timeout(600),  # less than a minute alone, and some where other things run
    pytest.mark.skipif(shutil.which("make") is None or shutil.which("curl") is None, reason="needs make and curl"),
]


@dataclass(frozen=True)
class FirstTerminal:
    """Where `make demo` runs, and what it has said until it was ready."""

    make: subprocess.Popen[str]
    lines: list[str]

    def says(self) -> str:
        """Its next line."""
        assert self.make.stdout is not None
        return self.make.stdout.readline().strip()

    def interrupted(self) -> None:
        """Ctrl-C."""
        os.killpg(self.make.pid, signal.SIGINT)
        self.make.wait(30)


def checkout(folder: Path) -> Path:
    """This one, by links, so that it has a `.demo` of its own. What is installed is what runs this test."""
    folder.mkdir()
    for there in ROOT.iterdir():
        if there.name not in (".demo", ".git", ".venv"):
            (folder / there.name).symlink_to(there)
    (folder / ".venv").mkdir()
    for there in Path(sys.prefix).iterdir():
        if there.name != ".installed":
            (folder / ".venv" / there.name).symlink_to(there)
    (folder / ".venv" / ".installed").touch()
    return folder


@contextmanager
def started(folder: Path, command: str) -> Iterator[FirstTerminal]:
    """On ports that are free; the document's may be somebody's."""
    make = subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "DEMO": "--free-ports"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    first = FirstTerminal(make, [])
    try:
        while not first.lines or "Ctrl-C" not in first.lines[-1]:
            line = first.says()
            assert line or make.poll() is None, first.lines
            first.lines.append(line)
        yield first
    finally:
        if make.poll() is None:
            first.interrupted()
        make.communicate()


def onto_its_ports(folder: Path) -> Callable[[str], str]:
    """The document's words with the ports that this demo has."""
    chosen = tomllib.loads((folder / ".demo" / "pointsman.toml").read_text())
    shown = Ports()
    ports = {
        shown.gds: urlsplit(chosen["gds"]["url"]).port,
        shown.http: chosen["http"]["port"],
        shown.edge_https: chosen["edge"]["https_port"],
    }
    pattern = re.compile("|".join(rf"\b{port}\b" for port in ports))
    return lambda words: pattern.sub(lambda found: str(ports[int(found[0])]), words)


def pod(answer: Typed) -> str:
    assert answer.code == 0, answer.said
    return str(json.loads(answer.said)["pod"])


def watched(one: Terminal, watch: str, other: Terminal, moves: list[str]) -> Typed:
    """What `pointsman watch` shows in one terminal while a customer is moved from another, and back."""
    with ThreadPoolExecutor(1) as beside:
        shown = beside.submit(one.type, watch)
        while not shown.done():
            for move in moves:
                other.type(move)
                time.sleep(0.3)
        return shown.result()


def test_each_command_shows_what_the_document_says(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "pointsman")
    (start,), (ask,) = START, ASK
    with started(folder, start) as first:
        parts = psutil.Process(first.make.pid).children(recursive=True)
        translated = onto_its_ports(folder)
        with Terminal(folder, translated) as second, Terminal(folder, translated) as third:
            for shown in ASK + MOVE:
                assert translated(shown) in first.lines
            assert pod(second.type(ask)) == "pod1"

            move, again = MOVE
            assert second.type(move).code == 0
            assert pod(second.type(again)) == "pod2"

            (page,) = re.findall(r"Open `(\S+)` in a browser", PAGE.read_text())
            assert re.search("<title>.*Pointsman.*</title>", WITHOUT_TLS.get(translated(page)).text)
            domain, nodes, metrics, settings, status, explain, watch = SEE
            told = json.loads(second.type(domain).said)
            assert (told["pod"], bool(told["table"]), told["revision"] > 1) == ("pod2", True, True)
            (node,) = json.loads(second.type(nodes).said)["items"]
            assert (node["node"], node["converged"]) == ("edge-1", True)
            assert any(kind["acked"] for kind in node["types"])
            assert re.search(r"convergence_time_seconds_count\S* [1-9]", second.type(metrics).said)
            assert second.type(settings) == Typed(0, "")
            assert second.type(status).code == 0
            explained = second.type(explain)
            assert (explained.code, "pod2" in explained.said) == (0, True), explained.said
            flowing = watched(second, watch, third, [move.replace("pod2", "pod1"), move])
            assert flowing.code == 0
            assert "acme.example.com" in flowing.said

            no_gds, still, no_control_plane, on = BREAK
            for gone, asked in ((no_gds, still), (no_control_plane, on)):
                assert second.type(gone).code == 0
                assert re.fullmatch(r"(gds|pointsman) +ended; .*", first.says())
                assert pod(second.type(asked)) == "pod2"
            assert len([part for part in parts if part.is_running() and part.status() != "zombie"]) == len(parts) - 2
        first.interrupted()
    assert not any(part.is_running() for part in parts)
    assert not (folder / ".demo").exists()

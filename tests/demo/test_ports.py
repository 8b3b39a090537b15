"""Systems that are started at once by several processes have no port in common."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo.ports import BLOCK, LOOPBACK, Blocks
from demo.system import ROOT

ASKING = """
import sys
from pathlib import Path
from demo.ports import Blocks
print(Blocks(Path(sys.argv[1])).ports(30), flush=True)
sys.stdin.read()
"""


def test_processes_that_ask_at_once_are_given_different_ports(tmp_path: Path) -> None:
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", ASKING, str(tmp_path / "ports")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    given: list[int] = []
    for process in asking:
        assert process.stdout is not None
        given += eval(process.stdout.readline())
    for process in asking:
        process.communicate()
    assert len(set(given)) == len(given) == 6 * 30


def test_a_process_that_was_killed_has_no_ports_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.ports.LAST", 20_100 + BLOCK)  # there is one block
    folder = tmp_path / "ports"
    process = subprocess.Popen([sys.executable, "-c", ASKING, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    process.kill()
    process.wait()
    blocks = Blocks(folder)
    assert len(blocks.ports(BLOCK // 2)) == BLOCK // 2
    blocks.release()
    assert not folder.exists()


def test_a_port_that_somebody_listens_on_is_passed_over(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path / "ports")
    (first,) = blocks.ports(1)
    with socket.create_server((LOOPBACK, first + 1)):
        assert first + 1 not in blocks.ports(5)
    blocks.release()


def test_what_needs_no_ports_runs_where_no_file_can_be_written() -> None:
    """As the parts of the composed system do: its containers are read-only."""
    code = "import tempfile; tempfile.gettempdir = lambda: 1 / 0; import demo.compose"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

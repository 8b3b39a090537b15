"""What the command imports before it knows what to do: nothing that takes long."""

from __future__ import annotations

import subprocess
import sys

import pytest
from command import ENVIRONMENT

HEAVY = {"grpc", "betterproto2", "envoy_data_plane", "fastapi", "uvicorn"}


@pytest.mark.parametrize("words", [["--help"], ["hold", "show", "--url", "http://127.0.0.1:1"], ["version"]])
def test_a_question_imports_neither_grpc_nor_envoys_messages(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "xds.cli", *words], capture_output=True, text=True, timeout=60
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert imported & HEAVY == set()


def test_the_settings_are_read_without_envoys_messages() -> None:
    code = "import sys, xds.settings; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert HEAVY & set(done.stdout.split()) == set()


def test_ctrl_c_before_the_command_has_begun_ends_it_without_a_traceback() -> None:
    interrupted = """
import sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "xds.cli.shell":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
import xds.cli
"""
    done = subprocess.run(
        [sys.executable, "-c", interrupted], capture_output=True, text=True, env=ENVIRONMENT, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")

"""The completions in the shells themselves: a command, an option, and a host that the control plane knows.

A shell that isn't installed is skipped; `.ci/run` gets all three.
"""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import ENVIRONMENT, pointsman
from edge_harness import Edge

PATIENCE = 60.0
"""Seconds in which a shell completes: each time it starts a Python, which a busy machine makes slow."""

BASH = """
source "$1"
function=$(complete -p pointsman | sed 's/.* -F \\([^ ]*\\).*/\\1/')
COMP_LINE=$2 COMP_POINT=${#2} COMP_CWORD=$(($# - 3)) COMP_WORDS=("${@:3}")
"$function" pointsman "${@: -1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""

ZSH = """
fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D
tell() {{ print -rn -- "$BUFFER" > {folder}/new && mv {folder}/new {folder}/line }}; zle -N tell; bindkey '^T' tell
bindkey '^I' expand-or-complete; print -n READ''Y
"""


def environment(home: Path) -> dict[str, str]:
    """Where ``pointsman`` is found, and no settings of who runs the test."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**ENVIRONMENT, "PATH": path, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "TERM": "dumb"}


def in_bash(home: Path, line: str) -> list[str]:
    """What is offered for the last word."""
    (home / "completion").write_text(pointsman("completion", "bash").stdout)
    words = ["bash", "--norc", "-c", BASH, "bash", str(home / "completion"), line, *line.split(" ")]
    done = subprocess.run(words, env=environment(home), capture_output=True, text=True, timeout=PATIENCE)
    assert done.stderr == ""
    return done.stdout.split()


def in_fish(home: Path, line: str) -> list[str]:
    """What is offered for the last word: fish finds the completions by themselves."""
    (home / "fish" / "completions").mkdir(parents=True)
    (home / "fish" / "completions" / "pointsman.fish").write_text(pointsman("completion", "fish").stdout)
    words = ["fish", "-c", "complete -C $argv[1]", line]
    done = subprocess.run(words, env=environment(home), capture_output=True, text=True, timeout=PATIENCE)
    assert done.stderr == ""
    return [offered.split("\t")[0] for offered in done.stdout.splitlines()]


def in_zsh(home: Path, line: str) -> list[str]:
    """The last word as the Tab key leaves it: zsh completes only in a terminal."""
    (home / "_pointsman").write_text(pointsman("completion", "zsh").stdout)
    parent, child = pty.openpty()
    with subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=child, stdout=child, stderr=child, env=environment(home), start_new_session=True
    ) as made:
        os.close(child)
        try:
            os.write(parent, ZSH.format(folder=home).encode())
            shown = b""
            while b"READY" not in shown:
                shown += os.read(parent, 65536)
            os.write(parent, line.encode() + b"\t\x14")
            told, end = home / "line", time.monotonic() + PATIENCE
            while not told.exists() and time.monotonic() < end:
                time.sleep(0.05)
            return [told.read_text().split()[-1]]
        finally:
            made.kill()
            os.close(parent)


SHELLS: dict[str, Callable[[Path, str], list[str]]] = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("pointsman expl", "explain"),
        ("pointsman hold rel", "release"),
        ("pointsman wait 7 --time", "--timeout"),
        ("pointsman explain -c {config} t0", "t0.example.com"),
    ],
    ids=["command", "command of a group", "option", "host"],
)
def test_a_shell_completes(edge: Edge, tmp_path: Path, shell: str, line: str, word: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} isn't installed")
    assert word in SHELLS[shell](tmp_path, line.format(config=edge.system.folder / "pointsman.toml"))

"""A document's commands, typed one after the other into a shell, as whoever reads it would."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Typed:
    """How a command ended. ``said``: on stdout and stderr, as a terminal shows both, without the last line's end."""

    code: int
    said: str


class Terminal:
    """One shell in ``folder``, while it is entered: what a command exports is there for those that follow. A pipeline
    fails when a part of it does. ``translated``: what becomes of a command before it is typed."""

    def __init__(
        self, folder: Path, translated: Callable[[str], str] = str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._translated = translated
        kept = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
        self._shell = subprocess.Popen(
            ["bash", "--norc", "-o", "pipefail"],
            cwd=folder,
            env={**kept, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._shell.communicate()

    def type(self, command: str, patience: float = 30) -> Typed:
        """What it says, and its exit code; the test fails when that isn't there within ``patience`` seconds."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        mark = secrets.token_hex(8)
        self._shell.stdin.write(f"{self._translated(command)}\nprintf '\\n%s %s\\n' {mark} $?\n")
        self._shell.stdin.flush()
        late = threading.Timer(patience, self._end)
        late.start()
        said: list[str] = []
        try:
            for line in self._shell.stdout:
                if line.startswith(f"{mark} "):
                    return Typed(int(line.split()[1]), "".join(said).removesuffix("\n").removesuffix("\n"))
                said.append(line)
        finally:
            late.cancel()
        raise AssertionError(f"not within {patience:.0f} s: {command}: {''.join(said)}")

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)


def chapters(page: Path) -> dict[str, list[str]]:
    """The commands below each heading of a document that has some. A settings file isn't one."""
    parts = re.split(r"^## (.+)\n", page.read_text(), flags=re.MULTILINE)
    found = {heading: [*_commands(text)] for heading, text in zip(parts[1::2], parts[2::2], strict=True)}
    return {heading: commands for heading, commands in found.items() if commands}


def settings(page: Path) -> str:
    """The settings file that a document shows."""
    (shown,) = [block for block in _blocks(page.read_text()) if _is_settings(block)]
    return shown


def _commands(text: str) -> Iterator[str]:
    for block in _blocks(text):
        if not _is_settings(block):
            yield from block.replace("\\\n", " ").splitlines()


def _blocks(text: str) -> list[str]:
    """What is set apart by four spaces or more; a file goes on after an empty line."""
    return [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n(?:\n(?=    ))*)+", text, re.MULTILINE)]


def _is_settings(block: str) -> bool:
    return re.search(r"^\[[\w.]+\]$", block, re.MULTILINE) is not None

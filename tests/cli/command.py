"""``pointsman`` as a shell runs it: a process of its own, no terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")},
    "PYTHONPATH": str(ROOT),
    "COLUMNS": "80",
}


def pointsman(
    *words: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xds.cli", *map(str, words)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        cwd=cwd,
        env={**ENVIRONMENT, **(env or {})},
    )


def said(*words: str | Path, code: int = 0, **how: Any) -> Any:
    """What ``pointsman WORDS --json`` prints; its exit code must be ``code``."""
    done = pointsman(*words, "--json", **how)
    assert done.returncode == code, (done.returncode, done.stdout[-2_000:], done.stderr)
    return json.loads(done.stdout)


def failed(*words: str | Path, code: int = 1, **how: Any) -> str:
    """The one line on stderr; its exit code must be ``code``, and nothing is on stdout."""
    done = pointsman(*words, **how)
    assert (done.returncode, done.stdout) == (code, ""), (done.returncode, done.stdout[-2_000:], done.stderr)
    (line,) = done.stderr.splitlines()
    assert line.startswith("pointsman: ")
    return line


def on_terminal(*words: str | Path, env: dict[str, str] | None = None, stdout: IO[str] | None = None) -> str:
    """What a terminal is written, with its escapes; ``stdout`` may be a file instead."""
    parent, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "xds.cli", *map(str, words)],
        stdin=child,
        stdout=stdout or child,
        stderr=child,
        env={**ENVIRONMENT, "TERM": "xterm-256color", **(env or {})},
    ) as made:
        os.close(child)
        told = b""
        try:
            while chunk := os.read(parent, 65536):
                told += chunk
        except OSError:
            pass  # that is how a terminal ends
        made.wait(60)
    os.close(parent)
    return told.decode()

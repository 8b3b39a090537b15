"""Becomes the command that it is given, which then ends when the process that asked for it does, where Linux can do
that; an interrupt that the shell of a background job had ignored ends it again.

A script of its own, and not a `preexec_fn`: what runs between fork and exec in a process with threads may wait for ever
for what another thread holds.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def tied(command: Sequence[str | Path]) -> list[str]:
    """The command to start instead; its first word must be a path, or be found in PATH."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *(str(word) for word in command)]


def _main(parent: int, command: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(f"process {parent}, which asked for {command[0]}, has ended")
    os.execvp(command[0], command)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])

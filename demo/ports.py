"""Ports for a system beside others: no two processes on a machine are given the same one, also when both ask at once.

Each process takes a block of ports for itself, by a lock on a file that the kernel lets go when the process ends,
however it does. All are below those that the kernel gives to outgoing connections (32768 and up on Linux, 49152
elsewhere): one of those could be taken while a part that had it is restarted.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import random
import socket
import tempfile
from pathlib import Path

LOOPBACK = "127.0.0.1"
FIRST, LAST = 20_100, 32_700
BLOCK = 100


class NoPorts(Exception):
    """Every port is taken."""


class Blocks:
    """``folder`` holds a file for each block that somebody has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: list[tuple[Path, int]] = []
        self._left: list[int] = []

    def ports(self, count: int) -> list[int]:
        """So many that nobody has now, none of which was given before. Raises NoPorts."""
        found: list[int] = []
        while len(found) < count:
            if not self._left:
                self._left = self._block()
            port = self._left.pop(0)
            with contextlib.suppress(OSError), socket.create_server((LOOPBACK, port)):
                found.append(port)
        return found

    def release(self) -> None:
        """Others may have them; no part may be on one any more."""
        for path, lock in self._locks:
            path.unlink(missing_ok=True)
            os.close(lock)
        self._locks, self._left = [], []
        with contextlib.suppress(OSError):  # others have theirs in it, or it is gone
            self._folder.rmdir()

    def _block(self) -> list[int]:
        ours = {path.name for path, _ in self._locks}
        starts = [start for start in range(FIRST, LAST, BLOCK) if str(start) not in ours]
        for start in random.sample(starts, len(starts)):
            if self._locked(self._folder / str(start)):
                return list(range(start, start + BLOCK))
        raise NoPorts(f"every block of ports from {FIRST} to {LAST} is taken: see {self._folder}")

    def _locked(self, path: Path) -> bool:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        try:
            lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        except FileNotFoundError:  # the folder was removed just now
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have removed the file after we opened it: then our lock is on nothing.
            if os.fstat(lock).st_ino != path.stat().st_ino:
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError):
            os.close(lock)
            return False
        self._locks.append((path, lock))
        return True


@functools.cache
def _ours() -> Blocks:
    """Not before it is asked for: a container may have no folder for temporary files."""
    blocks = Blocks(Path(tempfile.gettempdir()) / f"pointsman-ports-{os.getuid()}")
    atexit.register(blocks.release)
    return blocks


def free_ports(count: int) -> list[int]:
    """Ports that no other process here is given before this one has ended."""
    return _ours().ports(count)

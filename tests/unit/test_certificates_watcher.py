"""Where the certificates' folder holds folders, a process of its own watches it, and nothing is missed."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from xds.certificates import watcher
from xds.certificates.folder import _watching


def watchers(folder: Path) -> list[int]:
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if watcher.__file__.encode() in words and str(folder).encode() in words:
            found.append(int(process.parent.name))
    return found


def watches_itself() -> int:
    return sum("inotify" in os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink())


async def test_folders_within_are_watched_by_another_process_that_ends_with_the_watch(tmp_path: Path) -> None:
    (tmp_path / "a.test").mkdir()
    before = watches_itself()
    async with asyncio.timeout(30), _watching(tmp_path) as changes:
        assert await anext(changes) == []
        assert len(watchers(tmp_path)) == 1
        assert watches_itself() == before, "the watch is this process's own, and is set up while all else waits"
        new = tmp_path / "a.test" / "tls.crt"
        new.write_bytes(b"")
        while str(new) not in (await anext(changes) or ()):
            pass
    assert watchers(tmp_path) == []


async def test_when_the_process_that_watches_is_killed_another_does_and_everything_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.test").mkdir()
    async with asyncio.timeout(30), _watching(tmp_path) as changes:
        await anext(changes)
        os.kill(watchers(tmp_path)[0], signal.SIGKILL)
        while await anext(changes) is not None:
            pass
        new = tmp_path / "a.test" / "tls.crt"
        new.write_bytes(b"")
        while str(new) not in (await anext(changes) or ()):
            pass

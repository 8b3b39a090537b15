"""Where the certificates' folder holds folders, a process of its own watches it, and nothing is missed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Generator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from demo.issuer import Issuer, write_mounted
from xds.certificates import folder, watcher, watching
from xds.certificates.folder import Folder

ROOM = 50
"""Watches that the system has for the process that watches, in a user namespace of its own."""
FEW = f"echo {ROOM} > /proc/sys/user/max_inotify_watches"


def can_be_few() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-Ur", "sh", "-c", FEW], capture_output=True, check=False).returncode == 0


def watchers(where: Path) -> list[int]:
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if watcher.__file__.encode() in words and str(where).encode() in words:
            found.append(int(process.parent.name))
    return found


def watches_itself() -> int:
    return sum("inotify" in os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink())


async def test_folders_within_are_watched_by_another_process_that_ends_with_the_watch(tmp_path: Path) -> None:
    (tmp_path / "a.test").mkdir()
    before = watches_itself()
    async with asyncio.timeout(30), watching.watching(tmp_path) as changes:
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
    async with asyncio.timeout(30), watching.watching(tmp_path) as changes:
        await anext(changes)
        os.kill(watchers(tmp_path)[0], signal.SIGKILL)
        while await anext(changes) is not None:
            pass
        new = tmp_path / "a.test" / "tls.crt"
        new.write_bytes(b"")
        while str(new) not in (await anext(changes) or ()):
            pass


@contextlib.contextmanager
def watching_with_room_for_few(where: Path) -> Generator[subprocess.Popen[str]]:
    command = f"{FEW}; exec {sys.executable} -P {watcher.__file__} {where}"
    with subprocess.Popen(["unshare", "-Ur", "sh", "-c", command], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def make(where: Path, numbers: range) -> None:
    for number in numbers:
        (where / f"c{number}.test").mkdir()


@pytest.mark.skipif(not can_be_few(), reason="no user namespace can be made, in which watches are few")
@pytest.mark.parametrize("before", [2 * ROOM, ROOM // 2], ids=["at the start", "by folders that come"])
def test_when_the_system_has_no_watch_left_that_is_said_and_nothing_is_watched_in_part(
    tmp_path: Path, before: int
) -> None:
    make(tmp_path, range(before))
    with watching_with_room_for_few(tmp_path) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        if before < ROOM:
            assert first == []
            make(tmp_path, range(before, 2 * ROOM))
            first = [json.loads(line) for line in process.stdout][-1]
        assert "OS file watch limit reached" in first
        assert process.wait(30) == 0


def nobody(changed: Collection[str]) -> bool:
    return False


@contextlib.asynccontextmanager
async def followed(where: Path) -> AsyncIterator[Folder]:
    async def ignored(changed: Collection[str]) -> None:
        pass

    made = Folder(where, ignored, nobody)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def known(made: Folder, host: str) -> None:
    async with asyncio.timeout(30):
        while made.index.covering(host) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_folder_that_cant_be_watched_is_looked_at_again_and_again_and_watched_when_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, watches = Issuer(), watching._deep
    write_mounted(tmp_path, "a.test", authority.issue("a.test"))

    def cannot(where: Path) -> Generator[list[str]]:
        raise OSError("OS file watch limit reached")
        yield []

    monkeypatch.setattr(watching, "_RESCAN", 0.2)
    monkeypatch.setattr(watching, "_TRIES", 20)
    monkeypatch.setattr(watching, "_deep", cannot)
    with capture_logs() as logs:
        async with followed(tmp_path) as made:
            await known(made, "a.test")
            write_mounted(tmp_path, "b.test", authority.issue("b.test"))
            await known(made, "b.test")
            monkeypatch.setattr(watching, "_deep", watches)
            async with asyncio.timeout(30):
                while not watchers(tmp_path):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            write_mounted(tmp_path, "c.test", authority.issue("c.test"))
            await known(made, "c.test")
    said = [entry for entry in logs if entry["event"] == "certificates.unwatched"]
    assert said
    assert "fs.inotify.max_user_watches" in said[0]["advice"]


async def test_what_the_system_doesnt_tell_is_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue of changes is bounded: of more than 16,384 that come quickly, it drops some."""
    authority = Issuer()
    write_mounted(tmp_path, "a.test", authority.issue("a.test"))

    def silent(where: Path) -> Generator[list[str]]:
        yield []
        while True:
            yield from watcher.watched(str(tmp_path.parent / "elsewhere"), deep=False)

    (tmp_path.parent / "elsewhere").mkdir(exist_ok=True)
    monkeypatch.setattr(folder, "_ROUND", 0.2)
    monkeypatch.setattr(watching, "_deep", silent)
    async with followed(tmp_path) as made:
        await known(made, "a.test")
        write_mounted(tmp_path, "b.test", authority.issue("b.test"))
        await known(made, "b.test")

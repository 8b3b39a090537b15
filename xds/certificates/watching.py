"""Where changes of the folder come from: batches of changed paths, from a thread that watches it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Collection, Generator
from pathlib import Path

import structlog

from xds.certificates import watcher
from xds.certificates.watcher import watched

log = structlog.get_logger()

_ANEW = 0.5
"""Seconds until the process that watches is started again when it has ended."""
_RESCAN = 10.0
"""Seconds between two looks at everything where the folder can't be watched."""
_TRIES = 60
"""Such looks until watching it is tried again."""


def identity(folder: Path) -> tuple[int, int] | None:
    """Another one when the folder is replaced, or its link leads elsewhere; None when it isn't there."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[AsyncIterator[Collection[str] | None]]:
    """Batches of changed paths, often empty ones, the first when it is watched; None when anything may have changed."""
    loop = asyncio.get_running_loop()
    batches: asyncio.Queue[Collection[str] | None] = asyncio.Queue()
    stop = threading.Event()

    def tell(batch: Collection[str] | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            loop.call_soon_threadsafe(batches.put_nowait, batch)

    def watch(missed: bool) -> None:
        """Until it is to stop. Raises OSError when the folder can't be watched."""
        deep = _has_folders(folder)
        while not stop.is_set():
            with contextlib.closing(_deep(folder) if deep else _flat(folder)) as changes:
                for paths in changes:
                    if stop.is_set():
                        return
                    tell(None if missed else paths)
                    missed = not deep and any(map(os.path.isdir, paths))
                    if missed:
                        deep = True
                        break
                else:
                    missed = True  # whoever watched has ended: what changes until the next one does isn't seen
                    stop.wait(_ANEW)

    def follow() -> None:
        missed = False
        while not stop.is_set():
            try:
                watch(missed)
            except OSError as error:
                log.error(
                    "certificates.unwatched",
                    folder=str(folder),
                    reason=str(error),
                    looked_at_every=_RESCAN,
                    advice="if it is the limit: raise fs.inotify.max_user_watches above the number of folders",
                )
                tell(())
                for _ in range(_TRIES):
                    if stop.wait(_RESCAN):
                        return
                    tell(None)
                missed = True

    async def following() -> AsyncIterator[Collection[str] | None]:
        while True:
            yield await batches.get()

    thread = threading.Thread(target=follow, name="certificates", daemon=True)
    thread.start()
    try:
        yield following()
    finally:
        stop.set()
        await asyncio.to_thread(thread.join, 5.0)


def _has_folders(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_dir() for entry in entries)


def _flat(folder: Path) -> Generator[list[str]]:
    for changes in watched(str(folder), deep=False):
        yield [path for _, path in changes]


def _deep(folder: Path) -> Generator[list[str]]:
    """Ends when the process does that watches. Raises OSError when it can't."""
    command = [sys.executable, "-P", watcher.__file__, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            for line in process.stdout or ():
                said = json.loads(line)
                if isinstance(said, str):
                    raise OSError(said)
                yield said
        finally:
            process.kill()

"""Follows the folder: what is in it comes into the index, and who uses a certificate is told when it changes.

All reading is done in a thread, a few at a time: with a hundred thousand certificates as with ten, the event loop
goes on. First all leaves are read, which tells whose names are covered; then, slowly, everything is checked. A
certificate that is used is checked whole before.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import structlog

from xds.certificates import watcher
from xds.certificates.index import Aside, Entry, Index
from xds.certificates.layouts import Place, places, touched
from xds.certificates.reading import Clock, Read, read_leaves, read_whole, read_wholes, stamps
from xds.certificates.watcher import watched
from xds.errors import CertificateError
from xds.resources.secrets import CertificatePair

log = structlog.get_logger()

T = TypeVar("T")

_LEAVES = 100
_WHOLE = 10
_PAUSE = 0.005
"""Seconds between two portions of the slow check."""
_QUIET = 1.0
"""Seconds without a client that waited for a certificate; before that, the slow check is slower."""
_KEPT = 512
"""Pairs kept in memory beside those in use."""
_AGAIN = 0.3
"""Seconds after which what looks broken is looked at again: files of one certificate are replaced one by one."""
_DATES = 0.5
"""Seconds between two looks for certificates whose time has come."""
_LOGGED = 20
"""Of what one look sets aside."""
_ANEW = 0.5
"""Seconds until the process that watches is started again when it has ended."""
_RESCAN = 10.0
"""Seconds between two looks at everything where the folder can't be watched."""
_TRIES = 60
"""Such looks until watching it is tried again."""
_ANYWAY = 600.0
"""Seconds between two looks at everything where it is: of very many changes at once the system tells some alone."""


class Folder:
    """``changed`` is awaited with names whose certificate is another now, or gone. ``used`` says of which an older pair
    is in use. ``clock``: seconds since 1970."""

    def __init__(
        self,
        path: Path,
        changed: Callable[[Collection[str]], Awaitable[None]],
        used: Callable[[str], bool],
        *,
        clock: Clock = time.time,
    ) -> None:
        self.path = path
        self.index = Index()
        self._changed = changed
        self._used = used
        self._clock = clock
        self._complete = asyncio.Event()
        self._pairs: OrderedDict[str, CertificatePair] = OrderedDict()
        self._one = asyncio.Lock()
        """Held while files are read and taken: what was read before never replaces what was read after."""
        self._loaded_at = float("-inf")
        self._loading: dict[str, asyncio.Task[CertificatePair | None]] = {}
        self._early: dict[str, float] = {}
        """From when on what is set aside because its time hasn't come can be used, in seconds since 1970."""

    def first(self, name: str) -> tuple[CertificatePair, Entry]:
        """Reads one at the start, and waits for it. Raises CertificateError when it can't be used; one that has
        expired can: there is no better one."""
        read = read_whole(self.path, name, self._clock())
        if not self.path.is_dir():
            raise CertificateError(f"certificates folder {self.path}: there is none (settings edge.certificates)")
        if read.place is None:
            raise CertificateError(f"certificates folder {self.path} has no {name}.crt (settings edge.certificate)")
        if read.checked is None:
            raise read.error or CertificateError(f"certificate {name} can't be read")
        self._take(read, None)
        if read.error is not None:
            log.error("certificate", certificate=name, reason=str(read.error), kept="it is used: there is no other")
        entry = self.index.get(name) or Entry(read.place, read.checked.facts, read.stamp, read.readable, True)
        return read.checked.pair, entry

    async def complete(self, patience: float) -> None:
        """When all names are known, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._complete.wait(), patience)

    async def load(self, name: str) -> CertificatePair | None:
        """The pair, read and checked now unless that was done lately; None when it can't be used."""
        kept = self._pairs.get(name)
        if kept is not None:
            self._pairs.move_to_end(name)
            return kept
        self._loaded_at = time.monotonic()
        task = self._loading.get(name)
        if task is None:
            task = self._loading[name] = asyncio.create_task(self._load(name), name=f"certificate {name}")
            task.add_done_callback(lambda _: self._loading.pop(name, None))
        return await asyncio.shield(task)

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="certificates")
            tasks.create_task(self._await_dates(), name="certificates to come")

    async def _await_dates(self) -> None:
        """No file changes when a certificate's time comes, as after a clock that was behind its issuer's."""
        while True:
            await asyncio.sleep(_DATES)
            now = self._clock()
            await self._look_again([name for name, starts in self._early.items() if starts <= now])

    async def _follow(self) -> None:
        """For ever. A folder that is replaced, or whose link leads elsewhere now, is found within a second."""
        while True:
            where = _place(self.path)
            if where is None:
                await self._gone()
                await asyncio.sleep(1.0)
                continue
            async with _watching(self.path) as changes, asyncio.TaskGroup() as tasks:
                await anext(changes)  # it is watched: what changes while we look is seen
                looking = tasks.create_task(self._look_now_and_then(), name="certificates")
                async for paths in changes:
                    if _place(self.path) != where:
                        looking.cancel()
                        break
                    if paths is None:
                        await self._look_at_all()
                    elif paths:
                        await self._look_at(paths)

    async def _load(self, name: str) -> CertificatePair | None:
        async with self._one:
            self._take(await asyncio.to_thread(read_whole, self.path, name, self._clock()), _Refused())
        return self._pairs.get(name)

    async def _gone(self) -> None:
        error = CertificateError(f"certificates folder {self.path} is gone")
        log.error("certificate", reason=str(error), kept="the pairs before")

    async def _look_now_and_then(self) -> None:
        while True:
            await self._look_at_all()
            await asyncio.sleep(_ANYWAY)

    async def _look_at_all(self) -> None:
        """Everything that is there; only what differs from what is held is read."""
        found = await asyncio.to_thread(_listed, self.path)
        there = {each.name for each in found}
        gone = [name for name in {*self.index, *self.index.aside} if name not in there]
        await self._look_again(gone)
        unread = await self._differing(found)
        refused = _Refused()
        for some in _portions(unread, _LEAVES):
            known = [each.name for each in some if each.name in self.index or self._used(each.name)]
            fresh = [each for each in some if each.name not in known]
            async with self._one:
                for read in await asyncio.to_thread(read_leaves, self.path, fresh, self._clock()):
                    self._take(read, refused)
            await self._look_again(known)
        self._said_complete()
        await self._check_all(refused)
        refused.end()

    def _said_complete(self) -> None:
        if self.index.complete:
            return
        readable = self.index.readable
        if readable:
            log.warning(
                "certificates.readable",
                total=len(readable),
                first=list(islice(readable, _LOGGED)),
                advice="let nobody but the owner read the keys (chmod 600)",
            )
        self.index.complete = True
        self._complete.set()
        log.info("certificates", usable=len(self.index), set_aside=len(self.index.aside))

    async def _differing(self, found: Sequence[Place]) -> list[Place]:
        unread: list[Place] = []
        for some in _portions(found, 4 * _LEAVES):
            for each, stamp in zip(some, await asyncio.to_thread(stamps, self.path, some), strict=True):
                held = self.index.get(each.name)
                aside = self.index.aside.get(each.name)
                if (aside.stamp if aside else held.stamp if held else None) != stamp or (
                    held is not None and held.place != each
                ):
                    unread.append(each)
        return unread

    async def _check_all(self, refused: _Refused) -> None:
        names = [name for name in self.index if (entry := self.index.get(name)) and not entry.checked]
        for some in _portions(names, _WHOLE):
            async with self._one:
                for read in await asyncio.to_thread(read_wholes, self.path, some, self._clock()):
                    if read.name in self.index:
                        self._take(read, refused, keep=False)
            quiet = time.monotonic() > self._loaded_at + _QUIET
            await asyncio.sleep(_PAUSE if quiet else 20 * _PAUSE)

    async def _look_at(self, paths: Collection[str]) -> None:
        names = {touched(self.path, path) for path in paths}
        if None in names:
            await self._look_at_all()
        else:
            await self._look_again([name for name in names if name])

    async def _look_again(self, names: Sequence[str]) -> None:
        """Reads these anew. Good news is taken at once; what looks bad, or gone, only when it stays so."""
        bad: list[str] = []
        for last in (False, True):
            taken: list[str] = []
            refused = _Refused()
            for some in _portions(names, _WHOLE):
                async with self._one:
                    for read in await asyncio.to_thread(read_wholes, self.path, some, self._clock()):
                        if not last and (read.error is not None or read.place is None):
                            bad.append(read.name)
                        elif self._take(read, refused):
                            taken.append(read.name)
            refused.end()
            if taken:
                await self._changed(taken)
            if last or not bad:
                break
            names = bad
            await asyncio.sleep(_AGAIN)

    def _take(self, read: Read, refused: _Refused | None, *, keep: bool | None = None) -> bool:
        """Takes what was read; whether what is to be used is another now."""
        name, held = read.name, self.index.get(read.name)
        self._early.pop(name, None)
        if read.place is None:
            known = held is not None or name in self.index.aside
            self.index.remove(name)
            self._pairs.pop(name, None)
            return known
        if read.error is not None or read.facts is None:
            error = read.error or CertificateError(f"certificate {name} can't be read")
            if read.facts is not None and read.facts.not_before > self._clock():
                self._early[name] = read.facts.not_before
            used = self._used(name) if keep is None else keep or self._used(name)
            before = self.index.aside.get(name)
            self.index.put_aside(name, Aside(error.kind, str(error), read.stamp), keep=used)
            if refused is not None and (before is None or before.reason != str(error)):
                refused.add(name, str(error))
            return False
        checked = read.checked
        unused = checked.staple if checked else ""
        whole = checked is not None
        self.index.put(Entry(read.place, read.facts, read.stamp, read.readable, whole, unused))
        if checked is None:
            return False
        before_pair = self._pairs.pop(name, None)
        self._pairs[name] = checked.pair
        while len(self._pairs) > _KEPT:
            self._pairs.popitem(last=False)
        if read.readable and self.index.complete and not (held and held.readable):
            log.warning("certificates.readable", certificate=name, advice="let nobody but the owner read the key")
        if unused and (held is None or held.staple != unused):
            log.warning("certificate", certificate=name, reason=unused, kept="the certificate, without it")
        return before_pair != checked.pair


class _Refused:
    """What one look at the folder sets aside: each is logged when it is found, since the look at a large folder goes
    on for seconds; after the first few only their number is, at its end."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, name: str, reason: str) -> None:
        self._count += 1
        if self._count <= _LOGGED:
            log.error("certificate", certificate=name, reason=reason, kept="the pair before")

    def end(self) -> None:
        if self._count > _LOGGED:
            log.error("certificates", set_aside=self._count, shown=_LOGGED)


def _listed(folder: Path) -> list[Place]:
    try:
        return list(places(folder))
    except OSError as error:
        log.error("certificate", reason=f"certificates folder {folder}: {error.strerror}", kept="the pairs before")
        return []


def _portions(some: Sequence[T], size: int) -> Iterator[list[T]]:
    rest = iter(some)
    while portion := list(islice(rest, size)):
        yield portion


def _place(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


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


@contextlib.asynccontextmanager
async def _watching(folder: Path) -> AsyncIterator[AsyncIterator[Collection[str] | None]]:
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

"""Follows the folder: what is in it comes into the index, and who uses a certificate is told when it changes.

All reading is done in a thread, a few at a time: with a hundred thousand certificates as with ten, the event loop
goes on. First all leaves are read, which tells whose names are covered; then, slowly, everything is checked. A
certificate that is used is checked whole before. What no event tells of (a link's target elsewhere, another machine's
change on NFS, an overflow) is found by looking at everything again, slowly, for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import structlog

from xds.certificates.checks import expired
from xds.certificates.index import Aside, Entry, Index
from xds.certificates.layouts import Place, places, touched
from xds.certificates.losses import Limits, Losses
from xds.certificates.pairs import Pairs
from xds.certificates.reading import Clock, Read, read_leaves, read_whole, read_wholes, stamped, stamps
from xds.certificates.watching import identity, watching
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
_AGAIN = 0.3
"""Seconds after which what looks broken is looked at again: files of one certificate are replaced one by one."""
_PATIENCE = 3.0
"""Seconds for which the service's own may look broken at the start."""
_DATES = 0.5
"""Seconds between two looks for certificates whose time has come, or is over."""
_LOGGED = 20
"""Of what one look sets aside."""
_ROUND = 10.0
"""Seconds between two rounds of looking at everything again."""
_STEP = 200
"""Certificates that are looked at in one step of a round."""
_BREATH = 1.0
"""Seconds between two steps."""


class Folder:
    """``changed`` is awaited with names whose certificate is another now, or gone. ``used`` says of which a pair is in
    use. ``own``: a certificate that is never without the last good pair. ``clock``: seconds since 1970."""

    def __init__(
        self,
        path: Path,
        changed: Callable[[Collection[str]], Awaitable[None]],
        used: Callable[[str], bool],
        *,
        own: str = "",
        limits: Limits | None = None,
        clock: Clock = time.time,
    ) -> None:
        self.path = path
        self.index = Index()
        self.missing: dict[str, None] = {}
        """Kept though they are gone: so many went at once that it is rather the folder that is gone."""
        self.trouble = ""
        """Why the folder can't be read now; empty when it can."""
        self._changed = changed
        self._used = used
        self._own = own
        self._clock = clock
        self._complete = asyncio.Event()
        self._pairs = Pairs(used)
        self._losses = Losses(limits or Limits())
        self._one = asyncio.Lock()
        """Held while files are read and taken: what was read before never replaces what was read after."""
        self._loaded_at = float("-inf")
        self._loading: dict[str, asyncio.Task[CertificatePair | None]] = {}
        self._early: dict[str, float] = {}
        """From when on what is set aside because its time hasn't come can be used, in seconds since 1970."""
        self._nacks: asyncio.Queue[tuple[str, CertificatePair, str]] = asyncio.Queue()

    def first(self, name: str, patience: float = _PATIENCE) -> tuple[CertificatePair, Entry]:
        """Reads one at the start, and waits for it. Raises CertificateError when it can't be used; one that has
        expired can: there is no better one. What looks broken is looked at again for ``patience`` seconds, as whatever
        renews it may be about to."""
        until = time.monotonic() + patience
        while (read := read_whole(self.path, name, self._clock())).checked is None and time.monotonic() < until:
            time.sleep(_AGAIN)
        if not self.path.is_dir():
            raise CertificateError(f"certificates folder {self.path}: there is none (settings edge.certificates)")
        if read.place is None:
            raise CertificateError(f"certificates folder {self.path} has no {name}.crt (settings edge.certificate)")
        if read.checked is None:
            raise read.error or CertificateError(f"certificate {name} can't be read")
        entry = _entry(read.place, read)
        self.index.put(entry, self._clock())
        self._pairs.put(name, read.checked.pair, None)
        if read.error is not None:
            self._set_aside(read, read.error, None, keep=True)
            log.error("certificate", certificate=name, reason=str(read.error), kept="it is used: there is no other")
        return read.checked.pair, entry

    async def complete(self, patience: float) -> None:
        """When all names are known, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._complete.wait(), patience)

    async def load(self, name: str) -> CertificatePair | None:
        """The pair, read and checked now unless that was done lately; None when it can't be used."""
        kept = self._pairs.asked(name)
        if kept is not None:
            return kept
        self._loaded_at = time.monotonic()
        task = self._loading.get(name)
        if task is None:
            task = self._loading[name] = asyncio.create_task(self._load(name), name=f"certificate {name}")
            task.add_done_callback(lambda _: self._loading.pop(name, None))
        return await asyncio.shield(task)

    def kept(self, name: str) -> CertificatePair | None:
        """The pair that `load` gives without reading: the newest good one that was read; None for none."""
        return self._pairs.get(name)

    def settled(self, name: str, pair: CertificatePair, error: str | None) -> None:
        """An Envoy ACKed this very pair, or NACKed it with that error."""
        if error is not None:
            self._nacks.put_nowait((name, pair, error))
        elif (entry := self.index.get(name)) is not None:
            self._pairs.accepted(name, pair, entry)

    async def accept_losses(self) -> list[str]:
        """What is missing is gone indeed. Those names."""
        async with self._one:
            names = [name for name in self.missing if name != self._own]
            self._remove(names)
        log.warning("certificates.removed", total=len(names), first=names[:_LOGGED], reason="an order accepts it")
        await self._tell(names)
        return names

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="certificates")
            tasks.create_task(self._rounds(), name="certificates again")
            tasks.create_task(self._await_dates(), name="certificates to come")
            tasks.create_task(self._go_back(), name="certificates rejected")

    async def _await_dates(self) -> None:
        """No file changes when a certificate's time comes or is over, or that of its OCSP response."""
        before = self._clock()
        while True:
            await asyncio.sleep(_DATES)
            now = self._clock()
            refused, over = _Refused(), self.index.ended(now)
            for entry in over:
                name = entry.place.name
                self._put_aside(name, expired(name, entry.facts), entry.stamp, refused, keep=self._keeps(name))
            refused.end()
            await self._tell([entry.place.name for entry in over])
            again = [name for name, starts in self._early.items() if starts <= now]
            if now < before:  # the clock was wrong: what seemed to be over may not be
                again += [name for name, aside in self.index.aside.items() if aside.kind == "dates"]
            before = now
            await self._look_again([*again, *self.index.staples_over(now)])

    async def _go_back(self) -> None:
        """What an Envoy rejects though it passed every check is set aside."""
        while True:
            name, pair, reason = await self._nacks.get()
            entry = self.index.get(name)
            if entry is None or not self._pairs.rejects(name, pair):
                continue
            error = _rejected(name, reason)
            good = self._pairs.go_back(name, reason, keep=name == self._own)
            if good is not None:
                self.index.put(good, self._clock())
            keep = good is not None or name == self._own
            self.index.put_aside(name, Aside(error.kind, str(error), entry.stamp), keep=keep)
            kept = "the pair before" if good else "it, as there is none before" if keep else "none"
            log.error("certificate", certificate=name, reason=str(error), kept=kept)
            await self._tell([name])

    async def _follow(self) -> None:
        """For ever. A folder that is replaced, or whose link leads elsewhere now, is found within a second."""
        while True:
            where = identity(self.path)
            if where is None:
                self._troubled(f"certificates folder {self.path} is gone")
                await asyncio.sleep(1.0)
                continue
            async with watching(self.path) as changes, asyncio.TaskGroup() as tasks:
                await anext(changes)  # it is watched: what changes while we look is seen
                looking = tasks.create_task(self._look_at_all(), name="certificates")
                async for paths in changes:
                    if identity(self.path) != where:
                        looking.cancel()
                        break
                    if paths is None:
                        await self._look_at_all()
                    elif paths:
                        await self._look_at(paths)

    async def _rounds(self) -> None:
        """For ever: a hundred thousand certificates take eight minutes, and hardly any of the processor."""
        while True:
            await asyncio.sleep(_ROUND)
            if self.trouble:
                await self._look_at_all()
            if not self.index.complete:
                continue
            found = await self._list() or []
            await self._look_again([each.name for each in found if not self._knows(each.name)])
            del found  # as long as the round takes
            for some in _portions(list({*self.index, *self.index.aside}), _STEP):
                await self._look_again(await self._others(some))
                await asyncio.sleep(_BREATH)

    async def _others(self, names: Sequence[str]) -> list[str]:
        """Those of which a file is another now."""
        found: list[str] = []
        for name, (place, stamp) in zip(names, await asyncio.to_thread(stamped, self.path, names), strict=True):
            held, aside = self.index.get(name), self.index.aside.get(name)
            if place is not None and (stamp != _stamp_of(held, aside) or (held is not None and held.place != place)):
                found.append(name)
        return found

    def _knows(self, name: str) -> bool:
        return name in self.index or name in self.index.aside

    async def _load(self, name: str) -> CertificatePair | None:
        async with self._one:
            read = await asyncio.to_thread(read_whole, self.path, name, self._clock())
            # Whether it is gone for good is for the watch to find.
            another = read.place is not None and self._take(read, _Refused())
            pair = self._pairs.get(name)
        if another and self._used(name):
            await self._changed([name])
        return pair

    def _troubled(self, reason: str) -> None:
        if reason != self.trouble:
            log.error("certificate", reason=reason, kept="all as it was")
        self.trouble = reason

    async def _list(self) -> list[Place] | None:
        """All that is there, after what isn't was looked at again; None when the folder can't be read."""
        try:
            found = await asyncio.to_thread(lambda: list(places(self.path)))
        except OSError as error:
            self._troubled(f"certificates folder {self.path}: {error.strerror}")
            return None
        self.trouble = ""
        there = {each.name for each in found}
        gone = {*self.index, *self.index.aside} - there
        await self._look_again([name for name in gone if name not in self.missing])
        await self._look_again([name for name in self.missing if name in there])
        return found

    async def _look_at_all(self) -> None:
        """Everything that is there; only what differs from what is held is read."""
        found = await self._list()
        if found is None:
            return
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
                advice="every user may read these keys: chmod 600, or 640 for a group of its own",
            )
        self.index.complete = True
        self._complete.set()
        log.info("certificates", usable=len(self.index), set_aside=len(self.index.aside))

    async def _differing(self, found: Sequence[Place]) -> list[Place]:
        unread: list[Place] = []
        for some in _portions(found, 4 * _LEAVES):
            for each, stamp in zip(some, await asyncio.to_thread(stamps, self.path, some), strict=True):
                held, aside = self.index.get(each.name), self.index.aside.get(each.name)
                if stamp != _stamp_of(held, aside) or (held is not None and held.place != each):
                    unread.append(each)
        return unread

    async def _check_all(self, refused: _Refused) -> None:
        names = [name for name in self.index if (entry := self.index.get(name)) and not entry.checked]
        for some in _portions(names, _WHOLE):
            others: list[str] = []
            async with self._one:
                for read in await asyncio.to_thread(read_wholes, self.path, some, self._clock()):
                    known = read.name in self.index and read.place is not None
                    if known and self._take(read, refused, keep=False) and self._used(read.name):
                        others.append(read.name)
            await self._tell(others)
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
            refused = _Refused()
            gone: list[str] = []
            for some in _portions(names, _WHOLE):
                taken: list[str] = []
                async with self._one:
                    for read in await asyncio.to_thread(read_wholes, self.path, some, self._clock()):
                        if not last and (read.error is not None or read.place is None):
                            bad.append(read.name)
                        elif read.place is None:
                            gone.append(read.name)
                        elif self._take(read, refused):
                            taken.append(read.name)
                await self._tell(taken)
            refused.end()
            await self._lose(gone)
            if last or not bad:
                break
            names = bad
            await asyncio.sleep(_AGAIN)

    async def _tell(self, names: Collection[str]) -> None:
        if names:
            await self._changed(names)

    async def _lose(self, names: Sequence[str]) -> None:
        """These are gone from the folder. The service's own stays as it was; so do others, when many go or it does."""
        if self._own in names and self._own in self.index:
            self.missing[self._own] = None
            gone = CertificateError(f"certificate {self._own} is gone from the folder", kind="file")
            self._put_aside(self._own, gone, 0, _Refused(), keep=True)
        names = [name for name in names if name not in self.missing]
        usable = [name for name in names if name in self.index]
        may = self._own not in self.missing
        may = may and self._losses.may_go(len(usable), len(self.index) - len(self.missing), time.monotonic())
        if usable and not may:
            self.missing.update(dict.fromkeys(usable))
            log.error(
                "certificates.missing",
                total=len(self.missing),
                first=usable[:_LOGGED],
                kept="those in use; others can't be read",
                advice="bring them back; to accept it, restart or POST /api/v1/certificates/missing/accept",
            )
            names = [name for name in names if name not in self.missing]
        known = [name for name in names if self._knows(name)]
        self._remove(known)
        await self._tell(known)

    def _remove(self, names: Collection[str]) -> None:
        for name in names:
            self.index.remove(name)
            self._pairs.remove(name)
            self._early.pop(name, None)
            self.missing.pop(name, None)

    def _take(self, read: Read, refused: _Refused, *, keep: bool | None = None) -> bool:
        """Takes what was read, and is there; whether what is to be used is another now."""
        name, held, checked = read.name, self.index.get(read.name), read.checked
        self._early.pop(name, None)
        self.missing.pop(name, None)
        error = read.error
        if error is None and checked and (why := self._pairs.rejected(name, checked.pair)):
            error = _rejected(name, why)
        if error is not None or read.facts is None or read.place is None:
            error = error or CertificateError(f"certificate {name} can't be read")
            self._set_aside(read, error, refused, keep=self._keeps(name) if keep is None else keep or self._keeps(name))
            return False
        self.index.put(_entry(read.place, read), self._clock())
        if checked is None:
            return False
        if read.readable and self.index.complete and not (held and held.readable):
            log.warning(
                "certificates.readable",
                certificate=name,
                advice="every user may read this key: chmod 600, or 640 for a group of its own",
            )
        if checked.staple and (held is None or held.staple != checked.staple):
            log.warning("certificate", certificate=name, reason=checked.staple, kept="the certificate, without it")
        return self._pairs.put(name, checked.pair, held)

    def _keeps(self, name: str) -> bool:
        """Whether the pair before stays when its successor is bad."""
        return name == self._own or self._used(name)

    def _set_aside(self, read: Read, error: CertificateError, refused: _Refused | None, *, keep: bool) -> None:
        if read.facts is not None and read.facts.not_before > self._clock():
            self._early[read.name] = read.facts.not_before
        self._put_aside(read.name, error, read.stamp, refused, keep=keep)

    def _put_aside(
        self, name: str, error: CertificateError, stamp: int, refused: _Refused | None, *, keep: bool
    ) -> None:
        before = self.index.aside.get(name)
        self.index.put_aside(name, Aside(error.kind, str(error), stamp), keep=keep)
        if not keep:
            self._pairs.drop(name)
        if refused is not None and (before is None or before.reason != str(error)):
            refused.add(name, str(error))


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


def _entry(place: Place, read: Read) -> Entry:
    assert read.facts is not None
    checked = read.checked
    unused, ends = (checked.staple, checked.staple_ends) if checked else ("", 0.0)
    return Entry(place, read.facts, read.stamp, read.readable, checked is not None, unused, ends)


def _stamp_of(held: Entry | None, aside: Aside | None) -> int | None:
    """Of the files that were read last."""
    return aside.stamp if aside else held.stamp if held else None


def _rejected(name: str, reason: str) -> CertificateError:
    return CertificateError(f"certificate {name}: Envoy rejects it: {reason}", kind="envoy")


def _portions(some: Sequence[T], size: int) -> Iterator[list[T]]:
    rest = iter(some)
    while portion := list(islice(rest, size)):
        yield portion

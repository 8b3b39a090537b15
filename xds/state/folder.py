"""The state folder: numbered pairs of a state and the journal that follows it, the newest last.

    0000000007.state     whole, written beside and renamed: it is there entirely or not at all
    0000000007.journal   what changed since; appended to
    hold.json, token     see `xds.gate`, `xds.http.operate`

All of it blocks, for a thread. One process writes: the one that has the lock; another only reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

from xds.errors import StateError
from xds.state.blocks import Chain
from xds.state.format import (
    Entry,
    Journal,
    State,
    apply_entries,
    begin_journal,
    decode_head,
    decode_journal,
    decode_state,
    encode_entry,
    encode_state,
)

T = TypeVar("T")

_NUMBERED = re.compile(r"(\d{10})\.(state|journal)")
_HEAD = 64 * 1024  # bytes that surely hold a state's head


@dataclass(slots=True)
class Loaded:
    """The newest good state with its journals; None when there is none. ``refused``: what wasn't used, and why.

    ``heard``: when GDS was last heard, as far as is known; seconds since 1970.
    """

    state: State | None = None
    heard: float = 0.0
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Kept:
    """A moment that can be gone back to. ``domains`` is the count of its pair's state, None between two. ``place``: the
    number of its pair, and how many entries of the journal lead to it; a later moment has a higher one."""

    epoch: str
    revision: int
    at: float
    domains: int | None
    place: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class _Open:
    """The journal that is appended to."""

    file: IO[bytes]
    chain: Chain
    state_bytes: int
    number: int


class StateFolder:
    """``keep`` pairs are kept. `load` comes first; `write` begins a new pair, `append` adds to its journal.

    Everything that can't be done is a StateError, which leaves on disk what was there.
    """

    def __init__(self, path: Path, keep: int = 5) -> None:
        self.path = path
        self._keep = keep
        self._open: _Open | None = None
        self._lock: IO[bytes] | None = None

    @property
    def writable(self) -> bool:
        """A journal is open, so `append` may be called."""
        return self._open is not None

    @property
    def full(self) -> bool:
        """The journal is as large as its state: a new pair is due."""
        return self._open is not None and self._open.chain.size > max(1 << 20, self._open.state_bytes)

    def close(self) -> None:
        for file in (self._open.file if self._open else None, self._lock):
            if file is not None:
                file.close()
        self._open = self._lock = None

    def load(self) -> Loaded:
        """Reads the newest state that is whole, and the journals that follow it. Never raises."""
        found = Loaded()
        try:
            self._prepare()
        except StateError as error:
            found.refused.append(str(error))
        if self._lock is not None:  # else another control plane may be writing them
            with contextlib.suppress(OSError):
                for name in self.path.glob("*.new"):
                    name.unlink()
        numbers = self._numbers()
        for number in reversed(numbers):
            try:
                state, identity = _told(self._file(number, "state"), decode_state)
            except StateError as error:
                found.refused.append(str(error))
                continue
            found.state = state
            self._follow(found, identity, [later for later in numbers if later >= number])
            break
        return found

    def write(self, state: State, *, joins: bool = False) -> None:
        """Writes ``state`` as a new pair, and prunes the oldest. ``joins``: the journal before leads to this state."""
        self._prepare()
        number = max([0, *self._numbers()]) + 1
        identity = secrets.token_bytes(16)
        follows = self._open.chain.sum if self._open and joins else b""
        target = self._file(number, "state")
        chain, head = begin_journal(identity, follows)
        journal = self._file(number, "journal")
        try:
            size = self.replace(target.name, encode_state(state, identity))
            file = self._begun(journal, head)
        except StateError:
            # Without a journal it would be the newest at the next start, and hide what the one before goes on to say.
            for name in (journal, target):
                with contextlib.suppress(OSError):
                    name.unlink(missing_ok=True)
            raise
        if self._open:
            self._open.file.close()
        self._open = _Open(file, chain, size, number)
        self._sync_folder()
        self._prune()

    def _begun(self, journal: Path, head: bytes) -> IO[bytes]:
        with _saying(journal):
            file = open(journal, "xb", buffering=0, opener=_private)  # noqa: SIM115
            try:
                _write(file, head)
                os.fsync(file.fileno())
            except OSError:
                file.close()
                raise
        return file

    def append(self, entries: Iterable[Entry]) -> None:
        """Adds to the journal: from then on it outlives this process, and the machine once it is synced. What could be
        added in part only is taken back."""
        journal = self._open
        if journal is None:
            raise StateError(f"state folder {self.path}: no journal is open")
        before = Chain(journal.chain.size, journal.chain.sum)
        data = b"".join(block for entry in entries for block in encode_entry(journal.chain, entry))
        try:
            with _saying(self._file(journal.number, "journal")):
                _write(journal.file, data)
        except StateError:
            with contextlib.suppress(OSError):
                journal.file.truncate(before.size)
            self.abandon()
            raise

    def syncing(self) -> Callable[[], None]:
        """Has the journal on disk as it is now: for a thread of its own, beside which it may be appended to."""
        journal = self._open
        if journal is None:
            return lambda: None
        name = self._file(journal.number, "journal")
        with _saying(name):
            file = os.dup(journal.file.fileno())

        def sync() -> None:
            try:
                with _saying(name):
                    os.fdatasync(file)
            finally:
                os.close(file)

        return sync

    def abandon(self) -> None:
        """What comes next doesn't follow what is on disk: a whole state must come first."""
        if self._open is not None:
            self._open.file.close()
            self._open = None

    def heard(self, now: float) -> None:
        """Notes that GDS was heard: the time of the newest journal says so."""
        journal = self._open
        if journal is not None:
            with contextlib.suppress(OSError):
                os.utime(self._file(journal.number, "journal"), (now, now))

    def kept(self, most: int | None = None, before: tuple[int, int] | None = None) -> list[Kept]:
        """The moments that can be gone back to, the newest first: ``most`` of them, and no more is read than that
        takes; None for all. ``before``: those that came before the one of this place."""
        found: list[Kept] = []
        for number in reversed(self._numbers()):
            if before is not None and number > before[0]:
                continue
            if most is not None and len(found) >= most:
                break
            try:
                head = _told(self._file(number, "state"), decode_head, _HEAD)
            except StateError:
                continue
            with contextlib.suppress(StateError):
                journal = _told(self._file(number, "journal"), decode_journal)
                moments = [
                    Kept(e[0].epoch, e[0].revision, e[0].at, None, (number, i))
                    for i, e in enumerate(journal.entries, 1)
                    if before is None or (number, i) < before
                ]
                found.extend(reversed(moments))
            if before is None or (number, 0) < before:
                found.append(Kept(head.epoch, head.revision, head.at, head.domains, (number, 0)))
        return found[:most]

    def at(self, revision: int, epoch: str = "") -> State:
        """The newest that was kept of ``revision``."""
        for number in reversed(self._numbers()):
            try:
                state, identity = _told(self._file(number, "state"), decode_state)
            except StateError:
                continue
            journal = None
            with contextlib.suppress(StateError):
                journal = _told(self._file(number, "journal"), decode_journal)
            entries = journal.entries if journal and journal.id == identity else []
            wanted = [i for i, e in enumerate(entries, 1) if _is(e[0], revision, epoch)]
            if wanted or _is(state, revision, epoch):
                for entry in entries[: wanted[-1] if wanted else 0]:
                    apply_entries(state, entry)
                return state
        raise StateError(f"revision {revision} isn't among the states that are kept: see `pointsman rollback list`")

    def replace(self, name: str, pieces: Iterable[bytes]) -> int:
        """Writes a file whole: beside, to disk, then in place of the one before. Returns its size."""
        self._prepare()
        target = self.path / name
        beside = self.path / f"{name}.new"
        with _saying(target):
            try:
                with open(beside, "wb", opener=_private) as file:
                    for piece in pieces:
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                    size = file.tell()
                beside.rename(target)
            except OSError:
                with contextlib.suppress(OSError):
                    beside.unlink(missing_ok=True)
                raise
        self._sync_folder()
        return size

    def content(self, name: str) -> bytes | None:
        """What a small file holds; None when there is none."""
        with _saying(self.path / name):
            try:
                return (self.path / name).read_bytes()
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        with _saying(self.path / name):
            (self.path / name).unlink(missing_ok=True)

    def _prepare(self) -> None:
        """Makes the folder and takes the lock."""
        if self._lock is not None:
            return
        with _saying(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            lock = open(self.path / "lock", "ab", opener=_private)  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise StateError(
                f"state folder {self.path} is in use by another control plane: give each its own"
            ) from None
        self._lock = lock

    def _follow(self, found: Loaded, identity: bytes, numbers: list[int]) -> None:
        """Applies the journal of the state, and of later pairs whose state wasn't good, as far as they join."""
        assert found.state is not None
        end: bytes | None = None
        for number in numbers:
            name = self._file(number, "journal")
            if end is not None and not name.exists():
                continue  # of a pair that was never whole
            try:
                journal = _told(name, decode_journal)
            except StateError as error:
                found.refused.append(str(error))
                return
            if (journal.id != identity) if end is None else (journal.follows != end):
                found.refused.append(f"{name}: it doesn't follow what was read before it")
                return
            for entry in journal.entries:
                apply_entries(found.state, entry)
            end = journal.chain.sum
            with contextlib.suppress(OSError):
                found.heard = name.stat().st_mtime
            if journal.torn:
                found.refused.append(f"{name}: {journal.torn}; what comes before that is used")
                break
        if not found.refused or (len(numbers) == 1 and journal.torn):
            self._go_on(number, journal)

    def _go_on(self, number: int, journal: Journal) -> None:
        """Opens the newest journal to append to it, its torn end cut off; without that a new pair is begun."""
        if self._lock is None:
            return
        name = self._file(number, "journal")
        with contextlib.suppress(OSError):
            heard = name.stat().st_mtime
            file = open(name, "r+b", buffering=0)  # noqa: SIM115
            try:
                if journal.torn:
                    file.truncate(journal.chain.size)
                    os.fsync(file.fileno())
                    os.utime(name, (heard, heard))
                file.seek(0, os.SEEK_END)
                size = self._file(number, "state").stat().st_size
            except OSError:
                file.close()
                raise
            self._open = _Open(file, journal.chain, size, number)

    def _prune(self) -> None:
        for number in self._numbers()[: -self._keep]:
            for kind in ("journal", "state"):
                with contextlib.suppress(OSError):
                    self._file(number, kind).unlink(missing_ok=True)

    def _numbers(self) -> list[int]:
        names: Iterator[re.Match[str] | None]
        try:
            names = (_NUMBERED.fullmatch(name) for name in os.listdir(self.path))
        except OSError:
            return []
        return sorted({int(name[1]) for name in names if name})

    def _file(self, number: int, kind: str) -> Path:
        return self.path / f"{number:010}.{kind}"

    def _sync_folder(self) -> None:
        with _saying(self.path):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _is(moment: State | Entry, revision: int, epoch: str) -> bool:
    return moment.revision == revision and epoch in ("", moment.epoch)


def _told(name: Path, decode: Callable[[bytes], T], most: int = -1) -> T:
    """What a file, or the first ``most`` bytes of it, holds; the error names it."""
    with _saying(name), name.open("rb") as file:
        data = file.read(most)
    try:
        return decode(data)
    except StateError as error:
        raise StateError(f"{name} is not used: {error}") from None


def _write(file: IO[bytes], data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, mode=0o600)


@contextlib.contextmanager
def _saying(name: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(f"{name}: {error.strerror}: make room or give the rights (setting state.folder)") from None

"""The audit log: every order, whatever came of it. Kept in a file, the newest in memory, and said to the log, too.

The file is written by a thread of its own: a disk that is slow holds nobody up.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import Literal, get_args

import msgspec
import structlog

log = structlog.get_logger()

Outcome = Literal["asked", "done", "refused", "failed", "denied"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
KEPT = 1_000
"""Entries in memory."""
_SIZE = 5 * 1024 * 1024
_FILES = 5
_TAIL = 256 * 1024
"""Bytes of the file that are read at the start."""
DENIED = 10
"""Refusals for want of a token that are written down within a minute; those beyond are counted. Else anybody could
push the orders out of the file."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """``at``: seconds since 1970. ``who``: what the caller says of itself, or the name of its certificate; ``address``:
    where it came from. ``outcome``: "asked", "done", "refused" as it can't be done or isn't of the form that is taken,
    "failed" by a mistake of ours, or "denied" to who may not."""

    number: int
    at: float
    order: str
    outcome: Outcome
    who: str
    address: str
    reason: str = ""
    revision: int | None = None


class Audit:
    """``path``: of the file; None for none. It is written while the block of `writing` runs. ``trouble``: why it can't
    be written, or couldn't be read; empty when all is well."""

    def __init__(self, path: Path | None = None, wall: Callable[[], float] = time.time) -> None:
        self.trouble = ""
        self.outcomes: Counter[Outcome] = Counter()
        """Of those noted since the start; refusals for want of a token that were only counted, too."""
        self._wall = wall
        self._path = path
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._queue: queue.SimpleQueue[logging.LogRecord] | None = None
        self._handler: QueueHandler | None = None
        self._number = 0
        self._minute = 0
        self._denied = 0

    def note(
        self, order: str, outcome: Outcome, who: str, address: str, *, reason: str = "", revision: int | None = None
    ) -> None:
        self.outcomes[outcome] += 1
        self._add(order, outcome, who, address, reason, revision)

    def _add(
        self, order: str, outcome: Outcome, who: str, address: str, reason: str, revision: int | None = None
    ) -> None:
        self._number += 1
        made = Entry(self._number, round(self._wall(), 3), order, outcome, who, address, reason, revision)
        self._entries.append(made)
        more = {name: value for name, value in (("reason", reason), ("revision", revision)) if value}
        log.warning("audit", order=order, outcome=outcome, who=who, address=address, **more)
        if self._handler is not None:
            line = msgspec.json.encode(made).decode()
            self._handler.handle(logging.makeLogRecord({"msg": line, "levelno": logging.INFO}))

    def denied(self, order: str, address: str, reason: str) -> None:
        """Somebody without a token or certificate asked for it; who they are can't be known."""
        self.outcomes["denied"] += 1
        minute = int(self._wall() // 60)
        if minute != self._minute:
            if self._denied > DENIED:
                self._add("several", "denied", "", "", f"{self._denied - DENIED} more within a minute")
            self._minute, self._denied = minute, 0
        self._denied += 1
        if self._denied <= DENIED:
            self._add(order, "denied", "", address, reason)

    def newest_first(self, before: int | None = None) -> Iterator[Entry]:
        """Those in memory; ``before``: those that came before this number."""
        return (entry for entry in reversed(self._entries) if before is None or entry.number < before)

    @property
    def kept(self) -> int:
        """How many are in memory."""
        return len(self._entries)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Reads the newest entries from the file, and writes to it."""
        if self._path is None:
            yield
            return
        self._recall(self._path)
        file = _Private(self._path, self._wrote)
        self._queue = queue.SimpleQueue()
        self._handler = QueueHandler(self._queue)
        listener = QueueListener(self._queue, file)
        listener.start()
        try:
            yield
        finally:
            self._handler = None
            listener.stop()
            file.close()

    def _wrote(self, trouble: str) -> None:
        self.trouble = trouble

    def _recall(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                read = file.read()
                lines, whole = read.splitlines(), read.endswith(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            self.trouble = str(error)
            log.error("audit.unreadable", file=str(path), reason=str(error))
            return
        if lines and not whole:
            self._end_line(path)
        for line in lines[1:] if size > _TAIL else lines:
            try:
                entry = msgspec.json.decode(line, type=Entry)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # cut off when the process was killed, or not ours
            self._entries.append(entry)
            self._number = max(self._number, entry.number)

    def _end_line(self, path: Path) -> None:
        """What was cut off when the process was killed must not take the next entry with it."""
        try:
            with path.open("ab") as file:
                file.write(b"\n")
        except OSError as error:
            log.error("audit.unwritten", file=str(path), reason=str(error))


class _Private(RotatingFileHandler):
    """Readable by its owner only, in a folder that is made if need be; a failure to write is said to the log, and ends
    nothing. ``wrote`` is told after each entry why it couldn't be written, empty when it was."""

    def __init__(self, path: Path, wrote: Callable[[str], None]) -> None:
        super().__init__(path, maxBytes=_SIZE, backupCount=_FILES, encoding="utf-8", delay=True)
        self._wrote = wrote
        self._trouble = ""

    def emit(self, record: logging.LogRecord) -> None:
        self._trouble = ""
        super().emit(record)
        self._wrote(self._trouble)

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=_opened)  # type: ignore[return-value]

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        self._trouble = str(error) or type(error).__name__
        log.error("audit.unwritten", file=self.baseFilename, entry=record.getMessage(), exc_info=True)


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

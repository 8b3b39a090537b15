"""The watch without I/O: bytes of an event stream in, whole transactions and heartbeats out.

`EventParser` follows the WHATWG's server-sent events; `Assembler` joins the events of one revision. A stream that
ends in the middle of an event or of a revision yields nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from xds.errors import GdsError
from xds.gds.authorship import UNTOLD, authorship
from xds.gds.model import UNREADABLE, BadRecord, Change, DeleteDomain, DeletePod, Pod, PutDomain, PutPod, Transaction

MAX_EVENT = 16 * 1024 * 1024
"""Bytes of one event; a thousand changes are about 100 kB, so more is a stream that never ends an event."""

MAX_CHANGES = 5_000_000
"""Changes of one revision; more is a stream that never ends a transaction, and would fill our memory."""


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; ``name`` is "message" when the stream gives none."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """GDS lives, and stands at this revision."""

    epoch: str
    revision: int


class EventParser:
    """Feeds on bytes cut anywhere. Raises GdsError when an event grows over MAX_EVENT."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._waiting = 0
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Event]:
        self._rest.append(chunk)
        self._waiting += len(chunk)
        # Else a line that doesn't end would be looked through again with each piece of it.
        if b"\n" in chunk or b"\r" in chunk or self._ends_in_return():
            yield from self._lines(b"".join(self._rest))
        if self._size + self._waiting > MAX_EVENT:
            raise GdsError(f"GDS's watch holds an event of more than {MAX_EVENT} bytes: is this the right service?")

    def _ends_in_return(self) -> bool:
        return len(self._rest) > 1 and self._rest[-2].endswith(b"\r")

    def _lines(self, text: bytes) -> Iterator[Event]:
        # A CR at the end may be half of a CRLF: it waits for the next byte.
        held = b"\r" if text.endswith(b"\r") else b""
        lines = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = [lines.pop() + held]
        self._waiting = len(self._rest[0])
        for line in lines:
            event = self._line(line)
            if event is not None:
                yield event

    def _line(self, line: bytes) -> Event | None:
        if not line:
            event = Event(self._name or "message", b"\n".join(self._data)) if self._data else None
            self._name, self._data, self._size = "", [], 0
            return event
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        return None


class _Change(msgspec.Struct):
    revision: int
    changes: list[dict[str, Any]]
    more: bool = False
    by: Any = None
    at: Any = None


class _Heartbeat(msgspec.Struct):
    epoch: str
    revision: int


class Assembler:
    """Joins the events of one revision. Raises GdsError when an event isn't the contract's."""

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._revision: int | None = None
        self._changes: list[Change] = []
        self._author = UNTOLD
        self._pods: dict[str, str] = {}
        """Those that the transaction names, each kept once, not once for each domain."""

    def take(self, event: Event) -> Transaction | Heartbeat | None:
        """The value that ``event`` completes, if it completes one; events of other names are ignored."""
        try:
            if event.name == "heartbeat":
                beat = msgspec.json.decode(event.data, type=_Heartbeat)
                return Heartbeat(beat.epoch, beat.revision)
            if event.name != "change":
                return None
            part = msgspec.json.decode(event.data, type=_Change)
        except UNREADABLE as error:
            raise GdsError(f"GDS's watch holds a {event.name} event that is not the contract's: {error}") from None
        if self._revision not in (None, part.revision):
            raise GdsError(f"GDS's watch began revision {part.revision} before revision {self._revision} was whole")
        self._revision = part.revision
        for record in part.changes:
            pod = record.get("pod")
            if isinstance(pod, str):
                record["pod"] = self._pods.setdefault(pod, pod)
            self._changes.append(_change(record))
        if len(self._changes) > MAX_CHANGES:
            raise GdsError(f"GDS's watch holds more than {MAX_CHANGES} changes in revision {part.revision}")
        if not self._author.known:
            self._author = authorship(part.by, part.at)
        if part.more:
            return None
        whole = Transaction(self._epoch, part.revision, self._changes, author=self._author)
        self._revision, self._changes, self._author, self._pods = None, [], UNTOLD, {}
        return whole


def _change(record: dict[str, Any]) -> Change:
    kind = str(record.get("kind"))
    try:
        match record.get("op"), kind:
            case "put", "domain":
                return msgspec.convert(record, PutDomain)
            case "delete", "domain":
                return msgspec.convert(record, DeleteDomain)
            case "put", "pod":
                return PutPod(msgspec.convert(record.get("pod"), Pod))
            case "delete", "pod":
                return msgspec.convert(record, DeletePod)
    except msgspec.ValidationError as error:
        return BadRecord(kind, _name(record), str(error))
    return BadRecord("record", _name(record), f"op {record.get('op')!r} on kind {kind!r} is not known")


def _name(record: dict[str, Any]) -> str:
    pod = record.get("pod")
    if record.get("kind") == "pod" and isinstance(pod, dict):
        return str(pod.get("name", ""))
    return str(record.get("domain") or record.get("name") or "")

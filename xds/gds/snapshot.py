"""The snapshot without I/O: bytes of `GET /backends` in, one whole Snapshot out, or an error and nothing."""

from __future__ import annotations

from typing import Any

import msgspec

from xds.errors import GdsError
from xds.gds.homes import Homes
from xds.gds.model import UNREADABLE, BadRecord, Pod, Snapshot

MAX_LINE = 64 * 1024 * 1024
"""Bytes of one line. The first carries every pod; ten thousand pods of a hundred endpoints are about that."""


class _Head(msgspec.Struct):
    epoch: str
    revision: int
    domains: int
    pods: list[msgspec.Raw]


class _Record(msgspec.Struct):
    domain: str
    pod: str


class SnapshotReader:
    """Feeds on bytes cut anywhere; `finish` gives the snapshot. Both raise GdsError on what isn't the contract."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_Record)
        self._rest: list[bytes] = []
        self._size = 0
        self._head: _Head | None = None
        self._pods: list[Pod] = []
        self._domains = Homes()
        self._known: dict[str, str] = {}
        """The pods by name: each name is kept once, not once for each domain."""
        self._bad: list[BadRecord] = []
        self._read = 0

    def feed(self, chunk: bytes) -> None:
        whole, newline, rest = chunk.rpartition(b"\n")
        if not newline:
            self._rest.append(chunk)
            self._size += len(chunk)
            if self._size > MAX_LINE:
                raise GdsError(f"GDS's snapshot holds a line of more than {MAX_LINE} bytes: is this the right service?")
            return
        lines = b"".join((*self._rest, whole))
        self._rest, self._size = [rest], len(rest)
        self._lines(lines)

    def finish(self) -> Snapshot:
        self._lines(b"".join(self._rest))
        head = self._head
        if head is None:
            raise GdsError("GDS's snapshot is empty: not even its first line came")
        if self._read != head.domains:
            raise GdsError(f"GDS's snapshot was cut short: {self._read} of {head.domains} domains came")
        return Snapshot(head.epoch, head.revision, tuple(self._pods), self._domains, tuple(self._bad))

    def _lines(self, lines: bytes) -> None:
        if self._head is None and lines:
            first, _, lines = lines.partition(b"\n")
            self._take_head(first)
        if not lines:
            return
        try:
            records = self._decoder.decode_lines(lines)
        except UNREADABLE:
            self._one_by_one(lines)
            return
        self._join(records)
        self._count(len(records))

    def _join(self, records: list[_Record]) -> None:
        known = self._known
        self._domains.join([one.domain for one in records], [known.get(one.pod, one.pod) for one in records])

    def _count(self, records: int) -> None:
        self._read += records
        if self._head is not None and self._read > self._head.domains:
            raise GdsError(f"GDS's snapshot holds more domains than the {self._head.domains} that it announced")

    def _take_head(self, line: bytes) -> None:
        try:
            self._head = head = msgspec.json.decode(line, type=_Head)
        except UNREADABLE as error:
            raise GdsError(
                f"GDS's snapshot begins with {line[:80]!r}, which is not the contract's first line: {error}"
            ) from None
        for raw in head.pods:
            try:
                self._pods.append(msgspec.json.decode(raw, type=Pod))
            except UNREADABLE as error:
                self._bad.append(BadRecord("pod", _name(raw, "name"), str(error)))
        self._known = {pod.name: pod.name for pod in self._pods}

    def _one_by_one(self, lines: bytes) -> None:
        for line in lines.split(b"\n"):
            if not line.strip():
                continue
            self._count(1)
            try:
                self._join([self._decoder.decode(line)])
            except UNREADABLE as error:
                name = _name(line, "domain")
                self._bad.append(BadRecord("domain" if name else "record", name or repr(line[:80]), str(error)))


def _name(line: bytes | msgspec.Raw, key: str) -> str:
    try:
        record: Any = msgspec.json.decode(line)
    except UNREADABLE:
        return ""
    return str(record.get(key, "")) if isinstance(record, dict) else ""

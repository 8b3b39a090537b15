"""What stands in the files of the state folder. Pure: values in, bytes out, and back.

A *state* is the whole directory at one moment: a head with its counts, the pods, then the domains in compressed blocks
of some thousands, each a list of names and one of numbers of pods. A *journal* follows it: what changed since, one
entry for each change of the directory, with the time. A journal's torn end is cut; a state is used whole or not at all.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import msgspec

from xds.errors import StateError
from xds.gds.homes import Homes
from xds.gds.model import Pod, Snapshot
from xds.state.blocks import Chain, read

FORMAT = 1
"""Grows whenever an older program could no longer read what is written."""

STATE = b"pointsman state\n"
JOURNAL = b"pointsman journal\n"

_DOMAINS = 4096  # of one block: a millisecond or two
_CHANGES = 4096
_MAX_PLAIN = 16 * 1024 * 1024  # bytes of one block of domains, decompressed: names are at most 253 long


@dataclass(slots=True)
class State:
    """The directory, as the edge had it at ``at``, seconds since 1970. ``domains`` are name -> pod."""

    epoch: str
    revision: int
    at: float
    pods: dict[str, Pod] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        return Snapshot(self.epoch, self.revision, tuple(self.pods.values()), Homes(self.domains))


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One change: what each name is now, None for gone. ``more``: it goes on in the next entry."""

    epoch: str
    revision: int
    at: float
    domains: dict[str, str | None]
    pods: dict[str, Pod | None]
    more: bool = False


class Head(msgspec.Struct, frozen=True):
    """Of a state: ``id`` names it, for its journal."""

    format: int
    id: bytes
    epoch: str
    revision: int
    at: float
    domains: int
    pods: int


class _JournalHead(msgspec.Struct, frozen=True):
    """``follows``: the checksum at the end of the journal before; empty for the first."""

    format: int
    id: bytes
    follows: bytes


class _Format(msgspec.Struct):
    format: int


H = TypeVar("H", Head, _JournalHead)

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, zlib.error, ValueError, IndexError)


def encode_state(state: State, identity: bytes) -> Iterator[bytes]:
    """The file's bytes, in pieces of at most some 100 kB."""
    chain = Chain.of(STATE)
    yield STATE
    head = Head(FORMAT, identity, state.epoch, state.revision, state.at, len(state.domains), len(state.pods))
    yield chain.block(msgspec.msgpack.encode(head))
    yield chain.block(msgspec.msgpack.encode(list(state.pods.values())))
    numbers = {name: number for number, name in enumerate(state.pods)}
    rest = iter(state.domains.items())
    while some := list(islice(rest, _DOMAINS)):
        names, pods = zip(*some, strict=True)
        text = "\n".join(names).encode()
        where = array("I", map(numbers.__getitem__, pods)).tobytes()
        yield chain.block(zlib.compress(len(text).to_bytes(4, "little") + text + where, 1))


def decode_head(data: bytes) -> Head:
    """The head alone, from the file's first kilobytes. Raises StateError."""
    return _head(next(read(data, STATE, Chain.of(STATE)), b""), Head)


def decode_state(data: bytes) -> tuple[State, bytes]:
    """The state and its id. Raises StateError unless everything in it is as it was written."""
    blocks = read(data, STATE, Chain.of(STATE))
    head = _head(next(blocks, b""), Head)
    state = State(head.epoch, head.revision, head.at)
    try:
        pods = msgspec.msgpack.decode(next(blocks, b""), type=list[Pod])
        state.pods = {pod.name: pod for pod in pods}
        names = [pod.name for pod in pods]
        for block in blocks:
            state.domains.update(_domains(block, names))
    except _UNREADABLE as error:
        raise StateError(f"it can't be read, though its checksums are right: {error}") from None
    if (len(state.domains), len(state.pods)) != (head.domains, head.pods):
        raise StateError(
            f"it is cut short: {len(state.domains)} of {head.domains} domains, {len(state.pods)} of {head.pods} pods"
        )
    return state, head.id


def begin_journal(identity: bytes, follows: bytes) -> tuple[Chain, bytes]:
    """The chain that makes a journal's further blocks, and the file's first bytes."""
    chain = Chain.of(JOURNAL)
    head = msgspec.msgpack.encode(_JournalHead(FORMAT, identity, follows))
    return chain, JOURNAL + chain.block(head)


def encode_entry(chain: Chain, entry: Entry) -> Iterator[bytes]:
    """The entry's blocks: more than one when it holds many changes."""
    rest = iter(entry.domains.items())
    pods, some = entry.pods, dict(islice(rest, _CHANGES))
    while True:
        following = dict(islice(rest, _CHANGES))
        part = Entry(entry.epoch, entry.revision, entry.at, some, pods, bool(following))
        yield chain.block(msgspec.msgpack.encode(part))
        if not following:
            return
        pods, some = {}, following


@dataclass(slots=True)
class Journal:
    """A journal that was read: its whole entries, where the good part ends, and what is wrong after that, if aught."""

    id: bytes
    follows: bytes
    entries: list[tuple[Entry, ...]]
    """Each change in its parts."""
    chain: Chain
    torn: str = ""


def decode_journal(data: bytes) -> Journal:
    """Raises StateError when not even its head can be read; a torn end is only told."""
    chain = Chain.of(JOURNAL)
    blocks = read(data, JOURNAL, chain)
    head = _head(next(blocks, b""), _JournalHead)
    journal = Journal(head.id, head.follows, [], Chain(chain.size, chain.sum))
    decoder = msgspec.msgpack.Decoder(Entry)
    parts: list[Entry] = []
    try:
        for block in blocks:
            parts.append(decoder.decode(block))
            if not parts[-1].more:
                journal.entries.append(tuple(parts))
                journal.chain, parts = Chain(chain.size, chain.sum), []
        if parts:
            journal.torn = "its last change isn't whole"
    except StateError as error:
        journal.torn = str(error)
    except _UNREADABLE as error:
        journal.torn = f"an entry can't be read, though its checksum is right: {error}"
    return journal


def apply_entries(state: State, parts: Iterable[Entry]) -> None:
    """Brings ``state`` to where the entries lead."""
    for part in parts:
        state.epoch, state.revision, state.at = part.epoch, part.revision, part.at
        for domain, pod in part.domains.items():
            if pod is None:
                state.domains.pop(domain, None)
            else:
                state.domains[domain] = pod
        for name, found in part.pods.items():
            if found is None:
                state.pods.pop(name, None)
            else:
                state.pods[name] = found


def _domains(block: bytes, pods: list[str]) -> Iterator[tuple[str, str]]:
    decompress = zlib.decompressobj()
    plain = decompress.decompress(block, _MAX_PLAIN)
    if not decompress.eof or decompress.unused_data:
        raise ValueError("a block of domains is larger than any that is written")
    length = int.from_bytes(plain[:4], "little")
    where = array("I")
    where.frombytes(plain[4 + length :])
    return zip(plain[4 : 4 + length].decode().split("\n"), map(pods.__getitem__, where), strict=True)


def _head(block: bytes, kind: type[H]) -> H:
    if not block:
        raise StateError("it is cut short: it has no head")
    try:
        found = msgspec.msgpack.decode(block, type=_Format).format
        if found != FORMAT:
            raise StateError(f"it is of format {found}, and this program reads format {FORMAT} only")
        return msgspec.msgpack.decode(block, type=kind)
    except msgspec.MsgspecError as error:
        raise StateError(f"its head can't be read: {error}") from None

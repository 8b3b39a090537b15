"""Requests as they come over the wire, read into the protocol's values: only the fields that are used.

Nothing else of a request is looked at, so a node's metadata may be as deep as it likes. As protobuf wants it, the last
of several values wins, and a message that comes in several parts is the sum of them. Field numbers are those of
envoy.service.discovery.v3 (DiscoveryRequest, DeltaDiscoveryRequest), envoy.config.core.v3.Node and google.rpc.Status.

A fleet comes back with thousands of names at each client, nearly always the same, each time in another order: what
follows each other is cut apart at once, and initial versions that came before are what they were read to then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from sys import intern

from xds.errors import ProtocolError
from xds.protocol.held import MANY, Whole, whole
from xds.protocol.messages import DeltaRequest, Node, SotwRequest

_NODE_ID, _NODE_CLUSTER, _AGENT, _AGENT_VERSION, _AGENT_BUILD = 1, 2, 6, 7, 8
_BUILD_VERSION = 1
_CODE, _MESSAGE = 1, 2
_KEY, _VALUE = 1, 2
_SUBSCRIBED, _ENTRY = 3 << 3 | 2, 5 << 3 | 2  # the tags of a name that is subscribed to, and of an initial version
_SHORT = 0x80
"""Bytes that a length of one byte doesn't reach."""
_REMEMBERED = 20_000
"""Entries, of less than 128 bytes each."""
_MOST = 60_000
"""Entries, of less than 128 bytes each, of all initial versions together that are remembered whole."""


def parse_delta(raw: bytes) -> DeltaRequest:
    """Raises ProtocolError when ``raw`` isn't a DeltaDiscoveryRequest."""
    type_url = nonce = b""
    node: list[bytes] = []
    error: list[bytes] = []
    subscribe: list[bytes] = []
    unsubscribe: list[str] = []
    entries: list[bytes] = []
    try:
        for number, value in _texts(raw, {_SUBSCRIBED: subscribe, _ENTRY: entries}):
            match number:
                case 1:
                    node.append(value)
                case 2:
                    type_url = value
                case 3:
                    subscribe.append(value)
                case 4:
                    unsubscribe.append(str(value, "utf-8"))
                case 5:
                    entries.append(value)
                case 6:
                    nonce = value
                case 7:
                    error.append(value)
        return DeltaRequest(
            str(type_url, "utf-8"),
            tuple([intern(str(name, "utf-8")) for name in subscribe]),
            tuple(unsubscribe),
            _versions(entries),
            str(nonce, "utf-8"),
            _error(error),
            _node(node),
        )
    except (ValueError, IndexError) as broken:
        raise ProtocolError(f"not a DeltaDiscoveryRequest: {broken}") from None


def parse_sotw(raw: bytes) -> SotwRequest:
    """Raises ProtocolError when ``raw`` isn't a DiscoveryRequest."""
    version = type_url = nonce = b""
    node: list[bytes] = []
    error: list[bytes] = []
    names: list[str] = []
    try:
        for number, value in _texts(raw):
            match number:
                case 1:
                    version = value
                case 2:
                    node.append(value)
                case 3:
                    names.append(str(value, "utf-8"))
                case 4:
                    type_url = value
                case 5:
                    nonce = value
                case 6:
                    error.append(value)
        return SotwRequest(
            str(type_url, "utf-8"),
            tuple(names),
            str(version, "utf-8"),
            str(nonce, "utf-8"),
            _error(error),
            _node(node),
        )
    except (ValueError, IndexError) as broken:
        raise ProtocolError(f"not a DiscoveryRequest: {broken}") from None


def _node(parts: list[bytes]) -> Node | None:
    if not parts:
        return None
    texts = {_NODE_ID: b"", _NODE_CLUSTER: b"", _AGENT: b""}
    build: list[bytes] = []
    for number, value in _texts(b"".join(parts)):
        if number in texts:
            texts[number] = value
        elif number == _AGENT_BUILD:
            build.append(value)
        elif number == _AGENT_VERSION:  # of the two, the last one counts
            build.clear()
    agent = str(texts[_AGENT], "utf-8") + _build(build)
    return Node(str(texts[_NODE_ID], "utf-8"), str(texts[_NODE_CLUSTER], "utf-8"), agent.strip())


def _build(parts: list[bytes]) -> str:
    version = b"".join(value for number, value in _texts(b"".join(parts)) if number == _BUILD_VERSION)
    numbers = {1: 0, 2: 0, 3: 0}
    numbers.update(_numbers(version))
    return f" {numbers[1]}.{numbers[2]}.{numbers[3]}" if any(numbers.values()) else ""


def _error(parts: list[bytes]) -> str | None:
    """The reason of a NACK. Envoy cuts a long one at a byte, which may be within a character."""
    if not parts:
        return None
    raw = b"".join(parts)
    message = [value for number, value in _texts(raw) if number == _MESSAGE]
    if message and message[-1]:
        return str(message[-1], "utf-8", "replace")
    code = dict(_numbers(raw)).get(_CODE, 0)
    return f"code {code - (1 << 32) if code >> 31 else code}"


class _Entries(dict[bytes, tuple[str, str]]):
    """The entries of initial versions that came before, read."""

    def __missing__(self, raw: bytes) -> tuple[str, str]:
        entry = _entry(raw)
        if len(raw) < _SHORT:
            if len(self) >= _REMEMBERED:
                self.clear()
            self[raw] = entry
        return entry


class _Wholes(dict[frozenset[bytes], Whole]):
    """All initial versions of a request that came before, read. Requests of any thread may look them up."""

    def __missing__(self, entries: frozenset[bytes]) -> Whole:
        versions = whole(dict(map(_entries.__getitem__, entries)))
        if len(entries) <= _MOST:
            if sum(map(len, [*self])) + len(entries) > _MOST:
                self.clear()
            self[entries] = versions
        return versions


_entries = _Entries()
_wholes = _Wholes()


def _versions(entries: list[bytes]) -> Mapping[str, str]:
    if len(entries) > MANY and max(map(len, entries)) < _SHORT:  # else a client could have us remember megabytes
        together = frozenset(entries)
        versions: Mapping[str, str] = _wholes[together]
        if len(versions) == len(together):
            return versions  # else a name is there at two versions, and it matters which comes last
    return dict(map(_entries.__getitem__, entries))


def _entry(raw: bytes) -> tuple[str, str]:
    """One entry of a map of strings."""
    if len(raw) > 3 and raw[0] == _KEY << 3 | 2 and raw[1] < _SHORT:
        at = 2 + raw[1]  # where the value begins in an entry that is written as everybody writes it
        if len(raw) > at + 1 and raw[at] == _VALUE << 3 | 2 and raw[at + 1] == len(raw) - at - 2 < _SHORT:
            return str(raw[2:at], "utf-8"), str(raw[at + 2 :], "utf-8")
    entry = {_KEY: b"", _VALUE: b""}
    entry.update(_texts(raw))
    return str(entry[_KEY], "utf-8"), str(entry[_VALUE], "utf-8")


def _short_values(raw: bytes, at: int, found: list[bytes]) -> int:
    """Takes the short values of the field at ``at`` that follow each other; a reconnect may bring a hundred thousand.
    Where they end. Raises IndexError."""
    tag, end = raw[at], len(raw)
    while at + 1 < end and raw[at] == tag and (length := raw[at + 1]) < _SHORT:
        after = at + 2 + length
        if after > end:
            break
        found.append(raw[at + 2 : after])
        at = after
    return at


_Runs = Mapping[int, list[bytes]]
"""By tag: what takes the short values of fields that are repeated very often."""


def _texts(raw: bytes, runs: _Runs | None = None) -> Iterator[tuple[int, bytes]]:
    for number, value in _fields(raw, runs or {}):
        if isinstance(value, bytes):
            yield number, value


def _numbers(raw: bytes) -> Iterable[tuple[int, int]]:
    """32 bits of each."""
    return [(number, value & 0xFFFFFFFF) for number, value in _fields(raw, {}) if isinstance(value, int)]


def _fields(raw: bytes, runs: _Runs) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message by number, in the order in which they come, but for what goes to ``runs``; those of fixed
    size are passed over. Raises ValueError or IndexError when it isn't one."""
    at, end = 0, len(raw)
    while at < end:
        tag = raw[at]
        if tag in runs:
            after = _short_values(raw, at, runs[tag])
            if after > at:
                at = after
                continue
        at += 1
        if tag > 0x7F:
            tag, at = _varint(raw, at - 1)
        if not 0 < tag >> 3 < 1 << 29:
            raise ValueError(f"field number {tag >> 3}")
        match tag & 7:
            case 2:
                length = raw[at]
                at += 1
                if length > 0x7F:
                    length, at = _varint(raw, at - 1)
                start, at = at, at + length
                if at > end:
                    break
                yield tag >> 3, raw[start:at]
            case 0:
                value, at = _varint(raw, at)
                yield tag >> 3, value
            case 1:
                at += 8
            case 5:
                at += 4
            case kind:
                raise ValueError(f"wire type {kind}")
    if at > end:
        raise ValueError("it is cut short")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """64 bits at most, and where they end."""
    value = 0
    for shift in range(0, 70, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("a number of more than ten bytes")

"""Requests as they come over the wire, read into the protocol's values: only the fields that are used.

Nothing else of a request is looked at, so a node's metadata may be as deep as it likes. As protobuf wants it, the last
of several values wins, and a message that comes in several parts is the sum of them. Field numbers are those of
envoy.service.discovery.v3 (DiscoveryRequest, DeltaDiscoveryRequest), envoy.config.core.v3.Node and google.rpc.Status.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from sys import intern

from xds.errors import ProtocolError
from xds.protocol.messages import DeltaRequest, Node, SotwRequest

_NODE_ID, _NODE_CLUSTER, _AGENT, _AGENT_VERSION, _AGENT_BUILD = 1, 2, 6, 7, 8
_BUILD_VERSION = 1
_CODE, _MESSAGE = 1, 2
_KEY, _VALUE = 1, 2
_ENTRY = 5 << 3 | 2  # the tag of an initial version
_REMEMBERED = 20_000
"""Entries, of less than 128 bytes each."""


def parse_delta(raw: bytes) -> DeltaRequest:
    """Raises ProtocolError when ``raw`` isn't a DeltaDiscoveryRequest."""
    type_url = nonce = b""
    node: list[bytes] = []
    error: list[bytes] = []
    subscribe: list[str] = []
    unsubscribe: list[str] = []
    versions: dict[str, str] = {}
    try:
        for number, value in _texts(raw, versions):
            match number:
                case 1:
                    node.append(value)
                case 2:
                    type_url = value
                case 3:
                    subscribe.append(intern(str(value, "utf-8")))
                case 4:
                    unsubscribe.append(str(value, "utf-8"))
                case 5:
                    key, held = _entry(value)
                    versions[key] = held
                case 6:
                    nonce = value
                case 7:
                    error.append(value)
        return DeltaRequest(
            str(type_url, "utf-8"),
            tuple(subscribe),
            tuple(unsubscribe),
            versions,
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
    """The entries of initial versions that came before, read. Thousands of clients come back with the same ones."""

    def __missing__(self, raw: bytes) -> tuple[str, str]:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[raw] = entry = _entry(raw)
        return entry


_entries = _Entries()


def _entry(raw: bytes) -> tuple[str, str]:
    """One entry of a map of strings."""
    entry = {_KEY: b"", _VALUE: b""}
    entry.update(_texts(raw))
    return str(entry[_KEY], "utf-8"), str(entry[_VALUE], "utf-8")


def _short_entries(raw: bytes, at: int, versions: dict[str, str]) -> int:
    """Reads the short entries that follow each other from ``at`` on; a reconnect may bring a hundred thousand. Where
    they end. Raises ValueError or IndexError."""
    found: list[bytes] = []
    while at + 1 < len(raw) and raw[at] == _ENTRY and raw[at + 1] < 0x80:
        after = at + 2 + raw[at + 1]
        if after > len(raw):
            break
        found.append(raw[at + 2 : after])
        at = after
    versions.update(map(_entries.__getitem__, found))
    return at


def _texts(raw: bytes, versions: dict[str, str] | None = None) -> Iterator[tuple[int, bytes]]:
    for number, value in _fields(raw, versions):
        if isinstance(value, bytes):
            yield number, value


def _numbers(raw: bytes) -> Iterable[tuple[int, int]]:
    """32 bits of each."""
    return [(number, value & 0xFFFFFFFF) for number, value in _fields(raw) if isinstance(value, int)]


def _fields(raw: bytes, versions: dict[str, str] | None = None) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message by number, in the order in which they come; those of fixed size are passed over. Raises
    ValueError or IndexError when it isn't one. ``versions`` takes the short entries."""
    at, end = 0, len(raw)
    while at < end:
        tag = raw[at]
        if tag == _ENTRY and versions is not None:
            after = _short_entries(raw, at, versions)
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

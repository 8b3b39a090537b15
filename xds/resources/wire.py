"""Splices protobuf: length-delimited fields put together from bytes that are encoded already.

Concatenating encoded messages merges them (protobuf encoding, "Last One Wins" and repeated fields), so a long
repeated field can be kept in pieces. Only what the dataclasses would take milliseconds for is spliced.
"""

from __future__ import annotations

from collections.abc import Iterator

LENGTH_DELIMITED = 2


_SHORT = [bytes((value,)) for value in range(0x80)]


def varint(value: int) -> bytes:
    """A non-negative integer in base 128, least significant group first."""
    if value <= 0x7F:
        return _SHORT[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, body: bytes) -> bytes:
    """One length-delimited field: a string, bytes or a message that is encoded already."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(body)) + body


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and body of each field of a message that has none but length-delimited ones."""
    at = 0
    while at < len(message):
        tag, at = _read(message, at)
        size, at = _read(message, at)
        yield tag >> 3, message[at : at + size]
        at += size


def delimited(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The number and body of each length-delimited field of any message. Raises ValueError when it isn't one."""
    at = 0
    try:
        while at < len(message):
            tag, at = _read(message, at)
            kind = tag & 7
            if kind == LENGTH_DELIMITED:
                size, at = _read(message, at)
                if at + size > len(message):
                    raise ValueError(f"field {tag >> 3} is longer than the message")
                yield tag >> 3, message[at : at + size]
                at += size
            elif kind == 0:
                _, at = _read(message, at)
            elif kind in (1, 5):
                at += 8 if kind == 1 else 4
            else:
                raise ValueError(f"wire type {kind} of field {tag >> 3}")
    except IndexError:
        raise ValueError("it ends within a number") from None


def _read(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7

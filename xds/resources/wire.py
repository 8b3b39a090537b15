"""Splices protobuf: length-delimited fields put together from bytes that are encoded already.

Concatenating encoded messages merges them (protobuf encoding, "Last One Wins" and repeated fields), so a long
repeated field can be kept in pieces. Only what the dataclasses would take milliseconds for is spliced.
"""

from __future__ import annotations

LENGTH_DELIMITED = 2


def varint(value: int) -> bytes:
    """A non-negative integer in base 128, least significant group first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, body: bytes) -> bytes:
    """One length-delimited field: a string, bytes or a message that is encoded already."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(body)) + body

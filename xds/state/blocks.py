"""How a file of the state folder is framed: a line that names its kind, then blocks, each with a checksum over itself
and everything before it. So a file that was cut, changed, or put together from parts of others is never read past the
place where that happened. Pure: bytes in, bytes out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from xds.errors import StateError

_LENGTH = 4
_SUM = 16
MAX_BLOCK = 64 * 1024 * 1024


@dataclass(slots=True)
class Chain:
    """Makes the blocks of one file, in order; ``size`` and ``sum`` are those of what was made so far."""

    size: int
    sum: bytes

    @staticmethod
    def of(kind: bytes) -> Chain:
        """The chain of a file that begins with the line ``kind``."""
        return Chain(len(kind), _digest(b"", kind))

    def block(self, payload: bytes) -> bytes:
        length = len(payload).to_bytes(_LENGTH, "little")
        self.sum = _digest(self.sum, length, payload)
        self.size += _LENGTH + _SUM + len(payload)
        return length + self.sum + payload


def read(data: bytes | memoryview, kind: bytes, chain: Chain) -> Iterator[bytes]:
    """The payloads in ``data``; ``chain``, made for ``kind``, is brought to the end of each before it is given.

    Raises StateError at the first block that isn't whole, with ``chain`` at the end of the last good one.
    """
    data = memoryview(data)
    if bytes(data[: len(kind)]) != kind:
        raise StateError(f"it doesn't begin with {kind.decode().strip()!r}: it is another file, or was damaged")
    while chain.size < len(data):
        payload = chain.size + _LENGTH + _SUM
        length = int.from_bytes(data[chain.size : chain.size + _LENGTH], "little")
        if payload > len(data) or (payload + length > len(data) and length <= MAX_BLOCK):
            raise StateError(f"it is cut short in the block at byte {chain.size}, or the block's length was damaged")
        if length > MAX_BLOCK:
            raise StateError(f"the block at byte {chain.size} says that it has {length} bytes: it was damaged")
        begun, found = chain.size, bytes(data[payload : payload + length])
        made = Chain(chain.size, chain.sum)
        made.block(found)
        if made.sum != data[begun + _LENGTH : payload]:
            raise StateError(f"the checksum of the block at byte {begun} is wrong: it was damaged")
        chain.size, chain.sum = made.size, made.sum
        yield found


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=_SUM)
    for part in parts:
        digest.update(part)
    return digest.digest()

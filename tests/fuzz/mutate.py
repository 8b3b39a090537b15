"""A small mutator for runs without atheris: bits, bytes, pieces moved, doubled, cut and swapped between inputs."""

from __future__ import annotations

from random import Random

SPECIAL = (b"\x00", b"\x7f", b"\x80", b"\xff", b"\xff" * 9 + b"\x01", b"*", b"1", b"\x12\x00", b"\x0a", b"\x3a\x00")
LONGEST = 4_096


def mutated(data: bytes, other: bytes, random: Random) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        at = random.randrange(len(out) + 1)
        size = random.choice((1, 2, 4, 16, 64))
        match random.randrange(7):
            case 0 if at < len(out):
                out[at] ^= 1 << random.randrange(8)
            case 1 if at < len(out):
                out[at] = random.randrange(256)
            case 2:
                out[at:at] = random.choice(SPECIAL)
            case 3:
                del out[at : at + size]
            case 4:
                out[at:at] = out[at : at + size] * random.choice((1, 1, 30))
            case 5:
                start = random.randrange(len(other) + 1)
                out[at : at + size] = other[start : start + size]
            case _:
                start = random.randrange(len(out) + 1)
                out[at : at + size] = out[start : start + size]
    return bytes(out[:LONGEST])

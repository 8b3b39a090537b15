"""The keys of session tickets: of one secret and the time, so that replicas agree without talking.

Time is cut into windows. A ticket is made with its window's key and taken in the next one too; the key of the window
to come is taken already, from replicas whose clock is ahead.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 80
SECRET_BYTES = 32
"""The least that a secret has."""


def ticket_keys(secret: bytes, now: float, window: float) -> list[bytes]:
    """The current key, the one before and the one to come. ``now`` is seconds since 1970, ``window`` seconds."""
    number = int(now // window)
    return [_key(secret, each, window) for each in (number, number - 1, number + 1)]


def until_next(now: float, window: float) -> float:
    """Seconds until the current key is another."""
    return window - now % window


def _key(secret: bytes, number: int, window: float) -> bytes:
    # The window's length is part of it: after that setting changed, no key comes twice for different times.
    info = b"pointsman session ticket key %d of %d" % (number, int(window))
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(secret)

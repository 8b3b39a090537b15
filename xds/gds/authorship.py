"""Who made a change of GDS and when, as far as GDS tells: read at the door, never more than a line of text. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec

LONGEST = 200
"""Characters of who it was; GDS is free to say more, and more isn't kept."""


class Authorship(msgspec.Struct, frozen=True):
    """``by``: in GDS's words, empty when it didn't say. ``at``: seconds since 1970, None when it didn't say."""

    by: str = ""
    at: float | None = None

    @property
    def known(self) -> bool:
        return bool(self.by) or self.at is not None


UNTOLD = Authorship()


def authorship(by: object, at: object) -> Authorship:
    """Of what GDS sent, whatever that is: what can't be read counts as not said, and what can't be shown is replaced.

    It is written by people for people: it must not be able to end the watch, nor to act on whoever looks at it.
    """
    made = Authorship(_line(by) if isinstance(by, str) else "", _seconds(at) if isinstance(at, str) else None)
    return made if made.known else UNTOLD


def _line(text: str) -> str:
    cut = text[: 2 * LONGEST].strip()[:LONGEST]
    return cut if cut.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in cut)


def _seconds(text: str) -> float | None:
    try:
        time = datetime.fromisoformat(text[:64])
        at = time.timestamp() if time.tzinfo is not None else -1.0
    except (ValueError, OverflowError):
        return None
    return at if at >= 0 else None

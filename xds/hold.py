"""A hold: something of GDS that isn't taken to the edge until somebody says so; and the file that remembers it."""

from __future__ import annotations

import msgspec

from xds.errors import StateError
from xds.guard import Reason
from xds.state.blocks import Chain, read

FILE = "hold"
_KIND = b"pointsman hold\n"


class Hold(msgspec.Struct, frozen=True):
    """``reason`` is for metrics, ``text`` for people. ``since``: seconds since 1970. ``epoch`` and ``revision``: of
    GDS, when it was held. ``refused``: how many domains were at stake when somebody refused it; None: nobody
    did. ``by``: who rolled back, or refused."""

    reason: Reason
    text: str
    since: float
    epoch: str
    revision: int
    refused: int | None = None
    by: str = ""

    @property
    def state(self) -> str:
        return "held" if self.refused is None else "refused"

    @property
    def rolled_back(self) -> bool:
        """An operator took the edge back. Else, of that reason, what was held before a restart can't be read."""
        return self.reason == "rollback" and bool(self.by)


def encode(hold: Hold) -> bytes:
    return _KIND + Chain.of(_KIND).block(msgspec.json.encode(hold))


def decode(data: bytes, now: float) -> Hold:
    """What can't be read was a hold all the same, and nothing goes out until somebody has looked at it."""
    try:
        return msgspec.json.decode(next(read(data, _KIND, Chain.of(_KIND)), b""), type=Hold)
    except (StateError, msgspec.MsgspecError) as error:
        text = f"something was held before the restart, and the file that says what is damaged: {error}"
        return Hold("rollback", text, now, "", 0)

"""One change of GDS and its publish: the values that `xds.receipts` keeps. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import Literal

from xds.delta import Key
from xds.gds.authorship import UNTOLD, Authorship

SHOWN = 20
"""Changes of a revision, and Envoys that NACKed a publish, that are remembered one by one."""
KEPT = 100
"""Records of a revision that aren't used that are remembered by name; further ones are counted."""

Event = Literal[
    "received", "held", "released", "published", "first_ack", "complete", "nack", "connected", "disconnected"
]
"""What is told as it happens."""
State = Literal["expected", "received", "held", "published", "complete", "set_aside", "rolled_back"]


@dataclass(frozen=True, slots=True)
class Move:
    """One change of a revision: a domain with its pod before and after, None for none; or a pod."""

    kind: Literal["domain", "pod"]
    name: str
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Nack:
    """What an Envoy rejected and why; ``number`` is the Envoy's in `Receipts.name_of`, ``who`` what it is known by when
    it comes back."""

    number: int
    type: str
    reason: str
    at: float
    who: Hashable


@dataclass(slots=True, eq=False)
class Publish:
    """``envoys``: those that were to have it; ``pending``: those that don't; ``missing``: how many of these left
    without it a moment ago; ``left``: those that went before they had it and aren't waited for any more. ``numbers``
    and ``seconds``: the Envoys that ACKed it, and how long after the publish."""

    mark: int
    at: float
    revision: int
    envoys: int
    pending: int
    missing: int = 0
    epoch: str = ""
    left: int = 0
    first_ack: float | None = None
    last_ack: float | None = None
    completed: float | None = None
    nacks: dict[int, Nack] = field(default_factory=dict)
    received: float | None = None
    """When the first change of GDS that it carries came; None when it carries none, or only such as was held."""
    snapshot: float | None = None
    """When the first snapshot that it carries came, but for such as was held."""
    numbers: array[int] = field(default_factory=lambda: array("L"))
    seconds: array[float] = field(default_factory=lambda: array("f"))
    doubtful: bool = False
    """Every Envoy has it, but a search for a record that one rejected isn't over: which of its records are used isn't
    known yet."""

    def note_nack(self, nack: Nack, mended: Callable[[Nack], bool]) -> None:
        """Of an Envoy only the last is kept; of more than SHOWN what is ``mended`` goes first."""
        again = next((number for number, one in self.nacks.items() if one.who == nack.who), None)
        if again is None and len(self.nacks) >= SHOWN:
            again = next((number for number, one in self.nacks.items() if mended(one)), None)
            if again is None:
                return
        if again is not None:
            del self.nacks[again]
        self.nacks[nack.number] = nack


@dataclass(slots=True, eq=False)
class Receipt:
    """``received`` and all times of its publish are of the clock that never goes back; ``wall`` is ``received`` in
    seconds since 1970. ``changes`` counts them all, ``first`` holds the first ones."""

    epoch: str
    revision: int
    kind: Literal["change", "snapshot"]
    changes: int
    first: tuple[Move, ...]
    received: float
    wall: float
    number: int = 0
    """Grows with every receipt."""
    held: bool = False
    was_held: bool = False
    undone: bool = False
    """The edge was taken back to a state before it."""
    publish: Publish | None = None
    author: Authorship = UNTOLD
    """Who made the change and when, if GDS says so; of a snapshot, which is many changes, nobody is told."""
    bad_before: Collection[Key] = ()
    """What was withheld when it came."""
    bad: dict[Key, str] = field(default_factory=dict)
    """Records of it that weren't used, with the reason: an Envoy rejected them, or they can't be used as they are."""
    more_bad: int = 0
    """Further ones, of which nobody knows any more which they are."""

    def note_bad(self, key: Key, reason: str) -> None:
        """A record of it isn't used."""
        if key in self.bad or len(self.bad) < KEPT:
            self.bad[key] = reason
        else:
            self.more_bad += 1


@dataclass(frozen=True, slots=True)
class Standing:
    """How a revision stands now. ``receipt`` is None when none is remembered; ``publish`` is then that of the next
    revision that is."""

    state: State
    receipt: Receipt | None
    publish: Publish | None
    joining: int

    @property
    def complete(self) -> bool:
        return self.state == "complete"

    @property
    def final(self) -> bool:
        """It won't become another one by waiting alone."""
        return self.state in ("complete", "set_aside", "rolled_back")

"""How the memory on disk and the hold stand: what health, metrics and the API show of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from xds.hold import Hold
from xds.state.keeper import Writes


@dataclass(frozen=True, slots=True)
class Kept:
    """``age``: seconds since GDS was last heard before the start, as the disk says; None when it doesn't. ``disk``:
    what is served came from disk, and GDS hasn't answered since the start. ``defers``: Envoys may hold newer than that
    (`xds.gate`)."""

    age: float | None = None
    disk: bool = False
    defers: bool = False
    hold: Hold | None = None
    writes: Writes = field(default_factory=Writes)

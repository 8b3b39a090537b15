"""What the HTTP side may see of the control plane: reading only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from xds.audit import Audit
from xds.cache import Cache
from xds.directory import Directory
from xds.edge_tls import EdgeTls
from xds.gds.entry import Asks
from xds.gds.mirror import MirrorStatus
from xds.kept import Kept
from xds.lookup.learner import Learner
from xds.measures import Measures
from xds.protocol.stream import Stream
from xds.resources.routes import RouteTables
from xds.server.refusals import Kind
from xds.server.streams import NodeState
from xds.tracker import Tracker
from xds.unknown_hosts import UnknownHosts


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened since the start. ``changes`` are those of domains and pods; ``refused`` is by kind, at the xDS
    port; ``searches`` are those for a record that an Envoy rejected."""

    publishes: int
    changes: int
    searches: int
    handshakes: int
    refused: Mapping[Kind, int]
    searching: bool = False
    """Such a search is under way."""
    splitting: bool = False
    """Pairs of characters are being split or joined, in steps; ``split_lacking``: Envoys that the step waits for."""
    split_lacking: int = 0
    splits_untaken: int = 0
    """Steps that went on though an Envoy hadn't taken the one before."""


@dataclass(frozen=True, slots=True)
class View:
    """What is read is as it stands at that moment."""

    directory: Directory
    mirror: MirrorStatus
    tables: RouteTables
    nodes: Callable[[], list[NodeState]]
    counts: Callable[[], Counts]
    tls: EdgeTls | None = None
    unknown_hosts: UnknownHosts | None = None
    kept: Callable[[], Kept] = Kept
    measures: Measures = field(default_factory=Measures)
    lookup: Learner | None = None
    asks_gds: Asks | None = None
    """Asks GDS for what it says of one host; None where that names pods alone."""
    stale_after: float | None = None
    """Seconds of GDS's silence after which it isn't ready any more; None for never."""
    clock: Callable[[], float] = time.monotonic
    tracker: Tracker = field(kw_only=True)
    streams: Callable[[], list[Stream]] = field(default=list, kw_only=True)
    """The open ones, but for those of names on demand."""
    nodes_of: Callable[[Iterable[Stream]], list[NodeState]] = field(default=lambda streams: [], kw_only=True)
    """Of ``nodes`` those of these streams."""
    nodes_after: Callable[[int, int], list[NodeState]] = field(default=lambda number, most: [], kw_only=True)
    """Of ``nodes`` those that came after that number, in their order, and at most so many."""
    streams_after: Callable[[int, int], list[tuple[int, Stream]]] = field(default=lambda number, most: [], kw_only=True)
    """The streams of ``nodes_after``, each with its number."""
    cache: Cache = field(default_factory=Cache, kw_only=True)
    started_at: float = field(default=0.0, kw_only=True)
    """Seconds since 1970."""
    ending: Callable[[], bool] = field(default=lambda: False, kw_only=True)
    """It was told to end."""
    own_certificates: Callable[[], Mapping[str, float]] = field(default=dict, kw_only=True)
    """When each ends that the control plane itself shows or trusts: by its setting, seconds since 1970."""
    audit: Audit = field(default_factory=Audit, kw_only=True)
    mode: str = field(default="watch", kw_only=True)
    """How domains are known: "watch" or "lookup"."""

    @property
    def unready(self) -> str:
        """Why Envoys aren't answered, or shouldn't be; empty when all is well."""
        hold = self.kept().hold
        if self.ending():
            return "it is about to end, and sends its Envoys to other control planes"
        if not self.directory.complete:
            return hold.text if hold else "no whole snapshot of GDS has been read yet"
        return "GDS isn't heard for longer than gds.stale_after" if self.stale else ""

    @property
    def silent(self) -> float | None:
        """Seconds since GDS was last heard, before the start perhaps: how stale the directory may be. None if never."""
        heard = self.mirror.heard_at
        return self.kept().age if heard is None else max(0.0, self.clock() - heard)

    @property
    def waited(self) -> float:
        """Seconds since the oldest revision came that isn't published; 0 when there is none."""
        since = self.tracker.receipts.waiting_since
        return 0.0 if since is None else max(0.0, self.clock() - since)

    @property
    def spared(self) -> int:
        """Envoys that came back with other than the disk says, and keep it until GDS answers."""
        return sum(stream.spared > 0 for stream in self.streams()) if self.kept().defers else 0

    @property
    def stale(self) -> bool:
        return self.stale_after is not None and self.silent is not None and self.silent > self.stale_after

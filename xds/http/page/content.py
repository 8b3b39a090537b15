"""What the status page shows, as values: bounded, whatever the number of domains and Envoys. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

Tone = Literal["good", "warn", "bad", "idle"]
"""How a thing stands. It is always shown by a word and a shape, too, never by its colour alone."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Listing(Generic[Row]):
    """Some of ``total`` rows; ``next`` is the cursor of those that follow, empty when there are none."""

    rows: Sequence[Row] = ()
    total: int = 0
    next: str = ""


@dataclass(frozen=True, slots=True)
class Station:
    """A place that revisions pass on their way from GDS to the Envoys. ``value`` is large, ``note`` small beneath."""

    name: str
    value: str
    note: str
    tone: Tone
    cut: bool = False
    """Nothing passes between the station before and this one."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that somebody should look at; ``anchor`` is the id of the section that says more."""

    tone: Tone
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class HeldDomain:
    """``edge`` and ``gds``: its pod as each says; None: it has none."""

    domain: str
    edge: str | None
    gds: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """A held change, or a rollback. ``effects`` is what a release would do: None while GDS hasn't answered, empty when
    GDS says what the edge has. ``since``: seconds since 1970. ``refusable``: it may be refused."""

    state: str
    reason: str
    text: str
    since: float
    by: str
    revision: int
    gds_revision: int | None
    effects: Sequence[tuple[str, int]] | None = None
    examples: Sequence[HeldDomain] = ()
    rolled_back: bool = False
    refusable: bool = False


@dataclass(frozen=True, slots=True)
class PodRow:
    name: str
    datacenter: str
    domains: int
    endpoints: int


@dataclass(frozen=True, slots=True)
class EnvoyRow:
    """One stream. ``behind``: types with a response that isn't ACKed yet; ``rejected``: the types NACKed last.
    ``version`` is what it says of itself; ``days`` until its client certificate ends, None without one."""

    node: str
    peer: str
    cluster: str
    variant: str
    connected: float
    tone: Tone
    state: str
    behind: Sequence[str] = ()
    rejected: Sequence[str] = ()
    version: str = ""
    days: float | None = None
    ends: Tone = "good"


@dataclass(frozen=True, slots=True)
class Envoys:
    connected: int = 0
    current: int = 0
    """Those that have ACKed everything that is published."""
    rejecting: int = 0
    listing: Listing[EnvoyRow] = field(default_factory=Listing)
    """Those that aren't current first."""


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A revision on its way. ``number``: of its receipt; revisions begin again when GDS is replaced. ``at``: seconds
    since 1970, when it was received; ``seconds``: until the last Envoy had ACKed it, None while some haven't."""

    number: int
    revision: int
    at: float
    text: str
    state: str
    tone: Tone
    acked: int | None = None
    envoys: int | None = None
    seconds: float | None = None
    by: str = ""
    """Who made it, if GDS says so."""


@dataclass(frozen=True, slots=True)
class AckRow:
    """``seconds`` after the publish this Envoy had it."""

    node: str
    seconds: float


@dataclass(frozen=True, slots=True)
class NackRow:
    at: float | None
    node: str
    kind: str
    names: Sequence[str]
    reason: str
    current: bool
    """The Envoy hasn't ACKed a later one of that type."""


@dataclass(frozen=True, slots=True)
class CertificateRow:
    name: str
    hosts: Sequence[str]
    more_hosts: int
    not_after: float
    days: float
    tone: Tone


@dataclass(frozen=True, slots=True)
class OwnRow:
    """A certificate that the control plane itself shows, or a CA that it trusts, by its setting."""

    setting: str
    not_after: float
    days: float
    tone: Tone


@dataclass(frozen=True, slots=True)
class UnusedRow:
    """A certificate that can't be used as it is now; ``in_use``: an older one of that name is."""

    name: str
    reason: str
    in_use: bool


@dataclass(frozen=True, slots=True)
class DomainRow:
    domain: str
    pod: str
    revision: int


@dataclass(frozen=True, slots=True)
class AsideRow:
    kind: str
    name: str
    reason: str
    revision: int | None


@dataclass(frozen=True, slots=True)
class UnknownRow:
    host: str
    count: int
    error: int


@dataclass(frozen=True, slots=True)
class ActRow:
    """An order, and what came of it. ``who`` is empty of one who was denied."""

    at: float
    order: str
    outcome: str
    tone: Tone
    who: str
    address: str
    reason: str
    revision: int | None


@dataclass(frozen=True, slots=True)
class Point:
    """A stretch of time: how long after a change was published Envoys had it, in seconds; ``count`` of their ACKs."""

    at: float
    median: float
    p99: float
    slowest: float
    count: int


@dataclass(frozen=True, slots=True)
class OneChange:
    """A change's own page. ``moves``: the first of what it changed, and ``more_moves`` others; ``lacking`` and
    ``missing``: Envoys that are connected without it, and that left without it; ``refused``: records that aren't used,
    and ``more_refused`` others. ``acks``: who has it, in the order of their ACKs."""

    row: ChangeRow
    facts: Sequence[tuple[str, str]] = ()
    moves: Sequence[str] = ()
    more_moves: int = 0
    lacking: Sequence[str] = ()
    missing: Sequence[str] = ()
    nacks: Sequence[NackRow] = ()
    refused: Sequence[AsideRow] = ()
    more_refused: int = 0
    acks: Listing[AckRow] = field(default_factory=Listing)


@dataclass(frozen=True, slots=True)
class Convergence:
    """``span`` seconds until ``now``: as a whole, None when nothing was ACKed, and those stretches in which something
    was, the oldest first."""

    now: float
    span: float
    whole: Point | None = None
    points: Sequence[Point] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """The whole first page. ``now`` is seconds since 1970."""

    now: float
    version: str
    tone: Tone
    verdict: str
    """One sentence that changes only when the state does: it is read aloud."""
    stations: Sequence[Station]
    alarms: Sequence[Alarm] = ()
    held: Held | None = None
    convergence: Convergence | None = None
    changes: Sequence[ChangeRow] = ()
    nacks: Listing[NackRow] = field(default_factory=Listing)
    pods: Listing[PodRow] = field(default_factory=Listing)
    envoys: Envoys = field(default_factory=Envoys)
    certificates: Listing[CertificateRow] | None = None
    own: Sequence[OwnRow] = ()
    """Those that end first come first."""
    unused: Listing[UnusedRow] = field(default_factory=Listing)
    missing: int = 0
    """Certificates that are gone from the folder, and kept."""
    folder_trouble: str = ""
    """Why the folder of certificates can't be read."""
    aside: Listing[AsideRow] = field(default_factory=Listing)
    unknown: Listing[UnknownRow] | None = None
    """None where they aren't counted."""
    unknown_requests: int = 0
    figures: Sequence[tuple[str, str]] = ()
    """What else the API's status says: label and value."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain that leads a request to its pod. ``facts`` are label and value."""

    name: str
    value: str
    tone: Tone
    note: str = ""
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class CopyRow:
    """What one Envoy has of a host's chain. ``live``: what its admin says it does by now, empty where that isn't
    read."""

    node: str
    tone: Tone
    state: str
    live: str
    connected: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a host goes, link by link, and how many Envoys have it so. ``notes``: what stands in the way."""

    host: str
    tone: Tone
    answer: str
    notes: Sequence[str] = ()
    links: Sequence[Link] = ()
    copies: Listing[CopyRow] = field(default_factory=Listing)
    copies_text: str = ""

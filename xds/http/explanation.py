"""What an explanation holds: the links of the chain from a host to its pod, and what each Envoy has of them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from xds.http.directory import Endpoint
from xds.http.live import LiveState, Probe


class Record(BaseModel):
    """What GDS says. ``domain``: the entry that covers the host, itself or a wildcard; ``revision``: at which it last
    changed, that of the first snapshot if it hasn't since. ``received_at`` and ``previous_pod`` are known of a revision
    that is remembered (`/api/v1/revisions`); else null.

    ``by`` and ``committed_at``: who made it so, and when (seconds since 1970); null when nobody knows. ``source``: GDS
    says so itself by now, or its change did when it came; null when neither does, and ``unknown_because`` why."""

    domain: str
    pod: str
    revision: int
    received_at: float | None
    previous_pod: str | None
    by: str | None
    committed_at: float | None
    source: Literal["gds", "change"] | None
    unknown_because: str | None


class Asked(BaseModel):
    """What GDS said when it was asked for the host now, within two seconds. ``state``:

    - ``told``: this entry, with who or when. ``untold``: it answers, but knows neither, or isn't made to tell it.
    - ``unknown``: it doesn't know the host.
    - ``away``: it can't be asked now. ``unreadable``: it answers what isn't the contract's.
    - ``not_asked``: it names pods alone (setting gds.mode).

    ``text``: that in words; what it said as far as it did."""

    state: Literal["told", "untold", "unknown", "away", "unreadable", "not_asked"]
    text: str
    domain: str | None = None
    pod: str | None = None
    revision: int | None = None
    by: str | None = None
    committed_at: float | None = None


class Age(BaseModel):
    """``seconds``: for so long this version has been published. ``since_start``: it was when this control plane began
    to serve, so that it may be older; how much isn't known."""

    seconds: float
    since_start: bool


class Scope(BaseModel):
    """``key``: what Envoy looks up, the host's first two characters, in lower case; ``name``: of its scope; ``table``:
    where that leads. ``split``: so many hosts begin so that a hash of the whole name chooses the table. ``version``:
    that is published, and ``age`` since when; null when none is."""

    key: str
    name: str
    table: str
    split: bool
    version: str | None
    age: Age | None


class EndpointShown(Endpoint):
    health: Literal["healthy", "unhealthy", "unknown"]


class Cluster(BaseModel):
    """``version``: that is published, and ``age`` since when; null when none is: of the cluster, and of its endpoints,
    which are a resource of their own. ``health`` of an endpoint is what the Envoys say whose admin could be read;
    "unknown" else."""

    name: str
    version: str | None
    age: Age | None
    endpoints_version: str | None
    endpoints_age: Age | None
    datacenter: str
    max_connections: int
    endpoints: list[EndpointShown]


class Certificate(BaseModel):
    """What a client is shown that names the host (SNI). ``on_demand``: each Envoy asks for it when it is first named.
    ``covers``: it is for that host. ``age``: since when this control plane has had it as the one to be shown, by its
    leaf: not since it was issued, which ``not_before`` says as a rule. ``since_start`` of it: it was found when the
    folder was first read."""

    name: str | None
    covers: bool
    on_demand: bool
    age: Age | None
    not_before: str | None
    not_after: str | None
    days: float | None
    note: str


class Copy(BaseModel):
    """One resource at one Envoy, by version. ``wanted``: that is published. ``sent`` last, ``acked`` last; null for
    none. ``in_flight``: it isn't answered yet. ``error``: why it was rejected."""

    type: str
    name: str
    wanted: str | None
    sent: str | None
    acked: str | None
    in_flight: bool
    rejected: str | None
    error: str | None


class Envoy(BaseModel):
    """``has_it``: it ACKed every resource of the chain as it is published, and the service's certificate where that is
    the one to be shown and this stream carries it. ``connected_seconds``: since it came.
    ``live``: what its admin says it routes by now; null unless setting http.envoy_admins names it."""

    node: str
    has_it: bool
    connected_seconds: float
    resources: list[Copy]
    live: LiveState | None


class Envoys(BaseModel):
    """Of those ``connected``: ``have_it`` ACKed every resource of the chain as it is published, ``rejecting`` rejected
    one of them. ``shown``: as many as were asked for, those that lack something first; all of them, however many,
    are in pages at `/domains/{host}/explain/envoys`."""

    connected: int
    have_it: int
    rejecting: int
    shown: list[Envoy]


class Explanation(BaseModel):
    """``routed``: the edge sends the host to ``record.pod``; else ``answer`` says what a client gets. ``notes``: what
    stands in the way, or is about to change it, in words. ``gds``: what GDS itself says now. ``scope``, ``table`` and
    ``virtual_host`` are how Envoy gets from the host to the cluster; the virtual host is the pod's share of the table
    with all its domains there, and its ``route`` is a part of it. ``envoys``: null with ``envoys=0``. ``probe``:
    what the edge answered, with ``probe=true``."""

    host: str
    epoch: str
    revision: int
    published: int
    routed: bool
    answer: str
    notes: list[str]
    record: Record | None
    gds: Asked
    scope: Scope
    table: str
    table_version: str | None
    table_age: Age | None
    virtual_host: str | None
    virtual_host_version: str | None
    virtual_host_age: Age | None
    route: str | None
    cluster: Cluster | None
    certificate: Certificate | None
    envoys: Envoys | None
    probe: Probe | None

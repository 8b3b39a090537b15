"""All at a glance, for a status page and for `pointsman status`."""

from __future__ import annotations

import time

from fastapi import APIRouter
from pydantic import BaseModel

from xds import __version__
from xds.certificates.checks import shown
from xds.http.lookup import LookupState, lookup_state
from xds.http.page.facts import facts_of
from xds.http.page.verdict import judged
from xds.http.problems import problems
from xds.http.revisions import Lately, lately
from xds.http.view import View

_DAY = 86_400.0


class GdsShown(BaseModel):
    """``lag_revisions``: how far what is published is behind what GDS spoke of. ``lag_seconds``: for how long the
    oldest revision that is received and not published waits; 0 when none does. ``silent_seconds``: since GDS was last
    heard; null if never."""

    state: str
    revision: int
    lag_revisions: int
    lag_seconds: float
    silent_seconds: float | None
    error: str
    reconnects: int
    snapshots: int


class HoldShown(BaseModel):
    """``state``: "none", "held" or "refused"; `/api/v1/hold` has the rest."""

    state: str
    reason: str
    text: str
    since: float | None


class NodesShown(BaseModel):
    """Of those ``connected``: ``converged`` have everything of the directory, ``behind`` lack something, ``nacking``
    reject something (and are behind if it is of the directory), ``late`` lack what was published more than 5 s ago and
    don't reject it, ``spared`` came back with other than the disk says and
    keep it until GDS answers (and are behind)."""

    connected: int
    converged: int
    behind: int
    nacking: int
    late: int
    spared: int


class SoonestShown(BaseModel):
    """``days`` until it expires; ``not_after`` is ISO 8601 in UTC."""

    name: str
    not_after: str
    days: float


class OwnShown(BaseModel):
    """A certificate that the control plane itself shows, or a CA that it trusts, by the setting that names its file."""

    setting: str
    not_after: str
    days: float


class CertificatesShown(BaseModel):
    """``complete``: all of the folder was read."""

    total: int
    complete: bool
    soonest: SoonestShown | None
    set_aside: int


class XdsShown(BaseModel):
    """Since the start. ``publishes`` and ``changes`` are the directory's; ``refused`` is of the xDS port.
    ``searching``: one of the ``searches`` for a record that an Envoy rejects is under way. ``split_pairs``: pairs of
    first characters that so many hosts share that they are spread over all tables; ``splitting``: some are being split
    or joined, in steps, of which the next comes when no Envoy lacks the one before (``split_lacking`` do), or after 15
    seconds (``splits_untaken`` times)."""

    publishes: int
    changes: int
    searches: int
    handshakes: int
    refused: int
    searching: bool
    split_pairs: int
    splitting: bool
    split_lacking: int
    splits_untaken: int


class AlarmShown(BaseModel):
    """``tone``: "bad" or "warn"."""

    tone: str
    text: str


class Status(BaseModel):
    """``verdict``: how everything stands, in a sentence, what is wrong first; ``tone``: "good", "idle" without an
    Envoy, "warn" or "bad"; ``alarms``: all that somebody should look at, the worst first. So the status page says it,
    too. ``revision``: of GDS, held; ``published``: the newest of which everything is published. Times are seconds since
    1970. ``from_disk``: what is served came from disk, and GDS hasn't answered since the start. ``state_error``,
    ``audit_error``: why the state folder, or the audit log, can't be written; empty when they can."""

    version: str
    tone: str
    verdict: str
    alarms: list[AlarmShown]
    ready: bool
    unready: str
    stale: bool
    mode: str
    started_at: float
    now: float
    epoch: str
    revision: int
    published: int
    domains: int
    pods: int
    set_aside: int
    from_disk: bool
    state_error: str
    audit_error: str
    gds: GdsShown
    hold: HoldShown
    nodes: NodesShown
    certificates: CertificatesShown | None
    own_certificates: list[OwnShown]
    """Those that end first come first."""
    convergence: Lately
    xds: XdsShown
    lookup: LookupState | None
    """Where GDS is asked for one host at a time."""


def status_api(view: View) -> APIRouter:
    api = APIRouter(prefix="/api/v1", tags=["status"])

    @api.get("/status", responses=problems())
    async def status() -> Status:
        """How everything stands now; ``convergence`` is of the last five minutes."""
        return status_of(view)

    return api


def status_of(view: View) -> Status:
    directory, kept, counts = view.directory, view.kept(), view.counts()
    unready = view.unready
    hold = kept.hold
    tone, verdict, alarms = judged(facts_of(view))
    return Status(
        version=__version__,
        tone=tone,
        verdict=verdict,
        alarms=[AlarmShown(tone=one.tone, text=one.text) for one in alarms],
        ready=not unready,
        unready=unready,
        stale=view.stale,
        mode=view.mode,
        started_at=view.started_at,
        now=round(time.time(), 3),
        epoch=directory.epoch,
        revision=directory.revision,
        published=view.tracker.receipts.revision,
        domains=len(directory.domains),
        pods=len(directory.pods),
        set_aside=directory.set_aside_total,
        from_disk=kept.disk,
        state_error=kept.writes.error,
        audit_error=view.audit.trouble,
        gds=gds_of(view),
        hold=HoldShown(
            state=hold.state if hold else "none",
            reason=hold.reason if hold else "",
            text=hold.text if hold else "",
            since=hold.since if hold else None,
        ),
        nodes=_nodes(view),
        certificates=_certificates(view),
        own_certificates=_own(view),
        convergence=lately(view),
        xds=XdsShown(
            publishes=counts.publishes,
            changes=counts.changes,
            searches=counts.searches,
            handshakes=counts.handshakes,
            refused=sum(counts.refused.values()),
            searching=counts.searching,
            split_pairs=view.tables.split_pairs,
            splitting=counts.splitting,
            split_lacking=counts.split_lacking,
            splits_untaken=counts.splits_untaken,
        ),
        lookup=lookup_state(view.lookup) if view.lookup else None,
    )


def gds_of(view: View) -> GdsShown:
    mirror, silent = view.mirror, view.silent
    published = view.tracker.receipts.revision
    return GdsShown(
        state=mirror.state,
        revision=mirror.gds_revision,
        lag_revisions=max(0, mirror.gds_revision - published),
        lag_seconds=round(view.waited, 3),
        silent_seconds=None if silent is None else round(silent, 3),
        error=mirror.last_error,
        reconnects=mirror.reconnects,
        snapshots=mirror.snapshots,
    )


def _nodes(view: View) -> NodesShown:
    newest = view.cache.publishes
    streams = [stream for stream in view.streams() if stream.node is not None]
    converged = sum(stream.reached >= newest for stream in streams)
    nacking = sum(stream.rejecting is not None for stream in streams)
    return NodesShown(
        connected=len(streams),
        converged=converged,
        behind=len(streams) - converged,
        nacking=nacking,
        late=len(view.tracker.late),
        spared=view.spared,
    )


def _own(view: View) -> list[OwnShown]:
    ends = sorted(view.own_certificates().items(), key=lambda one: one[1])
    return [
        OwnShown(setting=setting, not_after=shown(at), days=round((at - time.time()) / _DAY, 2)) for setting, at in ends
    ]


def _certificates(view: View) -> CertificatesShown | None:
    if view.tls is None:
        return None
    index = view.tls.index
    soonest = None
    for entry in index.soonest(1):
        after = entry.facts.not_after
        soonest = SoonestShown(
            name=entry.place.name, not_after=shown(after), days=round((after - time.time()) / _DAY, 2)
        )
    return CertificatesShown(total=len(index), complete=index.complete, soonest=soonest, set_aside=len(index.aside))

"""Receipts in the API: for each change of GDS when it came, when it was published, and which Envoys have it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from xds.convergence import Quantiles
from xds.errors import WaitError
from xds.http.paging import REVISIONS, Cursor, Limit, Page, number_of
from xds.http.problems import problems
from xds.http.view import View
from xds.receipt import Publish, Receipt, Standing, State

LONGEST = 60.0
"""Seconds that a caller may wait."""
LEAST = 1
"""Envoys that must have a change, unless the caller says another number: one that is at no Envoy is at no edge."""
FLEET = 1_000_000
"""More Envoys than one control plane has."""

Number = Annotated[int, Path(ge=0, le=REVISIONS, description="a revision of GDS")]


class Change(BaseModel):
    """A domain with its pod before and after, null for none; or a pod, with its own name."""

    model_config = ConfigDict(populate_by_name=True)
    kind: Literal["domain", "pod"]
    name: str
    before: Annotated[str | None, Field(alias="from")]
    after: Annotated[str | None, Field(alias="to")]


class Nacked(BaseModel):
    """The last that an Envoy rejected of it; ``at``: when, in seconds since 1970. ``mended``: it has all of it since,
    or is gone for good."""

    node: str
    type: str
    reason: str
    at: float
    mended: bool


class Refused(BaseModel):
    """A record that isn't used now: an Envoy rejected it, or it is set aside (`/api/v1/set-aside`)."""

    kind: str
    name: str
    reason: str


class Envoys(BaseModel):
    """``total``: that were to have it; ``acked`` and ``pending`` add up to them, with those that ``left`` before and
    aren't waited for any more. ``missing``: those of ``pending`` that left without it not long ago and may serve by
    what was before (setting http.receipt_grace). ``nacked``: how many rejected something of it, mended or not; counted
    up to 20. ``joining``: that came and haven't said yet what they have. ``have``: that are connected now and have
    it."""

    total: int
    acked: int
    pending: int
    missing: int
    left: int
    nacked: int
    joining: int
    have: int


class Seconds(BaseModel):
    """From one to the next; null for what hasn't happened. ACKs count from the publish."""

    received_to_published: float | None
    published_to_first_ack: float | None
    published_to_last_ack: float | None


class RevisionShown(BaseModel):
    """The receipt. ``complete``: everything of it is at every Envoy, and at as many as are demanded, by default one.
    ``state``:

    - ``expected``: GDS hasn't spoken of it yet.
    - ``received``: it isn't published yet. ``held``: it is held back from the edge, see `/api/v1/hold`.
    - ``published``: some Envoys lack it, left without it, or have just come and haven't said yet; or fewer have it
      than are demanded. ``complete``: all have it.
    - ``set_aside``: all have what can be used of it; ``refused`` names records that aren't used, and why, at most 20,
      ``refused_more``: how many more there may be. Of those beyond 100 nobody knows which are used by now: then it is
      complete only when nothing of GDS is set aside any more.
    - ``rolled_back``: the edge was taken back to a state before it, or GDS was replaced.

    ``lacking``: at most 20 of the Envoys that are connected without it; ``missing``: at most 20 of those that left
    without it. ``known``: the receipt is remembered. Else, of a
    revision before those, only ``state`` is known; ``set_aside`` is then also one that may have such a record. Times
    are seconds since 1970. ``by`` and ``committed_at``: who made the change at GDS, and when; null when GDS doesn't say
    so, and of a snapshot, which is many changes.
    """

    revision: int
    epoch: str
    state: State
    complete: bool
    known: bool
    kind: Literal["change", "snapshot"] | None
    received_at: float | None
    published_at: float | None
    completed_at: float | None
    by: str | None
    committed_at: float | None
    changes: int | None
    first_changes: list[Change]
    envoys: Envoys | None
    lacking: list[str]
    missing: list[str]
    nacks: list[Nacked]
    refused: list[Refused]
    refused_more: int
    seconds: Seconds | None


class Step(BaseModel):
    """``seconds`` after the publish this Envoy had it."""

    node: str
    seconds: float


class Trace(BaseModel):
    """``acks``: a page of the Envoys that ACKed it, in that order; ``total``: of how many; ``next``: the cursor of
    those that follow, null when there are none. ``nacks``: of at most 20 Envoys. ``by`` and ``committed_at``: who made
    it at GDS, and when (seconds since 1970), if GDS says so."""

    revision: int
    epoch: str
    received_at: float
    published_at: float | None
    completed_at: float | None
    by: str | None
    committed_at: float | None
    acks: list[Step]
    next: str | None
    total: int
    nacks: list[Nacked]


class Point(BaseModel):
    """Ten seconds from ``at`` on, in seconds since 1970; the rest as `Lately`."""

    at: float
    count: int
    p50: float
    p99: float
    max: float


class Lately(BaseModel):
    """Seconds from a publish to an Envoy's ACK; ``count`` of them. ``p50`` and ``p99`` are at most 5 % too high."""

    count: int
    p50: float
    p99: float
    max: float


class Convergence(BaseModel):
    """Of the last half hour; a point in which nothing was ACKed isn't there."""

    step_seconds: float
    points: list[Point]


def revisions_api(view: View) -> APIRouter:
    api = APIRouter(prefix="/api/v1", tags=["revisions"])
    receipts = view.tracker.receipts

    @api.get("/revisions", responses=problems(400))
    async def revisions(limit: Limit = 100, cursor: Cursor = "") -> Page[RevisionShown]:
        """The receipts that are remembered, the newest first."""
        found: list[Receipt] = []
        more = None
        joining = receipts.joining
        for receipt in receipts.newest_first(number_of(cursor)):
            if len(found) == limit:
                more = str(found[-1].number)
                break
            found.append(receipt)
        items = [receipt_shown(view, receipt, joining) for receipt in found]
        return Page[RevisionShown](items=items, next=more, total=len(receipts))

    @api.get("/revisions/{revision}", responses=problems(409, 503))
    async def revision(
        revision: Number,
        wait: Annotated[
            float, Query(ge=0, le=LONGEST, description="seconds to wait until it is complete, or won't be by waiting")
        ] = 0.0,
        epoch: Annotated[str, Query(max_length=200, description="GDS's, when it must be this one")] = "",
        envoys: Annotated[int, Query(ge=0, le=FLEET, description="that must be connected with it, at least")] = LEAST,
    ) -> RevisionShown:
        """The receipt of a revision of GDS. With ``wait`` the answer comes as soon as every Envoy has it, and at least
        ``envoys`` do, or after so many seconds. Either way the status is 200 and ``complete`` says which: a script asks
        for that alone."""
        if epoch and view.directory.complete and epoch != view.directory.epoch:
            raise HTTPException(409, f"GDS's epoch is {view.directory.epoch!r}, not {epoch!r}: it was replaced")
        try:
            standing = await view.tracker.wait(revision, wait, envoys)
        except WaitError as error:
            raise HTTPException(503, str(error), {"retry-after": "1"}) from None
        return _shown(view, revision, standing)

    @api.get("/revisions/{revision}/trace", responses=problems(404))
    async def trace(revision: Number, limit: Limit = 1_000, cursor: Cursor = "") -> Trace:
        """When each Envoy had it. Those that come to have it meanwhile are on the last page."""
        receipt = receipts.standing(revision).receipt
        if receipt is None:
            raise HTTPException(404, f"there is no receipt of revision {revision}: it is too old, or hasn't come yet")
        publish = receipt.publish
        acks, more = acks_of(view, publish, number_of(cursor) or 0, limit)
        return Trace(
            revision=revision,
            epoch=receipt.epoch,
            received_at=receipt.wall,
            published_at=_wall(receipt, publish.at) if publish else None,
            completed_at=_wall(receipt, publish.completed) if publish else None,
            by=receipt.author.by or None,
            committed_at=receipt.author.at,
            acks=acks,
            next=more,
            total=len(publish.numbers) if publish else 0,
            nacks=_nacks(view, receipt, publish),
        )

    @api.get("/convergence", responses=problems())
    async def convergence() -> Convergence:
        """How long changes took to reach the Envoys, ten seconds by ten seconds."""
        now = view.clock()
        offset = view.tracker.wall() - now
        points = [
            Point(at=round(point.at + offset, 3), **lately_of(point.quantiles).model_dump())
            for point in receipts.convergence.series(now)
        ]
        return Convergence(step_seconds=10.0, points=points)

    return api


def lately(view: View) -> Lately:
    """Of the last five minutes."""
    return lately_of(view.tracker.receipts.convergence.lately(view.clock(), 300.0))


def lately_of(quantiles: Quantiles) -> Lately:
    return Lately(
        count=quantiles.count,
        p50=round(quantiles.p50, 6),
        p99=round(quantiles.p99, 6),
        max=round(quantiles.max, 6),
    )


def receipt_shown(view: View, receipt: Receipt, joining: int) -> RevisionShown:
    state = view.tracker.receipts.state_of(receipt, joining, LEAST)
    return _shown(view, receipt.revision, Standing(state, receipt, receipt.publish, joining))


def _shown(view: View, revision: int, standing: Standing) -> RevisionShown:
    receipt, publish = standing.receipt, standing.publish
    refused, more = view.tracker.receipts.unused_of(receipt) if receipt else ([], 0)
    return RevisionShown(
        revision=revision,
        epoch=receipt.epoch if receipt else view.directory.epoch,
        state=standing.state,
        complete=standing.complete,
        known=receipt is not None,
        kind=receipt.kind if receipt else None,
        received_at=receipt.wall if receipt else None,
        published_at=_wall(receipt, publish.at) if receipt and publish else None,
        completed_at=_wall(receipt, publish.completed) if receipt and publish else None,
        by=(receipt.author.by or None) if receipt else None,
        committed_at=receipt.author.at if receipt else None,
        changes=receipt.changes if receipt else None,
        first_changes=[
            Change(kind=one.kind, name=one.name, before=one.before, after=one.after)
            for one in (receipt.first if receipt else ())
        ],
        envoys=_envoys(view, publish, standing.joining) if publish else None,
        lacking=view.tracker.receipts.lacking(publish),
        missing=view.tracker.receipts.missing(publish),
        nacks=_nacks(view, receipt, publish),
        refused=[Refused(kind=kind, name=name, reason=reason) for (kind, name), reason in refused],
        refused_more=more,
        seconds=_seconds(receipt, publish) if receipt and publish else None,
    )


def acks_of(view: View, publish: Publish | None, skip: int, limit: int) -> tuple[list[Step], str | None]:
    """At most ``limit`` of the Envoys that have it, in the order of their ACKs, and the cursor of those that follow."""
    if publish is None:
        return [], None
    name_of, part = view.tracker.receipts.name_of, slice(skip, skip + limit)
    steps = zip(publish.numbers[part], publish.seconds[part], strict=True)
    more = str(skip + limit) if skip + limit < len(publish.numbers) else None
    return [Step(node=name_of(number), seconds=round(took, 6)) for number, took in steps], more


def _envoys(view: View, publish: Publish, joining: int) -> Envoys:
    acked = publish.envoys - publish.pending - publish.left
    return Envoys(
        total=publish.envoys,
        acked=acked,
        pending=publish.pending,
        missing=publish.missing,
        left=publish.left,
        nacked=len(publish.nacks),
        joining=joining,
        have=view.tracker.receipts.have(publish),
    )


def _nacks(view: View, receipt: Receipt | None, publish: Publish | None) -> list[Nacked]:
    if publish is None:
        return []
    receipts = view.tracker.receipts
    offset = receipt.wall - receipt.received if receipt else view.tracker.wall() - view.clock()
    return [
        Nacked(
            node=receipts.name_of(nack.number),
            type=nack.type,
            reason=nack.reason,
            at=round(nack.at + offset, 6),
            mended=receipts.is_mended(publish, nack),
        )
        for nack in publish.nacks.values()
    ]


def _seconds(receipt: Receipt, publish: Publish) -> Seconds:
    def since(at: float | None, before: float) -> float | None:
        return None if at is None else round(max(0.0, at - before), 6)

    return Seconds(
        received_to_published=since(publish.at, receipt.received),
        published_to_first_ack=since(publish.first_ack, publish.at),
        published_to_last_ack=since(publish.last_ack, publish.at) if not publish.pending else None,
    )


def _wall(receipt: Receipt, at: float | None) -> float | None:
    return None if at is None else round(receipt.wall + max(0.0, at - receipt.received), 6)

"""What the pages show, gathered from what the API shows, too: nothing here asks for more than a page holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from itertools import islice
from typing import Any

from starlette.exceptions import HTTPException

from xds import __version__
from xds.http import explanation as api
from xds.http.page import rows
from xds.http.page.content import (
    AsideRow,
    CertificateRow,
    CopyRow,
    Envoys,
    Explanation,
    Held,
    HeldDomain,
    Listing,
    OneChange,
    Station,
    Status,
    Tone,
    UnknownRow,
    UnusedRow,
)
from xds.http.page.explained import copies, told
from xds.http.page.facts import facts_of
from xds.http.page.listings import PAGE, Listings, whole
from xds.http.page.receipted import one_change
from xds.http.page.rows import FEW
from xds.http.page.verdict import judged
from xds.http.page.words import duration, number, plural
from xds.http.paging import Page
from xds.http.status import GdsShown, gds_of
from xds.http.view import View
from xds.operator import Operator
from xds.tracker import LATE

NONE = "\u2013"
_EFFECTS = {
    "moved": "domains moved",
    "removed": "domains removed",
    "added": "domains added",
    "pods_removed": "pods removed",
    "pods_changed": "pods added or changed",
    "pods_emptied": "pods without endpoints",
    "pods_replaced": "pods with other endpoints",
}


class Gathered:
    """`xds.http.page.router.Facts`, of the running control plane. ``operator`` knows what is held; ``explain`` and
    ``envoys``, which lists them after a number, at most so many, raise HTTPException for what is no host."""

    def __init__(
        self,
        view: View,
        operator: Operator | None,
        explain: Callable[[str], Awaitable[api.Explanation]],
        envoys: Callable[[str, int, int], Awaitable[Page[api.Envoy]]],
    ) -> None:
        self._explain = explain
        self._every = envoys
        self._view = view
        self._operator = operator
        self._listings = Listings(view, operator)

    def happened(self) -> Hashable:
        view = self._view
        receipts = view.tracker.receipts
        latest, hold = receipts.latest, view.kept().hold
        return (
            view.cache.publishes,
            view.mirror.gds_revision,
            view.mirror.state,
            receipts.convergence.total,
            len(receipts.behind),
            receipts.envoys,
            latest and (latest.mark, latest.pending, len(latest.nacks)),
            hold and (hold.state, hold.since),
            self._knows_nobody,
            view.audit.trouble,
        )

    def status(self) -> Status:
        view = self._view
        now, receipts = view.tracker.wall(), view.tracker.receipts
        envoys, rejecting, behind = len(view.tracker.streams), view.tracker.rejecting, receipts.behind
        current = envoys - len({*rejecting, *behind})
        held = self._held()
        tone, verdict, alarms = judged(facts_of(view))
        return Status(
            now=now,
            version=__version__,
            tone=tone,
            verdict=verdict,
            alarms=alarms,
            stations=self._way(envoys, current, len(rejecting), held),
            held=held,
            convergence=rows.convergence(view),
            changes=[*rows.changes(receipts)],
            nacks=rows.nacks(view, rejecting),
            pods=rows.largest_pods(view),
            envoys=Envoys(envoys, current, len(rejecting), Listing(rows.envoys(view, rejecting, behind), envoys)),
            certificates=self._soonest(),
            own=rows.own_certificates(view.own_certificates(), now),
            unused=self._unused(),
            missing=len(view.tls.folder.missing) if view.tls else 0,
            folder_trouble=view.tls.folder.trouble if view.tls else "",
            aside=self._aside(),
            unknown=self._unknown(),
            unknown_requests=view.unknown_hosts.requests if view.unknown_hosts else 0,
            figures=[*rows.figures(view)],
        )

    async def listing(self, page: str, after: str) -> tuple[Listing[Any], str]:
        return await self._listings.page(page, after)

    async def explain(self, host: str) -> Explanation:
        try:
            return told(await self._explain(host))
        except HTTPException as error:
            return Explanation(host, "bad", error.detail)

    async def copies(self, host: str, after: str) -> Listing[CopyRow]:
        return copies(await self._every(host, whole(after) or 0, PAGE))

    def change(self, number: int, after: str) -> OneChange | None:
        return one_change(self._view, number, after)

    @property
    def _knows_nobody(self) -> bool:
        learner = self._view.lookup
        return learner is not None and learner.resolver.counted.only_no

    def _way(self, envoys: int, current: int, rejecting: int, held: Held | None) -> list[Station]:
        view = self._view
        directory, gds, from_disk = view.directory, gds_of(view), view.kept().disk
        published = view.tracker.receipts.revision
        on = f"{plural(len(directory.domains), 'domain')} on {plural(len(directory.pods), 'pod')}"
        is_held = held is not None and held.state == "held"
        what = "not read yet" if not directory.complete else f"from disk; {on}" if from_disk else on
        what = f"{'rolled back' if held and held.rolled_back else 'a change is held'}; {what}" if is_held else what
        waits = directory.revision != published
        behind = envoys - current - rejecting
        said = [f"{number(rejecting)} {'rejects' if rejecting == 1 else 'reject'} something"] * bool(rejecting)
        said += [f"{number(behind)} {'is' if behind == 1 else 'are'} behind"] * bool(behind)
        note = ", ".join(said) or ("have everything" if envoys else "none is connected")
        return [
            _gds(gds, lookup=view.mode == "lookup", stale=view.stale),
            Station(
                "Directory",
                number(directory.revision) if directory.complete else NONE,
                what,
                "idle" if not directory.complete else "warn" if is_held or from_disk else "good",
                cut=is_held or gds.state == "reconnecting",
            ),
            Station(
                "Published",
                number(published) if directory.complete else NONE,
                f"waits for {duration(gds.lag_seconds)}" if waits else plural(view.counts().publishes, "publish", "es"),
                "idle" if not directory.complete else "warn" if waits and gds.lag_seconds > LATE else "good",
            ),
            Station(
                "Envoys",
                number(envoys) if current == envoys else f"{number(current)} of {number(envoys)}",
                note,
                "bad" if rejecting else "idle" if not envoys or behind else "good",
            ),
        ]

    def _held(self) -> Held | None:
        told: dict[str, Any] = self._operator.hold() if self._operator else {"state": "none"}
        if told["state"] == "none":
            return None
        changes: dict[str, int] | None = told["changes"]
        back = told["reason"] == "rollback"
        return Held(
            told["state"],
            told["reason"],
            told["text"],
            told["since"],
            told["by"],
            told["held_at"]["revision"],
            told["gds"] and told["gds"]["revision"],
            None if changes is None else [(_EFFECTS[name], count) for name, count in changes.items() if count],
            [HeldDomain(one["domain"], one["edge"], one["gds"]) for one in told["examples"][:FEW]],
            rolled_back=back and bool(told["by"]),
            refusable=told["state"] == "held" and not back,
        )

    def _soonest(self) -> Listing[CertificateRow] | None:
        if self._view.tls is None:
            return None
        index, now = self._view.tls.index, self._view.tracker.wall()
        return Listing([rows.certificate(entry, now) for entry in index.soonest(FEW - 2)], len(index))

    def _aside(self) -> Listing[AsideRow]:
        directory = self._view.directory
        return Listing(rows.aside(islice(directory.set_aside.values(), FEW - 2)), directory.set_aside_total)

    def _unused(self) -> Listing[UnusedRow]:
        tls = self._view.tls
        if tls is None:
            return Listing()
        return Listing(rows.unused(tls, islice(tls.index.aside, FEW - 2)), len(tls.index.aside))

    def _unknown(self) -> Listing[UnknownRow] | None:
        counted = self._view.unknown_hosts
        return None if counted is None else Listing(rows.unknown(counted.top(FEW - 2)), len(counted))


def _gds(gds: GdsShown, *, lookup: bool, stale: bool) -> Station:
    heard = "never heard" if gds.silent_seconds is None else f"heard {duration(float(round(gds.silent_seconds)))} ago"
    if gds.state == "following":
        note = ("asked host by host; " if lookup else "followed; ") + (
            heard if gds.silent_seconds and gds.silent_seconds >= 1 else "heard just now"
        )
    else:
        note = f"{gds.state}; {heard}" + (f": {gds.error}" if gds.error else "")
    tone: Tone = "bad" if stale else "good" if gds.state == "following" else "warn"
    return Station("GDS", number(gds.revision) if gds.revision else NONE, note, tone)

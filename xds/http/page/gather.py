"""What the pages show, gathered from what the API shows, too: nothing here asks for more than a page holds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Any

from starlette.exceptions import HTTPException

from xds import __version__
from xds.http import explanation as api
from xds.http.page import rows
from xds.http.page.content import (
    CertificateRow,
    CopyRow,
    Envoys,
    Explanation,
    Held,
    HeldDomain,
    Listing,
    Station,
    Status,
    Tone,
)
from xds.http.page.explained import copies, told
from xds.http.page.rows import FEW
from xds.http.page.verdict import SOON, Facts, judged
from xds.http.page.words import duration, number, plural
from xds.http.paging import Page
from xds.http.status import GdsShown, gds_of
from xds.http.view import View
from xds.operator import Operator
from xds.protocol.stream import Stream
from xds.tracker import LATE

PAGE = 50
"""Rows of a list's page."""
NONE = "\u2013"
_FIRST_ENDING = 1_000
"""Certificates that can be paged through: those that end first."""
_EFFECTS = {
    "moved": "domains moved",
    "removed": "domains removed",
    "added": "domains added",
    "pods_removed": "pods removed",
    "pods_changed": "pods changed",
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
        self._listings: Mapping[str, Callable[[str], tuple[Listing[Any], str]]] = {
            "envoys": self._envoys,
            "pods": self._pods,
            "certificates": self._certificates,
            "set-aside": self._aside,
            "unknown-hosts": self._unknown,
        }

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
        )

    def status(self) -> Status:
        view = self._view
        now, receipts = view.tracker.wall(), view.tracker.receipts
        envoys, rejecting, behind = len(view.tracker.streams), view.tracker.rejecting, receipts.behind
        current = envoys - len({*rejecting, *behind})
        held = self._held()
        tone, verdict, alarms = judged(self._facts(envoys, len(rejecting), now))
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
            certificates=self._soonest(0, FEW - 2),
            aside=rows.aside(view, 0, FEW - 2),
            unknown=rows.unknown(view, 0, FEW - 2),
            unknown_requests=view.unknown_hosts.requests if view.unknown_hosts else 0,
        )

    def listing(self, page: str, after: str) -> tuple[Listing[Any], str]:
        return self._listings[page](after)

    async def explain(self, host: str) -> Explanation:
        try:
            return told(await self._explain(host))
        except HTTPException as error:
            return Explanation(host, "bad", error.detail)

    async def copies(self, host: str, after: str) -> Listing[CopyRow]:
        return copies(await self._every(host, _whole(after), PAGE))

    def _facts(self, envoys: int, rejecting: int, now: float) -> Facts:
        view = self._view
        kept, hold = view.kept(), view.kept().hold
        soonest = view.tls.index.soonest(1) if view.tls else []
        ends = (soonest[0].facts.not_after - now) / 86_400 if soonest else None
        ending = view.tls.index.expiring([now + SOON * 86_400])[0] if view.tls else 0
        return Facts(
            complete=view.directory.complete,
            why_not=view.unready,
            gds=view.mirror.state,
            silent=view.silent,
            stale=view.stale,
            envoys=envoys,
            rejecting=rejecting,
            slow=len(view.tracker.late),
            hold=hold.state if hold else "none",
            aside=view.directory.set_aside_total,
            ends=ends,
            ending=ending,
            state_error=kept.writes.error,
            knows_nobody=self._knows_nobody,
        )

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
        what = f"a change is held; {what}" if is_held else what
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
        changes = told["changes"] or {}
        return Held(
            told["state"],
            told["reason"],
            told["text"],
            told["since"],
            told["by"],
            told["held_at"]["revision"],
            told["gds"] and told["gds"]["revision"],
            [(_EFFECTS.get(name, name), count) for name, count in changes.items() if count],
            [HeldDomain(one["domain"], one["edge"], one["gds"]) for one in told["examples"][:FEW]],
        )

    def _soonest(self, first: int, most: int) -> Listing[CertificateRow] | None:
        if self._view.tls is None:
            return None
        index = self._view.tls.index
        now = time.time()
        found = index.soonest(min(first + most, _FIRST_ENDING))[first:]
        return Listing([rows.certificate(entry, now) for entry in found], len(index))

    def _envoys(self, after: str) -> tuple[Listing[Any], str]:
        view, number_after = self._view, _whole(after)
        behind: Collection[Hashable] = view.tracker.receipts.behind
        lacking = {stream.node.id for stream in behind if isinstance(stream, Stream) and stream.node}
        found = view.nodes_after(number_after, PAGE + 1)
        shown = [rows.envoy(state, lacks=state.node in lacking) for state in found[:PAGE]]
        total = len(view.tracker.streams)
        more = str(found[PAGE - 1].number) if len(found) > PAGE else ""
        return Listing(shown, total, more), f"{plural(total, 'stream')}, in the order in which they connected."

    def _pods(self, after: str) -> tuple[Listing[Any], str]:
        directory = self._view.directory
        names = sorted(name for name in directory.pods if name > after)
        shown = [rows.pod(self._view, directory.pods[name]) for name in names[:PAGE]]
        more = names[PAGE - 1] if len(names) > PAGE else ""
        domains, pods = plural(len(directory.domains), "domain"), plural(len(directory.pods), "pod")
        return Listing(shown, len(directory.pods), more), f"{domains} on {pods}, by name."

    def _certificates(self, after: str) -> tuple[Listing[Any], str]:
        first = _whole(after)
        found = self._soonest(first, PAGE)
        if found is None:
            return Listing(), "Envoys get no certificates from here."
        more = first + PAGE
        following = str(more) if more < min(found.total, _FIRST_ENDING) else ""
        return Listing(found.rows, found.total, following), "Those that end first come first."

    def _aside(self, after: str) -> tuple[Listing[Any], str]:
        first = _whole(after)
        found = rows.aside(self._view, first, PAGE)
        more = str(first + PAGE) if first + PAGE < len(self._view.directory.set_aside) else ""
        said = (
            f"{plural(found.total, 'record')} of GDS that can't be used. What was held under their names stays in use."
        )
        return Listing(found.rows, found.total, more), said

    def _unknown(self, after: str) -> tuple[Listing[Any], str]:
        first = _whole(after)
        found = rows.unknown(self._view, first, PAGE)
        if found is None:
            return Listing(), "They aren't counted: setting edge.unknown_host.count is off."
        more = str(first + PAGE) if first + PAGE < found.total else ""
        return Listing(found.rows, found.total, more), "Hosts that clients asked for and GDS doesn't know."


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


def _whole(after: str) -> int:
    """A cursor that is a number. Raises ValueError."""
    if after and not (after.isascii() and after.isdecimal() and len(after) < 10):
        raise ValueError(after)
    return int(after or 0)

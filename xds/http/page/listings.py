"""The page's lists, each in pages: a page goes on where the one before ended, whatever came or went meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from itertools import islice
from typing import Any

from xds.certificates.index import ending
from xds.http.differences import held_page
from xds.http.directory import asked_page, domains_page, set_aside_page
from xds.http.page import rows
from xds.http.page.content import DomainRow, HeldDomain, Listing
from xds.http.page.words import plural
from xds.http.paging import Mark, cursor_of, mark_of, page_of
from xds.http.view import View
from xds.operator import Operator
from xds.protocol.stream import Stream

PAGE = 50
"""Rows of a page."""
Told = tuple[Listing[Any], str]
"""Some rows, and a sentence about them."""


class Listings:
    """By the name of their page; ``after`` is a cursor, empty for the beginning. Each raises ValueError for what is
    none."""

    def __init__(self, view: View, operator: Operator | None) -> None:
        self._view = view
        self._operator = operator
        self._pages: Mapping[str, Callable[[str], Told | Awaitable[Told]]] = {
            "envoys": self._envoys,
            "envoys-behind": self._behind,
            "pods": self._pods,
            "domains": self._domains,
            "changes": self._changes,
            "held": self._held,
            "certificates": self._certificates,
            "certificates-set-aside": self._unused,
            "set-aside": self._aside,
            "unknown-hosts": self._unknown,
            "audit": self._acts,
        }

    async def page(self, name: str, after: str) -> Told:
        told = self._pages[name](after)
        return told if isinstance(told, tuple) else await told

    def _envoys(self, after: str) -> Told:
        view = self._view
        found = view.nodes_after(whole(after) or 0, PAGE + 1)
        lacking = {stream.node.id for stream in self._lacking() if stream.node}
        now = view.tracker.wall()
        shown = [rows.envoy(state, lacks=state.node in lacking, now=now) for state in found[:PAGE]]
        total = len(view.tracker.streams)
        more = str(found[PAGE - 1].number) if len(found) > PAGE else ""
        return Listing(shown, total, more), f"{plural(total, 'stream')}, in the order in which they connected."

    def _behind(self, after: str) -> Told:
        lacking = self._lacking()
        marked = (((int(1_000 * self._since(one)), one.node.id), one) for one in lacking if one.node)
        found, more = page_of(marked, _mark(after), PAGE)
        now = self._view.tracker.wall()
        shown = [rows.envoy(state, lacks=True, now=now) for state in self._view.nodes_of(found)]
        said = "Envoys that reject something, or haven't ACKed all that is published; those that came first first."
        return Listing(shown, len(lacking), more or ""), said

    def _lacking(self) -> list[Stream]:
        tracker = self._view.tracker
        behind = (one for one in tracker.receipts.behind if isinstance(one, Stream))
        return [*dict.fromkeys([*tracker.rejecting, *behind])]

    def _since(self, stream: Stream) -> float:
        return self._view.tracker.connected_since(stream) or 0.0

    def _pods(self, after: str) -> Told:
        directory = self._view.directory
        names = sorted(name for name in directory.pods if name > after)
        shown = [rows.pod(self._view, directory.pods[name]) for name in names[:PAGE]]
        more = names[PAGE - 1] if len(names) > PAGE else ""
        domains, pods = plural(len(directory.domains), "domain"), plural(len(directory.pods), "pod")
        return Listing(shown, len(directory.pods), more), f"{domains} on {pods}, by name."

    def _domains(self, after: str) -> Told:
        directory = self._view.directory
        total = len(directory.domains)
        if not directory.complete:
            return Listing(), "There is no directory yet."
        table, _, name = after.partition("~")
        if after and not (whole(table) is not None and name.isprintable()):
            raise ValueError(after)
        found, more = domains_page(self._view, after, PAGE)
        shown = [DomainRow(domain, pod, directory.revision_of(domain)) for domain, pod in found]
        said = f"{plural(total, 'domain')}, table by table. To find one, explain it."
        return Listing(shown, total, more), said

    def _changes(self, after: str) -> Told:
        receipts = self._view.tracker.receipts
        found = [*rows.changes(receipts, whole(after), PAGE + 1)]
        more = str(found[PAGE - 1].number) if len(found) > PAGE else ""
        said = (
            f"{plural(len(receipts), 'change')} of GDS that are remembered, the newest first (setting http.receipts)."
        )
        return Listing(found[:PAGE], len(receipts), more), said

    async def _held(self, after: str) -> Told:
        if self._operator is None:
            return Listing(), "Nothing is held here."
        names, waits = self._operator.held(), self._operator.waits
        found, more = await held_page(names, waits, _mark(after), PAGE)
        shown = [HeldDomain(domain, edge, gds) for domain, edge, gds in found]
        return Listing(
            shown, len(names), more or ""
        ), f"{plural(len(names), 'domain')} held back from the edge, by name."

    def _certificates(self, after: str) -> Told:
        if self._view.tls is None:
            return Listing(), "Envoys get no certificates from here."
        index, now = self._view.tls.index, self._view.tracker.wall()
        found = index.soonest(PAGE + 1, mark_of(_mark(after)))
        more = cursor_of(ending(found[PAGE - 1])) if len(found) > PAGE else ""
        shown = [rows.certificate(entry, now) for entry in found[:PAGE]]
        return Listing(shown, len(index), more), "Those that end first come first."

    def _unused(self, after: str) -> Told:
        if self._view.tls is None:
            return Listing(), "Envoys get no certificates from here."
        names = self._view.tls.index.aside
        marked: list[tuple[Mark, str]] = [((0, name), name) for name in names]
        found, more = page_of(marked, _mark(after), PAGE)
        said = f"{plural(len(names), 'certificate')} that can't be used as they are now."
        return Listing(rows.unused(self._view.tls, found), len(names), more or ""), said

    def _aside(self, after: str) -> Told:
        directory = self._view.directory
        found, more = set_aside_page(directory, _mark(after), PAGE)
        total = directory.set_aside_total
        said = f"{plural(total, 'record')} of GDS that can't be used. What was held under their names stays in use."
        if total > len(directory.set_aside):
            said += f" The first {len(directory.set_aside)} are listed."
        return Listing(rows.aside(found), total, more or ""), said

    def _unknown(self, after: str) -> Told:
        counted = self._view.unknown_hosts
        if counted is None:
            return Listing(), "They aren't counted: setting edge.unknown_host.count is off."
        found, more = asked_page(counted, _mark(after), PAGE)
        said = "Hosts that clients asked for and GDS doesn't know. They are counted on meanwhile."
        return Listing(rows.unknown(found), len(counted), more or ""), said

    def _acts(self, after: str) -> Told:
        audit = self._view.audit
        found = list(islice(audit.newest_first(whole(after)), PAGE + 1))
        more = str(found[PAGE - 1].number) if len(found) > PAGE else ""
        said = (
            f"{plural(audit.kept, 'line')} of the audit log, the newest first: who ordered what, when and from "
            "where, and what came of it. The file has those before, too (setting http.audit_file)."
        )
        if audit.trouble:
            said += f" It can't be written: {audit.trouble}"
        return Listing(rows.acts(found[:PAGE]), audit.kept, more), said


def whole(after: str) -> int | None:
    """A cursor that is a number; None for the first page. Raises ValueError."""
    if after and not (after.isascii() and after.isdecimal() and len(after) < 19):
        raise ValueError(after)
    return int(after) if after else None


def _mark(after: str) -> str:
    """A cursor that is a `Mark`. Raises ValueError for any other."""
    if after and "~" not in after:
        raise ValueError(after)
    mark_of(after)
    return after

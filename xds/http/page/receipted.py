"""One change of GDS, as its own page shows it: what it changed, and which Envoys have it since when."""

from __future__ import annotations

from collections.abc import Iterator

from xds.http.page import rows
from xds.http.page.content import AckRow, AsideRow, Listing, NackRow, OneChange
from xds.http.page.listings import PAGE, whole
from xds.http.page.words import duration, moment, number
from xds.http.revisions import RevisionShown, acks_of, receipt_shown
from xds.http.view import View


def one_change(view: View, receipt_number: int, after: str) -> OneChange | None:
    """None when it isn't remembered. ``after``: a cursor among those that ACKed it; raises ValueError when it is
    none."""
    receipts = view.tracker.receipts
    receipt = next(receipts.newest_first(receipt_number + 1), None)
    if receipt is None or receipt.number != receipt_number:
        return None
    found = receipt_shown(view, receipt, receipts.joining)
    acks, more = acks_of(view, receipt.publish, whole(after) or 0, PAGE)
    total = len(receipt.publish.numbers) if receipt.publish else 0
    return OneChange(
        row=next(rows.changes(receipts, receipt_number + 1, 1)),
        facts=[*_facts(found)],
        moves=[rows.moved(move) for move in receipt.first],
        more_moves=receipt.changes - len(receipt.first),
        lacking=found.lacking,
        missing=found.missing,
        nacks=[
            NackRow(one.at, one.node, rows.kind(one.type), (), one.reason, current=not one.mended)
            for one in found.nacks
        ],
        refused=[AsideRow(one.kind, one.name, one.reason, None) for one in found.refused],
        more_refused=found.refused_more,
        acks=Listing([AckRow(one.node, one.seconds) for one in acks], total, more or ""),
    )


def _facts(found: RevisionShown) -> Iterator[tuple[str, str]]:
    yield "Epoch of GDS", found.epoch or "none"
    if found.kind != "snapshot":
        yield "Made by", found.by or "nobody that is named"
    if found.committed_at is not None:
        yield "Made at", moment(found.committed_at)
    if found.received_at is not None:
        yield "Received", moment(found.received_at)
    took = found.seconds
    if took and took.received_to_published is not None:
        yield "Published after", duration(took.received_to_published)
    if took and took.published_to_first_ack is not None:
        yield "First ACK after its publish", duration(took.published_to_first_ack)
    if took and took.published_to_last_ack is not None:
        yield "Last ACK after its publish", duration(took.published_to_last_ack)
    if found.envoys:
        yield "Envoys that have it", f"{number(found.envoys.acked)} of {number(found.envoys.total)}"
        yield "Connected now with it", number(found.envoys.have)
    if found.envoys and found.envoys.left:
        yield "Left before they had it", number(found.envoys.left)

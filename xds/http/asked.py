"""GDS asked for one host while somebody looks at it, and what that adds to what is known here: who made the record and
when, and whether GDS says something else by now. Nothing of it is kept."""

from __future__ import annotations

from xds.errors import GdsError
from xds.gds.authorship import UNTOLD, Authorship
from xds.gds.entry import Asks, Entry, Unreadable
from xds.http.explanation import Asked, Record
from xds.receipt import Receipt


async def ask(asks: Asks | None, host: str) -> Asked:
    """What GDS says of it; of what went wrong, too."""
    if asks is None:
        return Asked(
            state="not_asked", text="GDS is asked for pods alone (setting gds.mode), and doesn't say who or when"
        )
    try:
        entry = await asks(host)
    except Unreadable as error:
        return Asked(state="unreadable", text=str(error))
    except GdsError as error:
        return Asked(state="away", text=str(error))
    return said(entry)


def said(entry: Entry | None) -> Asked:
    """What GDS answered, in words."""
    if entry is None:
        return Asked(state="unknown", text="GDS doesn't know the host")
    author = entry.author
    if entry.domain is None:
        text = "this GDS names the pod alone: it doesn't tell who made the record, or when"
    elif not author.known:
        text = "GDS doesn't say who made the record, or when"
    else:
        text = "GDS says who made the record, and when"
    return Asked(
        state="told" if author.known else "untold",
        text=text,
        domain=entry.domain,
        pod=entry.pod,
        revision=entry.revision,
        by=author.by or None,
        committed_at=author.at,
    )


def attributed(record: Record, asked: Asked, receipt: Receipt | None, base: int) -> None:
    """Adds who made the record, and when: as GDS says now when it speaks of the same record, else as its change said
    when it came. ``base``: the newest snapshot's revision; what that said may have been said long before."""
    author, source = receipt.author if receipt else UNTOLD, "change"
    if asked.state == "told" and _is_same(record, asked, base):
        author, source = Authorship(asked.by or "", asked.committed_at), "gds"
    if author.known:
        record.by, record.committed_at = author.by or None, author.at
        record.source = "gds" if source == "gds" else "change"
    elif asked.state == "told":
        record.unknown_because = "GDS speaks of another record by now"
    else:
        record.unknown_because = asked.text


def differing(host: str, record: Record | None, asked: Asked, base: int) -> str | None:
    """How what GDS says now differs from what is known here; None: it doesn't, or GDS doesn't say."""
    if asked.state == "unknown":
        return f"GDS by now knows no {record.domain}, which is on {record.pod} here" if record else None
    if asked.pod is None:
        return None
    name, since = asked.domain or host, "" if asked.revision is None else f" since revision {asked.revision}"
    if record is None or asked.pod != record.pod or (asked.domain or record.domain) != record.domain:
        here = f"{record.domain} is on {record.pod}" if record else "nobody knows it"
        return f"GDS by now says that {name} is on {asked.pod}{since}; here {here}"
    if asked.revision is not None and not _is_same(record, asked, base):
        return f"GDS by now says that {name} is on {asked.pod}{since}; here since revision {record.revision}"
    return None


def _is_same(record: Record, asked: Asked, base: int) -> bool:
    if asked.revision is None or (asked.domain, asked.pod) != (record.domain, record.pod):
        return False
    return asked.revision == record.revision or (record.revision == base and asked.revision < base)

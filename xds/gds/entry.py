"""What GDS answers when it is asked for one host: the entry that covers it, or the pod alone. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from xds.errors import GdsError, RecordError
from xds.gds.authorship import UNTOLD, Authorship, authorship
from xds.gds.model import UNREADABLE, check_domain, is_pod_name

JSON, TEXT = "application/json", "text/plain"
MOST = 16_384
"""Bytes of an answer, at most: an entry has some hundred."""


class Unreadable(GdsError):
    """It answers, but not what the contract says."""


@dataclass(frozen=True, slots=True)
class Entry:
    """``domain`` (the host itself or the wildcard that covers it), ``revision`` and ``author`` are what a GDS says that
    was made for it; an older one names the pod alone."""

    pod: str
    domain: str | None = None
    revision: int | None = None
    author: Authorship = UNTOLD


Asks = Callable[[str], Awaitable[Entry | None]]
"""Asks GDS for a host: `xds.gds.client.GdsClient.entry`."""


class _Entry(msgspec.Struct):
    domain: str
    pod: str
    revision: int
    by: Any = None
    at: Any = None


def entry_of(host: str, status: int, kind: str, body: bytes) -> Entry | None:
    """None: GDS doesn't know the host. Raises GdsError when it can't answer now, Unreadable for what is no answer."""
    if status == 404:
        return None
    if status >= 500:
        raise GdsError(f"GDS answers {status}")
    if status != 200:
        raise Unreadable(f"GDS answers {status}")
    if len(body) > MOST:
        raise Unreadable(f"GDS answers with more than {MOST} bytes")
    if kind == TEXT:
        pod = body.decode("ascii", "replace").strip()
        if not is_pod_name(pod):
            raise Unreadable(f"GDS answers {pod[:80]!r}, which is no pod's name")
        return Entry(pod)
    if kind != JSON:
        raise Unreadable(f"GDS answers {kind[:80] or 'no content type'}, neither {JSON} nor {TEXT}")
    try:
        entry = msgspec.json.decode(body, type=_Entry)
        check_domain(entry.domain)
    except (*UNREADABLE, RecordError) as error:
        raise Unreadable(f"GDS answers what isn't the contract's: {error}") from None
    if not is_pod_name(entry.pod) or not 0 <= entry.revision < 2**63:
        raise Unreadable(f"GDS answers with pod {entry.pod[:80]!r} at revision {entry.revision}")
    if entry.domain != host and not (entry.domain.startswith("*.") and host.endswith(entry.domain[1:])):
        raise Unreadable(f"GDS answers for {entry.domain}, which doesn't cover {host}")
    return Entry(entry.pod, entry.domain, entry.revision, authorship(entry.by, entry.at))

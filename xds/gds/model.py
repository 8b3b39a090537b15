"""What GDS says: pods, domains and the changes between two revisions. Pure values, checked at the door.

A *domain* is a lower-case A-label host name without port or trailing dot, or a wildcard ``*.suffix``.
A *revision* grows by one with every committed transaction of GDS; an *epoch* names the store.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, MutableSequence, Sequence

import idna
import msgspec

from xds.errors import RecordError
from xds.gds.authorship import UNTOLD, Authorship

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_POD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LONGEST = 253
_PLAIN = re.compile(r"[a-z0-9.\n-]*")
_NEVER_PLAIN = ("..", ".-", "-.", "\n.", ".\n", "\n-", "-\n")


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that aren't the JSON that was asked for: not UTF-8, and nested without end, too."""


class Endpoint(msgspec.Struct, frozen=True):
    """One address that serves a pod. ``weight`` is relative, 1 to 128 or more; ``zone`` may be empty."""

    address: str
    port: int
    zone: str = ""
    weight: int = 1


class Pod(msgspec.Struct, frozen=True):
    """A logical partition of the backend. ``max_connections`` becomes the cluster's circuit breaker."""

    name: str
    datacenter: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    max_connections: int = 1024


class PutDomain(msgspec.Struct, frozen=True, gc=False):
    domain: str
    pod: str


class DeleteDomain(msgspec.Struct, frozen=True, gc=False):
    domain: str


class PutPod(msgspec.Struct, frozen=True):
    pod: Pod


class DeletePod(msgspec.Struct, frozen=True):
    name: str


class BadRecord(msgspec.Struct, frozen=True):
    """A record that came in the wrong shape. ``kind`` is "domain", "pod" or, when even that can't be told, "record"."""

    kind: str
    name: str
    reason: str


Change = PutDomain | DeleteDomain | PutPod | DeletePod | BadRecord


class Snapshot(msgspec.Struct, frozen=True):
    """The whole directory at one revision; ``domains`` are (domain, pod) pairs as they came, unchecked.

    ``bad`` are the records that couldn't be read; each counts among what the snapshot holds.
    """

    epoch: str
    revision: int
    pods: tuple[Pod, ...]
    domains: MutableSequence[tuple[str, str]]
    bad: tuple[BadRecord, ...] = ()


class Transaction(msgspec.Struct, frozen=True):
    """All changes of one revision, whole: a transaction cut in the middle is never made into one. ``changes`` may be a
    list, which whoever has taken them may empty: a million at once take long to free. ``first_word``: of domains that
    GDS never gave before, so that the guard doesn't count what they lose; no transaction of GDS's own is such a one.
    ``author``: who made it and when, if GDS says so."""

    epoch: str
    revision: int
    changes: Sequence[Change]
    first_word: bool = False
    author: Authorship = UNTOLD


def normalise_host(host: str) -> str:
    """A Host header's or SNI's form of a name: lower case, without port and trailing dot, and in ASCII, as clients send
    it (``xn--…``)."""
    host = host.strip().lower()
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        host = name
    host = host.removesuffix(".")
    if host.isascii() or len(host) > _LONGEST:
        return host
    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        return host  # no name at all, and whoever checks it says so


def check_domain(domain: str) -> None:
    """Raises RecordError unless ``domain`` is one that can stand in a route table."""
    if not 2 <= len(domain) <= _LONGEST or not _DOMAIN.fullmatch(domain):
        raise RecordError(f"domain {domain[:80]!r} is not a lower-case host name or *.suffix")


def all_plain(domains: Collection[str]) -> bool:
    """True when every one surely passes check_domain, told about ten times faster; False: look at each."""
    if not domains:
        return True
    text = "\n".join(["", *domains, ""])
    lengths = [*map(len, domains)]
    # No name longer than a label may be: then no label in it is too long either.
    return (
        min(lengths) >= 2
        and max(lengths) <= 63
        and text.count("\n") == len(lengths) + 1
        and _PLAIN.fullmatch(text) is not None
        and not any(pair in text for pair in _NEVER_PLAIN)
    )


def is_pod_name(name: str) -> bool:
    """Whether a pod can be called so."""
    return _POD.fullmatch(name) is not None


def check_pod(pod: Pod) -> None:
    """Raises RecordError unless ``pod`` can be made into a cluster."""
    if not is_pod_name(pod.name):
        raise RecordError(f"pod {pod.name[:80]!r}: the name must be letters, digits, '.', '_' or '-', at most 63")
    if not 1 <= pod.max_connections <= 0xFFFFFFFF:
        raise RecordError(f"pod {pod.name}: max_connections {pod.max_connections} is not between 1 and 2^32-1")
    for endpoint in pod.endpoints:
        if not 1 <= endpoint.port <= 65535:
            raise RecordError(f"pod {pod.name}: port {endpoint.port} of {endpoint.address} is not between 1 and 65535")
        if not 1 <= endpoint.weight <= 0xFFFF:
            raise RecordError(f"pod {pod.name}: weight {endpoint.weight} of {endpoint.address} is not 1 to 65535")
        try:
            ipaddress.ip_address(endpoint.address)
        except ValueError:
            raise RecordError(
                f"pod {pod.name}: endpoint {endpoint.address[:80]!r} is not an IP address (EDS takes no names)"
            ) from None

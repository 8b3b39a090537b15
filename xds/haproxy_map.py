"""A HAProxy map file, ``host pod`` a line, or a list of hosts: what of it can be used, and each line that can't, with
the reason. Pure.

Taken as HAProxy takes them: comments, empty lines, any spacing. Taken, too, as a Host header may be: upper case, a
port, a dot at the end; and a byte order mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from xds.errors import RecordError
from xds.gds.model import check_domain, is_pod_name, normalise_host

_BOM = b"\xef\xbb\xbf"
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class BadLine:
    """``line`` counts from 1; ``text`` is its beginning."""

    line: int
    text: str
    reason: str


@dataclass(slots=True)
class HostMap:
    """``pods``: host → pod, empty where only hosts are listed, in the file's order; ``first``: the line of each.
    ``repeated``: lines that say again what one before said."""

    pods: dict[str, str] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    bad: list[BadLine] = field(default_factory=list)
    lines: int = 0
    repeated: int = 0

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """These hosts' lines are bad, too, for who was to take them."""
        for host, reason in reasons.items():
            self.bad.append(BadLine(self.first[host], f"{host} {self.pods.pop(host)}", reason))


def reading(lines: Iterable[bytes], into: HostMap, *, hosts_alone: bool = False) -> Iterator[int]:
    """Reads all lines into ``into``; yields, line by line, the bytes that were read. ``hosts_alone``: a list of hosts,
    without pods.

    A host that is on two pods is on none of them: which one HAProxy takes depends on its kind of lookup.
    """
    contradicted: set[str] = set()
    first = into.first
    for number, raw in enumerate(lines, 1):
        into.lines = number
        try:
            pair = _pair(raw.removeprefix(_BOM) if number == 1 else raw, hosts_alone)
        except RecordError as error:
            into.bad.append(BadLine(number, _shown(raw), str(error)))
            pair = None
        if pair is not None:
            host, pod = pair
            before = into.pods.get(host)
            if before is None and host not in contradicted:
                into.pods[host] = pod
                first[host] = number
            elif before == pod:
                into.repeated += 1
            else:
                reason = f"{host} is on another pod in line {first[host]}"
                if before is not None:
                    del into.pods[host]
                    contradicted.add(host)
                    into.bad.append(
                        BadLine(first[host], f"{host} {before}", f"{host} is on another pod in line {number}")
                    )
                into.bad.append(BadLine(number, _shown(raw), reason))
        yield len(raw)


def _pair(raw: bytes, hosts_alone: bool) -> tuple[str, str] | None:
    """None for what says nothing. Raises RecordError."""
    try:
        words = raw.decode().split()
    except UnicodeDecodeError:
        raise RecordError("not UTF-8") from None
    if not words or words[0].startswith("#"):
        return None
    if len(words) != (1 if hosts_alone else 2):
        wanted = "one host" if hosts_alone else "a host and a pod"
        raise RecordError(f"must be {wanted}, but has {len(words)} words")
    host = normalise_host(words[0])
    if host.startswith((".", "*")):
        raise RecordError("stands for hosts that it doesn't name, and GDS is asked by name")
    check_domain(host)
    if not hosts_alone and not is_pod_name(words[1]):
        raise RecordError(f"{words[1][:_SHOWN]!r} is not a pod's name")
    return host, "" if hosts_alone else words[1]


def _shown(raw: bytes) -> str:
    return raw[:_SHOWN].decode("utf-8", "backslashreplace").strip()

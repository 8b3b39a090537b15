"""The pods in a HAProxy configuration: its ``backend`` sections and their ``server`` lines, as the pods of a pods file.
Pure: whoever looks names up is handed in.

Taken are address, port and weight. What else a ``server`` line says is remarked on, as an edge that does without it may
behave otherwise.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from xds.errors import RecordError
from xds.gds.model import Endpoint, Pod, check_pod

_SECTIONS = frozenset(
    [
        "global",
        "defaults",
        "frontend",
        "backend",
        "listen",
        "peers",
        "resolvers",
        "userlist",
        "mailers",
        "cache",
        "program",
        "http-errors",
        "ring",
        "log-forward",
        "fcgi-app",
        "crt-store",
        "traces",
    ]
)
_ELSEWHERE = ("default-server", "server-template")
_HEAVIEST = 256

Resolve = Callable[[str], Sequence[str]]
"""The addresses of a name; OSError when it has none."""


@dataclass(frozen=True, slots=True)
class Remark:
    """``line`` counts from 1. ``grave``: without a change by hand, requests would go elsewhere than before, or fail."""

    line: int
    text: str
    grave: bool = False


@dataclass(slots=True)
class Found:
    """``pods``: the backends that have servers."""

    pods: list[Pod] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)


def pods_in(lines: Iterable[str], resolve: Resolve) -> Found:
    found = Found()
    backends: dict[str, tuple[int, list[Endpoint]]] = {}
    ends: list[Endpoint] | None = None
    for number, words in _lines(lines):
        if words[0] in _SECTIONS:
            ends = None
            if words[0] == "backend" and len(words) > 1:
                ends = backends.setdefault(words[1], (number, []))[1]
        elif ends is None:
            continue
        elif words[0] == "server":
            taken, remarks = _server(number, words, resolve)
            ends += taken
            found.remarks += remarks
        elif words[0] in _ELSEWHERE:
            text = f"not taken over: {' '.join(words)}"
            found.remarks.append(Remark(number, text, words[0] == "server-template" or "ssl" in words))
    for name, (number, these) in backends.items():
        pod = Pod(name, endpoints=tuple(these))
        try:
            check_pod(pod)
        except RecordError as error:
            found.remarks.append(Remark(number, f"backend {name}: {error}", grave=True))
            continue
        if these:
            found.pods.append(pod)
        else:
            found.remarks.append(Remark(number, f"backend {name} has no server that can be taken", grave=True))
    found.remarks.sort(key=lambda remark: remark.line)
    return found


def _server(number: int, words: Sequence[str], resolve: Resolve) -> tuple[list[Endpoint], list[Remark]]:
    """``words``: server NAME ADDRESS, and options."""
    name = words[1] if len(words) > 1 else ""

    def left_out(why: str) -> tuple[list[Endpoint], list[Remark]]:
        return [], [Remark(number, f"server {name} is left out: {why}", grave=True)]

    options = [*words[3:]]
    weight = "1"
    if "weight" in options[:-1]:
        place = options.index("weight")
        weight = options[place + 1]
        del options[place : place + 2]
    host, _, port = words[2].rpartition(":") if len(words) > 2 else ("", "", "")
    for option, why in (("disabled", "it is disabled"), ("backup", "as a backup it waits for the others to be down")):
        if option in options:
            return left_out(why)
    if not host or not port.isdecimal():
        return left_out(f"{' '.join(words[2:3])!r} is no address with a port")
    if not weight.isdecimal() or not 1 <= int(weight) <= _HEAVIEST:
        return left_out(f"weight {weight} isn't 1 to {_HEAVIEST}")
    host = host.removeprefix("ipv4@").removeprefix("ipv6@").strip("[]")
    remarks = []
    try:
        addresses: Sequence[str] = [str(ipaddress.ip_address(host))]
    except ValueError:
        try:
            addresses = resolve(host)
        except OSError as error:
            return left_out(f"{host} can't be looked up: {error.strerror or error}")
        text = f"server {name}: {host} is {', '.join(addresses)} now; when that changes, the pods file must be"
        remarks.append(Remark(number, text))
    if options:
        tls = ": the edge speaks plain HTTP to pods" if "ssl" in options else ""
        remarks.append(Remark(number, f"server {name}: not taken over: {' '.join(options)}{tls}", grave=bool(tls)))
    return [Endpoint(each, int(port), weight=int(weight)) for each in addresses], remarks


def _lines(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The words of those that say something."""
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].replace('"', "").split()
        if words:
            yield number, words

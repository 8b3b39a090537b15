"""One publish as spans: what a trace holds, before it is anybody's format. Pure; times are those of the receipts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from xds.receipt import Publish


@dataclass(frozen=True, slots=True)
class Begun:
    """What a publish carries, a trace of its own: a change, or a snapshot. ``received``: when it came. ``held``,
    ``released``: None for what wasn't."""

    name: str
    revision: int
    received: float
    held: float | None = None
    released: float | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """``start``, ``end``: seconds. ``moments``: what happened within, by name. ``error``: what went wrong, or empty."""

    name: str
    start: float
    end: float
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    moments: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    children: tuple[Span, ...] = ()


def spans_of(
    publish: Publish, begun: Begun, sent: Mapping[int, float], name_of: Callable[[int], str], most: int, now: float
) -> Span:
    """What a publish carries, as it went to the Envoys. ``sent``: when each Envoy's last response began to be written,
    by its number; ``most``: Envoys with a span, those that were last."""
    attributes = {"revision": begun.revision, "envoys": publish.envoys, "left": publish.left}
    moments = {name: at for name, at in (("held", begun.held), ("released", begun.released)) if at is not None}
    if publish.at < begun.received:  # when it was released there was nothing to publish: the edge had all of it
        return Span(begun.name, begun.received, max(begun.received, *moments.values()), attributes, moments)
    acked = list(zip(publish.numbers, publish.seconds, strict=True))[-most:]
    envoys = [_envoy(publish, number, publish.at + seconds, sent, name_of) for number, seconds in acked]
    silent = [
        Span("envoy", publish.at, max(now, nack.at), {"node": name_of(number)}, {"nack": nack.at}, nack.reason)
        for number, nack in publish.nacks.items()
        if number not in set(publish.numbers)
    ]
    ends = publish.at, *(one.end for one in envoys), *moments.values(), *([now] if publish.pending else [])
    error = f"{publish.pending} Envoys didn't ACK it" if publish.pending else ""
    children = (Span("publish", begun.received, publish.at), *envoys, *silent)
    return Span(begun.name, begun.received, max(ends), attributes, moments, error, children)


def _envoy(
    publish: Publish, number: int, acked: float, sent: Mapping[int, float], name_of: Callable[[int], str]
) -> Span:
    nack = publish.nacks.get(number)
    moments = {"sent": min(acked, sent[number])} if number in sent else {}
    if nack is not None:
        moments["nack"] = nack.at
    return Span("envoy", publish.at, acked, {"node": name_of(number)}, moments, nack.reason if nack else "")

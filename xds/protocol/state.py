"""What one stream says of itself, type by type: for `/api/v1/nodes`, the metrics and CSDS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from xds.resources.types import ResourceType

NAMES_SHOWN = 20
"""Of the names in a NACKed response."""
REASON_SHOWN = 2_000
"""Characters of a NACK's reason."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """``response_bytes``: of the resources of one response, where a response may be split. ``max_names``: of one
    subscription, or of a client's initial versions."""

    response_bytes: int = 3_500_000
    max_names: int = 100_000


@dataclass(frozen=True, slots=True)
class Settled:
    """What a client ACKed, or NACKed when there is an ``error``. ``versions`` are those that the response brought
    anew, by name; None stands for a removal."""

    kind: ResourceType
    versions: Mapping[str, str | None]
    error: str | None


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """One resource as one stream's client has it. ``version`` was sent last, or after a NACK was ACKed before; it is
    empty when there is none. ``in_flight``: it isn't ACKed yet. ``rejected`` and ``error`` are of the NACK that it was
    part of, empty since it was sent again."""

    name: str
    version: str
    in_flight: bool = False
    rejected: str = ""
    error: str = ""


class Client(Protocol):
    """What a stream's client holds: `xds.protocol.stream.Stream`, for those who only ask for that."""

    def resources(self, kind: ResourceType) -> Iterable[ResourceStatus]: ...


@dataclass(slots=True)
class TypeState:
    """Counts are of responses. ``rejecting``: resources that it NACKed and wasn't sent
    anew since. ``version_sent`` and ``version_acked`` name the content that a response brought.
    ``rejected`` are the first names in the response that was NACKed last. ``spared``: resources that it came back with,
    other than here, and keeps for now."""

    type: str
    wildcard: bool = False
    subscribed: int = 0
    resources: int = 0
    sent: int = 0
    acked: int = 0
    nacked: int = 0
    in_flight: int = 0
    rejecting: int = 0
    spared: int = 0
    version_sent: str = ""
    version_acked: str = ""
    version_nacked: str = ""
    last_nack: str = ""
    rejected: tuple[str, ...] = ()


def readable(reason: str) -> str:
    """A peer's words, fit for a log line: bounded, and without control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in reason[:REASON_SHOWN])

"""What a GDS says when it is asked for one host's pod: pure, strict, and with words for whoever has to put it right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from xds.errors import GdsError
from xds.gds.model import UNREADABLE, is_pod_name
from xds.lookup.asking import Refused

MOST_BYTES = 64 * 1024
"""A pod's name, plain or in JSON, is shorter than this."""

_TEXT, _JSON, _ANY = "text/plain", "application/json", "*"
_SHOWN = 60
_OF_ALL = (401, 403, 407, 408, 425, 429)
"""Of the statuses 4xx, those that are not about the host that was asked for."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How this GDS answers. ``field``: the way to the pod in a JSON answer, such as ``("backend", "pod")``; empty for
    an answer that is the pod's name alone. ``unknown``, ``unknown_statuses``: what says that the host is on no pod.
    ``content_type``: of an answer; empty for what ``field`` makes likely, ``*`` for any."""

    field: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()
    unknown_statuses: frozenset[int] = frozenset({404})
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before an answer's body. ``kind`` is its content type without parameters, ``location`` where a
    redirect leads."""

    status: int
    kind: str = ""
    encoding: str = ""
    location: str = ""


def is_unknown(head: Head, shape: Shape) -> bool:
    """Whether the status alone says that the host is on no pod."""
    return head.status in shape.unknown_statuses


def check_head(head: Head, shape: Shape) -> None:
    """Raises GdsError unless an answer so begun can hold a pod's name; Refused when that is about this host alone."""
    if 300 <= head.status < 400:
        raise GdsError(
            f"a redirect ({head.status}) to {head.location[:200]!r}, and none is followed: "
            "set gds.url to where GDS answers itself"
        )
    if head.status in (401, 403):
        raise GdsError(
            f"{head.status}: it doesn't let us in (settings gds.token_file, lookup.client.header and header_file, "
            "gds.certificate and key)"
        )
    if head.status != 200:
        of_host = 400 <= head.status < 500 and head.status not in _OF_ALL
        raise (Refused if of_host else GdsError)(
            f"{head.status}, which is no answer; if it is how GDS says that it doesn't know a host, add it to "
            "lookup.client.unknown_statuses"
        )
    if head.encoding not in ("", "identity"):
        raise GdsError(f"an answer in content-encoding {head.encoding[:_SHOWN]!r}, which wasn't asked for")
    wanted = shape.content_type or (_JSON if shape.field else _TEXT)
    if wanted not in (head.kind, _ANY):
        raise GdsError(
            f"{head.kind[:_SHOWN] or 'no content type'}, not {wanted}: is gds.url right? If GDS does answer so, set "
            "lookup.client.content_type, and lookup.client.field for JSON"
        )


def pod_of(body: bytes, shape: Shape) -> str | None:
    """The pod that the body of a 200 names, None for a host that is on none. Raises GdsError for anything else."""
    if len(body) > MOST_BYTES:
        raise GdsError(f"more than {MOST_BYTES:,} bytes, where a pod's name was asked for: is gds.url right?")
    name = _field(body, shape.field) if shape.field else _text(body)
    if name in shape.unknown:
        return None
    if not name:
        raise GdsError(
            'an empty name; if that is how GDS says that it doesn\'t know a host, set lookup.client.unknown = [""]'
        )
    if not is_pod_name(name):
        raise GdsError(
            f"{name[:_SHOWN]!r}, which is no pod's name. If GDS answers in JSON, set lookup.client.field; if this is "
            "how it says that it doesn't know a host, add it to lookup.client.unknown"
        )
    return name


def _text(body: bytes) -> str:
    try:
        return body.decode("ascii").strip(" \t\r\n")
    except UnicodeDecodeError:
        raise GdsError(f"{body[:_SHOWN]!r}, which is no pod's name") from None


def _field(body: bytes, field: tuple[str, ...]) -> str:
    try:
        value: Any = msgspec.json.decode(body)
    except UNREADABLE as error:
        raise GdsError(f"{body[:_SHOWN]!r}, which is not JSON ({error}); lookup.client.field is set") from None
    for depth, name in enumerate(field):
        if not isinstance(value, dict) or name not in value:
            raise GdsError(
                f"JSON without {'.'.join(field[: depth + 1])!r} (setting lookup.client.field): {body[:_SHOWN]!r}"
            )
        value = value[name]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise GdsError(
            f"JSON whose {'.'.join(field)!r} is not a string (setting lookup.client.field): {body[:_SHOWN]!r}"
        )
    return value.strip(" \t\r\n")

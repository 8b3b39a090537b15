"""Who made a change and when: what each revision and each domain's entry remembers, and the header that says who."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from gds_mock.errors import BadRequest

HEADER = "GDS-Actor"
LONGEST = 200


def parse_actor(values: Sequence[str]) -> str | None:
    """Who makes a change, by the header's values as they came; None without one. Raises BadRequest.

    It may stand there once only: a proxy that adds its own to a client's would leave open which of them counts.
    """
    if not values:
        return None
    if len(values) > 1:
        raise BadRequest(f"{HEADER} is there {len(values)} times: send it once")
    try:
        actor = values[0].encode("latin-1").decode().strip()  # the server hands the header's bytes on as Latin-1
    except UnicodeError:
        raise BadRequest(f"{HEADER} is not UTF-8") from None
    return check_actor(actor, HEADER)


def check_actor(actor: str, what: str) -> str:
    """Raises BadRequest, which names ``what``, unless it is printable and neither empty nor too long."""
    if not 1 <= len(actor) <= LONGEST or not actor.isprintable():
        raise BadRequest(f"{what} must be 1 to {LONGEST} printable characters, not {actor[:80]!r}")
    return actor


def now() -> str:
    """The time as the wire has it: RFC 3339, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

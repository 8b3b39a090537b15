"""``If-Match``: the header's grammar and what it asks of an entry's revision."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gds_mock.errors import BadRequest

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"')
_TAGS = re.compile(rf"\s*(?:{_TAG.pattern}\s*(?:,\s*|\Z))+")


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds when the entry exists and, unless ``revisions`` is None (``*``), is at one of them."""

    revisions: frozenset[str] | None

    def holds(self, changed_at: int | None) -> bool:
        """Whether an entry last changed at this revision, or one that is not there (None), will do."""
        if changed_at is None:
            return False
        return self.revisions is None or str(changed_at) in self.revisions


def etag(revision: int) -> str:
    """The entity tag of something that last changed at ``revision``."""
    return f'"{revision}"'


def parse_if_match(header: str | None) -> Condition | None:
    """The condition of a header, None without one. A weak tag never matches (RFC 9110). Raises BadRequest."""
    if header is None:
        return None
    if header.strip() == "*":
        return Condition(None)
    if not _TAGS.fullmatch(header):
        raise BadRequest(f'If-Match must be "<revision>" in double quotes or *, not {header[:80]}')
    return Condition(frozenset(tag for weak, tag in _TAG.findall(header) if not weak))

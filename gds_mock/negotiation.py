"""``Accept``: whether a caller would rather have JSON than the text that is the default."""

from __future__ import annotations

import re

_WEIGHT = re.compile(r"[01](?:\.[0-9]{0,3})?")


def prefers_json(accept: str) -> bool:
    """Whether an ``Accept`` header would rather have JSON than text: where it likes both the same, text is the answer,
    which is all that the oldest GDS has."""
    likes: dict[str, float] = {}
    for part in accept.lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        weight = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        likes[kind] = float(weight) if _WEIGHT.fullmatch(weight) else 0.0

    def liked(kind: str) -> float:
        return next((likes[one] for one in (kind, f"{kind.partition('/')[0]}/*", "*/*") if one in likes), 0.0)

    return liked("application/json") > liked("text/plain")

"""Lists in pages: a cursor says where the next one begins, whatever came or went meanwhile."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

T = TypeVar("T")

LONGEST = 1_000

Limit = Annotated[int, Query(ge=1, le=LONGEST, description="how many, at most")]
Cursor = Annotated[str, Query(max_length=1_000, description="`next` of the page before; empty for the first page")]


class Page(BaseModel, Generic[T]):
    """``next`` is null on the last page. A page may be short, or empty, and not the last."""

    items: list[T]
    next: Annotated[str | None, Field(description="the cursor of the next page; null when there is none")]
    total: Annotated[int | None, Field(description="how many there are in all; null where counting would cost much")]


def cursor_of(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def place_of(cursor: str) -> str:
    """What `cursor_of` was given; empty for the first page. Raises HTTPException 400 for what it never made."""
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        place = ""
    if cursor and cursor_of(place) != cursor:
        raise HTTPException(400, f"cursor {cursor[:80]!r} is none of ours: take `next` of the page before, as it is")
    return place


def number_of(cursor: str) -> int | None:
    """The number that a cursor stands for; None for the first page."""
    place = place_of(cursor)
    if not place:
        return None
    if not (place.isascii() and place.isdecimal() and len(place) < 20):
        raise HTTPException(400, f"cursor {cursor[:80]!r} is of another list: take `next` of the page before, as it is")
    return int(place)

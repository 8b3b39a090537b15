"""Lists in pages: a cursor says where the next one begins, whatever came or went meanwhile."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from operator import itemgetter
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

T = TypeVar("T")
Mark = tuple[int, str]
"""Where an item stands in its list: by number, then by name."""

LONGEST = 1_000
REVISIONS = 9 * 10**18
"""No revision that is asked for is higher. The document writes a bound as a float: this one is the same there."""

Limit = Annotated[int, Query(ge=1, le=LONGEST, description="how many, at most")]

_TEXT = "`next` of the page before, as it is; empty for the first page"

Cursor = Annotated[str, Query(pattern=r"^[0-9]{0,18}$", description=_TEXT)]
"""A number."""
NameCursor = Annotated[str, Query(pattern=r"^[A-Za-z0-9._-]{0,63}$", description=_TEXT)]
"""A pod's name."""
PlaceCursor = Annotated[str, Query(pattern=r"^([0-9]{1,5}~[a-z0-9.*-]{0,253})?$", description=_TEXT)]
"""The number of a table, and a domain in it."""
MarkCursor = Annotated[str, Query(pattern=r"^(-?[0-9]{1,19}~([0-9a-f]{2})*)?$", max_length=4_000, description=_TEXT)]
"""A `Mark`, its name in hex: it may hold anything."""
StateCursor = Annotated[str, Query(pattern=r"^([0-9]{1,15}~[0-9]{1,15})?$", description=_TEXT)]
"""Where a moment is kept: see `xds.state.folder.Kept`."""


class Page(BaseModel, Generic[T]):
    """``next`` is null on the last page. A page may be short, or empty, and not the last."""

    items: list[T]
    next: Annotated[str | None, Field(description="the cursor of the next page; null when there is none")]
    total: Annotated[int | None, Field(description="how many there are in all; null where counting would cost much")]


def number_of(cursor: Cursor) -> int | None:
    """The number that a cursor stands for; None for the first page."""
    return int(cursor) if cursor else None


def mark_of(cursor: MarkCursor) -> Mark | None:
    """The last item of the page before; None for the first page."""
    number, found, name = cursor.partition("~")
    return (int(number), bytes.fromhex(name).decode("utf-8", "surrogateescape")) if found else None


def cursor_of(mark: Mark) -> str:
    return f"{mark[0]}~{mark[1].encode('utf-8', 'surrogateescape').hex()}"


def page_of(marked: Iterable[tuple[Mark, T]], cursor: MarkCursor, limit: int) -> tuple[list[T], str | None]:
    """The items after the cursor, by their marks, and the cursor of the next page. They may come in any order."""
    before = mark_of(cursor)
    following = (one for one in marked if before is None or one[0] > before)
    found = heapq.nsmallest(limit + 1, following, key=itemgetter(0))
    more = cursor_of(found[limit - 1][0]) if len(found) > limit else None
    return [item for _, item in found[:limit]], more

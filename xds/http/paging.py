"""Lists in pages: a cursor says where the next one begins, whatever came or went meanwhile."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

T = TypeVar("T")

LONGEST = 1_000

Limit = Annotated[int, Query(ge=1, le=LONGEST, description="how many, at most")]

_TEXT = "`next` of the page before, as it is; empty for the first page"

Cursor = Annotated[str, Query(pattern=r"^[0-9]{0,18}$", description=_TEXT)]
"""A number."""
NameCursor = Annotated[str, Query(pattern=r"^[A-Za-z0-9._-]{0,63}$", description=_TEXT)]
"""A pod's name."""
PlaceCursor = Annotated[str, Query(pattern=r"^([0-9]{1,5}~[a-z0-9.*-]{0,253})?$", description=_TEXT)]
"""The number of a table, and a domain in it."""


class Page(BaseModel, Generic[T]):
    """``next`` is null on the last page. A page may be short, or empty, and not the last."""

    items: list[T]
    next: Annotated[str | None, Field(description="the cursor of the next page; null when there is none")]
    total: Annotated[int | None, Field(description="how many there are in all; null where counting would cost much")]


def number_of(cursor: Cursor) -> int | None:
    """The number that a cursor stands for; None for the first page."""
    return int(cursor) if cursor else None

"""The audit log in the API, for those who may change something."""

from __future__ import annotations

from itertools import islice

from fastapi import APIRouter
from pydantic import BaseModel

from xds.audit import Audit
from xds.http.paging import Cursor, Limit, Page, number_of
from xds.http.problems import problems


class Act(BaseModel):
    """``at``: seconds since 1970. ``who``: what the caller said of itself, or its certificate's name; empty of one who
    was denied. ``outcome``: "asked", "done", "refused" as it can't be done or isn't of the form that is
    taken, "failed" by a mistake of ours, "denied" to who may not."""

    at: float
    order: str
    outcome: str
    who: str
    address: str
    reason: str
    revision: int | None


def audit_api(audit: Audit) -> APIRouter:
    api = APIRouter(prefix="/api/v1", tags=["orders"])

    @api.get("/audit", responses=problems(400))
    async def acts(limit: Limit = 100, cursor: Cursor = "") -> Page[Act]:
        """Every order and what came of it, the newest first; needs the token. The file has those before, too."""
        found = list(islice(audit.newest_first(number_of(cursor)), limit + 1))
        more = str(found[limit - 1].number) if len(found) > limit else None
        items = [Act.model_validate(one, from_attributes=True) for one in found[:limit]]
        return Page[Act](items=items, next=more, total=audit.kept)

    return api

"""The order that has hosts known which nobody has asked for yet: `pointsman import haproxy-map`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from xds.audit import Audit
from xds.errors import PointsmanError
from xds.http.orders import Order, caller_of
from xds.http.problems import problems
from xds.lookup.learner import Learner
from xds.lookup.preload import Preloaded
from xds.operator import Caller

ORDER = "lookup.hosts"
PATH = "/api/v1/lookup/hosts"
MOST = 50_000
"""Hosts of one order: each order is published by itself, in nearly every table, so a few large ones are much less work
than many small ones."""
BODY = 4 * 1024 * 1024
"""Bytes of one order."""
NOTED = 10_000
"""Hosts of one import, after which it is noted again."""
PAUSE = 10.0
"""Seconds after which what isn't noted yet is, however little it is: the rest of the import may never come."""
WATCHED = (
    "this control plane watches GDS (gds.mode = watch): GDS says which domains there are, and what it hasn't got can't "
    "be known beside it; import the map into GDS instead"
)


Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class Hosts(Order):
    """``hosts``: each with its pod. ``more``: this isn't the last order of one import."""

    hosts: Annotated[dict[str, str], Field(max_length=MOST)]
    more: bool = False


class Refused(BaseModel):
    host: str
    reason: str


class Taken(BaseModel):
    """``taken`` are known from now on, ``kept`` were already, and stay as they were. ``held``: so many of those taken
    don't go to the edge before what is held is released."""

    taken: int
    held: int
    kept: int
    refused: list[Refused]


class Imported(BaseModel):
    """What GDS said of the latest import's hosts. ``not_asked``: nothing yet; ``agreed``: they are where the map has
    them; ``moved``: they are elsewhere; ``missing``: it hasn't got them, and they are routed still; ``gone``: it hasn't
    got them, and they were withdrawn, ``left`` are the first of these. ``doubted``: it differs from the map so often
    that what it says is left to the guard."""

    not_asked: int
    agreed: int
    moved: int
    missing: int
    gone: int
    doubted: bool
    left: list[str]


class _Sum:
    """What an import came to since it was last noted: one of a million hosts mustn't fill the audit log with a thousand
    entries. The first order of each is noted at once. ``later(seconds, call)`` is the event loop's."""

    def __init__(self, audit: Audit, later: Later | None = None) -> None:
        self._audit = audit
        self._later = later
        self._due: asyncio.TimerHandle | None = None
        self._caller: Caller | None = None
        self._counts: Counter[str] = Counter()

    def add(self, caller: Caller, found: Preloaded, more: bool) -> None:
        first = caller != self._caller
        if first:
            self._say()
        self._caller = caller
        self._counts += Counter(taken=found.taken, held=found.held, kept=found.kept, refused=len(found.refused))
        if first or not more or self._counts.total() >= NOTED:
            self._say()
        elif self._due is None:
            self._due = (self._later or asyncio.get_running_loop().call_later)(PAUSE, self._say)
        if not more:
            self._caller = None

    def _say(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._caller and self._counts:
            taken, held, kept, refused = (self._counts[name] for name in ("taken", "held", "kept", "refused"))
            back = f" ({held} of them held back from the edge)" if held else ""
            reason = f"{taken} taken{back}, {kept} known already, {refused} refused"
            self._audit.note(ORDER, "done", self._caller.name, self._caller.address, reason=reason)
            self._counts.clear()


def preload_api(learner: Learner | None, audit: Audit, later: Later | None = None) -> APIRouter:
    """Without a ``learner`` nothing can be preloaded."""
    api = APIRouter(tags=["orders"])
    sums = _Sum(audit, later)

    @api.post(PATH, responses=problems(400, 409, 413, 503))
    async def hosts(request: Request, order: Hosts) -> Taken:
        """Hosts that are known from now on, as if GDS had said so; one that is known already stays as it is."""
        caller = caller_of(request, order)
        if learner is None:
            audit.note(ORDER, "refused", caller.name, caller.address, reason=WATCHED)
            raise HTTPException(409, WATCHED)
        try:
            done = await learner.preload(order.hosts)
        except PointsmanError as error:
            audit.note(ORDER, "refused", caller.name, caller.address, reason=str(error))
            raise HTTPException(503, str(error)) from None
        sums.add(caller, done, order.more)
        refused = [Refused(host=host, reason=reason) for host, reason in done.refused.items()]
        return Taken(taken=done.taken, held=done.held, kept=done.kept, refused=refused)

    @api.get(PATH, responses=problems(409))
    async def imported() -> Imported:
        """What came of the hosts that were imported, since the start."""
        if learner is None:
            raise HTTPException(409, WATCHED)
        found = learner.imported
        return Imported(**found.counts, doubted=found.differs, left=found.left)

    return api

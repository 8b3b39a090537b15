"""The part of the API that changes something. Who may is decided before, in `xds.http.access`."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.exceptions import HTTPException

from xds.errors import GdsError, PointsmanError
from xds.http.access import address_of, certificate_of
from xds.http.directory import HostName, checked
from xds.http.paging import REVISIONS, Limit, Page, StateCursor
from xds.http.problems import problems
from xds.operator import Caller, Operator

T = TypeVar("T")


class Order(BaseModel):
    """``by``: who orders it, for the log."""

    model_config = ConfigDict(extra="forbid", strict=True)
    by: Annotated[str, Field(max_length=200)] = "unknown"


def _whole(value: object) -> object:
    """7.0 is a whole number in JSON, too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Rollback(Order):
    """``epoch`` may be left out: the newest state of that revision."""

    revision: Annotated[int, Field(ge=0, le=REVISIONS), BeforeValidator(_whole)]
    epoch: Annotated[str, Field(max_length=200)] = ""


class Position(BaseModel):
    epoch: str
    revision: int


class Changes(BaseModel):
    """What a release would do, in domains and in pods; ``pods_changed`` are those that are added, too. Of them,
    ``pods_emptied`` have no endpoint any more, and ``pods_replaced`` none that they had."""

    moved: int
    removed: int
    added: int
    pods_removed: int
    pods_changed: int
    pods_emptied: int
    pods_replaced: int


class Example(BaseModel):
    """A domain that is held back, with its pod at the edge and at GDS; null for none."""

    domain: str
    edge: str | None
    gds: str | None


class HoldShown(BaseModel):
    """``state``: "none", and then nothing else is there; "held", "refused". ``changes`` is null while GDS hasn't
    answered since the start."""

    state: str
    reason: str | None = None
    text: str | None = None
    since: float | None = None
    by: str | None = None
    held_at: Position | None = None
    gds: Position | None = None
    changes: Changes | None = None
    examples: list[Example] | None = None


class Moment(BaseModel):
    """``at``: seconds since 1970. ``domains``: how many there were; null between two whole states."""

    epoch: str
    revision: int
    at: float
    domains: int | None


class Refreshed(BaseModel):
    """``was``: the pod that the host had; ``pod``: the one that GDS says. Null for none."""

    host: str
    was: str | None
    pod: str | None


def orders_api(operator: Operator) -> APIRouter:
    api = APIRouter(prefix="/api/v1", tags=["orders"])

    @api.get("/hold", response_model_exclude_unset=True, responses=problems())
    async def hold() -> HoldShown:
        """What of GDS is held back from the edge, and why."""
        return HoldShown(**operator.hold())

    @api.post("/hold/release", response_model_exclude_unset=True, responses=problems(400, 409, 413))
    async def release(request: Request, order: Order) -> HoldShown:
        """Takes GDS's newest state to the edge."""
        await _done(operator.release(caller_of(request, order)))
        return HoldShown(**operator.hold())

    @api.post("/hold/refuse", response_model_exclude_unset=True, responses=problems(400, 409, 413))
    async def refuse(request: Request, order: Order) -> HoldShown:
        """What is held isn't taken, and is no alarm any more."""
        await _done(operator.refuse(caller_of(request, order)))
        return HoldShown(**operator.hold())

    @api.get("/states", responses=problems(409))
    async def states(limit: Limit = 100, cursor: StateCursor = "") -> Page[Moment]:
        """The moments of the directory that can be gone back to, the newest first; needs the token. ``total`` is
        null."""
        number, _, entry = cursor.partition("~")
        found = await _done(operator.states(limit + 1, (int(number), int(entry)) if cursor else None))
        more = "{}~{}".format(*found[limit - 1].place) if len(found) > limit else None
        items = [Moment.model_validate(one, from_attributes=True) for one in found[:limit]]
        return Page[Moment](items=items, next=more, total=None)

    @api.post("/rollback", response_model_exclude_unset=True, responses=problems(400, 409, 413))
    async def rollback(request: Request, order: Rollback) -> HoldShown:
        """Takes the edge back to an earlier state, which GDS doesn't overwrite until it is released."""
        await _done(operator.roll_back(order.revision, order.epoch, caller_of(request, order)))
        return HoldShown(**operator.hold())

    @api.post("/domains/{host}/refresh", responses=problems(400, 409, 413, 503))
    async def refresh(request: Request, host: HostName, order: Order) -> Refreshed:
        """Has GDS asked for a host now, where it isn't watched: what it says is on its way to the Envoys when this is
        answered 200. 409 when it stays from the edge: held, or set aside."""
        name = checked(host)
        was, pod = await _done(operator.refresh(name, caller_of(request, order)))
        return Refreshed(host=name, was=was, pod=pod)

    return api


def caller_of(request: Request, order: Order) -> Caller:
    """Who orders it, by certificate or by their own word."""
    certificate = certificate_of(request.scope)
    return Caller(f"{certificate} ({order.by})" if certificate else order.by, address_of(request))


async def _done(order: Awaitable[T]) -> T:
    try:
        return await order
    except GdsError as error:
        raise HTTPException(503, str(error), {"retry-after": "1"}) from None
    except PointsmanError as error:
        raise HTTPException(409, str(error)) from None

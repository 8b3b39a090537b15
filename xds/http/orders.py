"""The part of the API that changes something, for those who show the token; what it shows needs none."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from xds.errors import PointsmanError
from xds.operator import Caller, Operator

log = structlog.get_logger()


class Order(BaseModel):
    """``by``: who orders it, for the log."""

    model_config = ConfigDict(extra="forbid")
    by: Annotated[str, Field(max_length=200)] = "unknown"


class Rollback(Order):
    """``epoch`` may be left out: the newest state of that revision."""

    revision: Annotated[int, Field(ge=0)]
    epoch: Annotated[str, Field(max_length=200)] = ""


def orders_api(operator: Operator, token: Callable[[], str]) -> APIRouter:
    """``token()`` is read at each request; it raises PointsmanError when there is none, and then nobody may order."""

    app = APIRouter(tags=["orders"])

    def caller(request: Request, by: str, order: str) -> Caller:
        address = request.client.host if request.client else "unknown"
        try:
            expected = token()
        except PointsmanError as error:
            log.warning("audit", order=order, outcome="denied", who=by, address=address, reason=str(error))
            raise HTTPException(503, str(error)) from None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), expected.encode()):
            log.warning("audit", order=order, outcome="denied", who=by, address=address, reason="no valid token")
            raise HTTPException(401, "a valid bearer token is needed (setting http.token_file)")
        return Caller(by, address)

    @app.get("/api/v1/hold")
    async def hold() -> dict[str, Any]:
        """What of GDS is held back from the edge, and why."""
        return operator.hold()

    @app.post("/api/v1/hold/release", responses={401: {}, 409: {}})
    async def release(request: Request, order: Order) -> dict[str, Any]:
        """Takes GDS's newest state to the edge."""
        await _done(operator.release(caller(request, order.by, "hold.release")))
        return operator.hold()

    @app.post("/api/v1/hold/refuse", responses={401: {}, 409: {}})
    async def refuse(request: Request, order: Order) -> dict[str, Any]:
        """What is held isn't taken, and is no alarm any more."""
        await _done(operator.refuse(caller(request, order.by, "hold.refuse")))
        return operator.hold()

    @app.get("/api/v1/states", responses={409: {}})
    async def states(most: Annotated[int, Query(ge=1, le=100_000)] = 100) -> list[dict[str, Any]]:
        """The moments of the directory that can be gone back to, the newest first."""
        found: list[dict[str, Any]] = await _done(operator.states(most))
        return found

    @app.post("/api/v1/rollback", responses={401: {}, 409: {}})
    async def rollback(request: Request, order: Rollback) -> dict[str, Any]:
        """Takes the edge back to an earlier state, which GDS doesn't overwrite until it is released."""
        await _done(operator.roll_back(order.revision, order.epoch, caller(request, order.by, "rollback")))
        return operator.hold()

    return app


async def _done(order: Any) -> Any:
    try:
        return await order
    except PointsmanError as error:
        raise HTTPException(409, str(error)) from None

"""Errors as RFC 9457 ``application/problem+json``, whoever raises them: a handler, ours below it, or the framework."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from xds.errors import PointsmanError

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
_PARAMETER = re.compile(r"\{[^}]+\}")
_CHALLENGE = 'Bearer realm="Pointsman"', 'Basic realm="Pointsman"'
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "How to say who one is.", "schema": {"type": "string"}}},
    503: {"Retry-After": {"description": "Seconds, where that is known.", "schema": {"type": "string"}}},
}

_WHEN = {
    400: "What was asked for can't be meant: not a host name, not a cursor of ours, not a body in JSON.",
    401: "A token is needed, or a client certificate: the header `WWW-Authenticate` says how.",
    403: "The request's Host is a name that isn't this machine's, and there is no token: see setting http.public_read.",
    404: "There is nothing of that name.",
    409: "It can't be done as things stand; nothing has changed at the edge.",
    413: "The body is larger than any that is taken.",
    422: "A parameter or the body isn't of the form that is described here.",
    503: "Not now: there is no directory yet, or too many ask for the same.",
}


class Problem(BaseModel):
    """RFC 9457. ``detail`` names the thing, what was wrong and what to do."""

    type: Annotated[str, Field(description="`about:blank`: the status says what kind of problem it is")] = "about:blank"
    title: Annotated[str, Field(description="the status in words")]
    status: int
    detail: str


def problem(status: int, detail: str, headers: Any = None) -> Response:
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=_text(detail))
    answer = JSONResponse(body.model_dump(), status, headers, MEDIA_TYPE)
    if status == 401:
        for challenge in _CHALLENGE:
            answer.headers.append("www-authenticate", challenge)
    return answer


def _text(detail: str) -> str:
    """What a client sent may hold half a character (a lone surrogate in JSON), which no answer can."""
    return detail.encode(errors="replace").decode()


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside what it is for: 401, 403 and 422 always."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": _WHEN[status],
            "content": {MEDIA_TYPE: {"schema": schema}},
            **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
        }
        for status in sorted({401, 403, 422, *statuses})
    }


def install(app: FastAPI, complete: Callable[[dict[str, Any]], None] = lambda document: None) -> None:
    """Makes every error of this application a problem, and says so in its OpenAPI document, to which ``complete`` adds
    what it knows."""
    app.add_exception_handler(HTTPException, _the_frameworks)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(PointsmanError, _ours)
    app.add_exception_handler(Exception, _unforeseen)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
            complete(made)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


async def _the_frameworks(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = error.detail
    if isinstance(error.__cause__, UnicodeDecodeError | RecursionError):
        told = "the body can't be read: it is to be JSON, in UTF-8, and not nested deeply"
    if told == HTTPStatus(error.status_code).phrase:
        told = f"{request.method} {request.url.path}: {told}"
    headers = dict(error.headers or {})
    if error.status_code == 405 and (allowed := _allowed(request)):
        headers["allow"] = allowed  # the framework knows of one route's methods, and a path may have several
    return problem(error.status_code, told, headers)


def _allowed(request: Request) -> str:
    """The methods of the path, as the document has them; empty of one that isn't in it."""
    path = request.url.path
    found = {
        method.upper()
        for template, operations in request.app.openapi()["paths"].items()
        if re.fullmatch(_PARAMETER.sub("[^/]+", template), path)
        for method in operations
    }
    return ", ".join(sorted(found | ({"HEAD"} if "GET" in found else set())))


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem(422, "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()))


async def _ours(_: Request, error: Exception) -> Response:
    return problem(409, str(error))


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("http.failed", path=request.url.path, reason=f"{type(error).__name__}: {error}")
    return problem(500, "the control plane made a mistake; its log has more")

"""Errors as RFC 9457 ``application/problem+json``, whoever raises them: the store, a handler or the framework."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from gds_mock import errors
from gds_mock.values import encode

_STATUS: dict[type[errors.GdsError], HTTPStatus] = {
    errors.BadRequest: HTTPStatus.BAD_REQUEST,
    errors.NotAHost: HTTPStatus.BAD_REQUEST,
    errors.BadPod: HTTPStatus.BAD_REQUEST,
    errors.BadLines: HTTPStatus.BAD_REQUEST,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnknownDomain: HTTPStatus.NOT_FOUND,
    errors.UnknownPod: HTTPStatus.NOT_FOUND,
    errors.MissingPod: HTTPStatus.CONFLICT,
    errors.PodInUse: HTTPStatus.CONFLICT,
    errors.PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    errors.HistoryGone: HTTPStatus.GONE,
    errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


def problem(status: int, detail: str, headers: Any = None, **extensions: object) -> Response:
    """A problem of no type of its own: the status says what kind it is, ``detail`` what happened."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": int(status), "detail": detail, **extensions}
    return Response(encode(body), status, headers, "application/problem+json")


def install(app: FastAPI) -> None:
    """Makes every error of this application a problem."""
    app.add_exception_handler(errors.GdsError, _ours)
    app.add_exception_handler(HTTPException, _the_frameworks)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unforeseen)


async def _ours(_: Request, error: Exception) -> Response:
    if isinstance(error, errors.BadLines):
        return problem(400, str(error), errors=error.errors, total=error.total)
    status = _STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR) if isinstance(error, errors.GdsError) else 500
    headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return problem(status, str(error), headers)


async def _the_frameworks(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, f"{request.method} {request.url.path}: {error.detail}", error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    return problem(400, said)


async def _unforeseen(_: Request, __: Exception) -> Response:
    return problem(500, "the server made a mistake; its log has more")

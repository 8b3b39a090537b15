"""The FastAPI application: health, readiness, metrics, and the API under ``/api/v1``, a router for each subject. What
changes something is in `xds.http.orders`; all else only reads.

Its handlers run in the event loop, never in a thread: what they read changes there.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI

from xds import __version__
from xds.http import problems
from xds.http.certificates import certificates_api
from xds.http.directory import directory_api
from xds.http.health import health_api
from xds.http.nodes import nodes_api
from xds.http.orders import orders_api
from xds.http.revisions import revisions_api
from xds.http.status import status_api
from xds.http.view import View
from xds.operator import Operator


def create_app(view: View, operator: Operator | None = None, token: Callable[[], str] = str) -> FastAPI:
    """``operator`` takes the orders of those who show the ``token``; without one there are none to be had."""
    app = FastAPI(title="Pointsman", version=__version__, docs_url="/api/docs", openapi_url="/api/openapi.json")
    problems.install(app)
    for router in (health_api, status_api, directory_api, nodes_api, revisions_api):
        app.include_router(router(view))
    if view.tls is not None:
        app.include_router(certificates_api(view.tls))
    if operator:
        app.include_router(orders_api(operator, token))
    return app

"""The FastAPI application: health, readiness, metrics, and the API under ``/api/v1``, a router for each subject. What
changes something is in `xds.http.orders` and `xds.http.preload`; all else only reads.

Its handlers run in the event loop, never in a thread: what they read changes there.
"""

from __future__ import annotations

from functools import partial

from fastapi import FastAPI

from xds import __version__
from xds.http import problems
from xds.http.access import Access, Guard
from xds.http.audit import audit_api
from xds.http.body import BodyLimit
from xds.http.certificates import certificates_api
from xds.http.differences import differences_api
from xds.http.directory import directory_api
from xds.http.events import events_api
from xds.http.explain import every, explain_api, explained
from xds.http.feed import Feed
from xds.http.heads import Heads
from xds.http.health import health_api
from xds.http.live import Live
from xds.http.nodes import nodes_api
from xds.http.orders import orders_api
from xds.http.page.gather import Gathered
from xds.http.page.router import pages
from xds.http.preload import BODY as HOSTS_BODY
from xds.http.preload import PATH as HOSTS_PATH
from xds.http.preload import preload_api
from xds.http.revisions import revisions_api
from xds.http.security import add_security
from xds.http.status import status_api
from xds.http.view import View
from xds.operator import Operator

BODY = 64 * 1024
"""Bytes of a request's body, at most, but for an import's."""


def create_app(
    view: View,
    operator: Operator | None = None,
    access: Access | None = None,
    feed: Feed | None = None,
    live: Live | None = None,
    unknown: str = "404",
) -> FastAPI:
    """``operator`` takes the orders; without one there are none to be had. ``access``: who may do what; unset, all may
    read, and nobody may order. ``feed`` has what happens; ``live`` asks Envoys;
    ``unknown``: what a client gets who asks for an unknown host."""
    app = FastAPI(
        title="Pointsman",
        version=__version__,
        docs_url=None,  # the framework's pages run scripts of a foreign host, where a token may be typed in
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,  # it would say where by the request's Host, and below a proxy's path that is another
    )
    audit, access = view.audit, access or Access()
    app.add_middleware(BodyLimit, most=BODY, larger={HOSTS_PATH: HOSTS_BODY})
    app.add_middleware(Guard, access=access, audit=audit)
    app.add_middleware(Heads)
    problems.install(app, partial(add_security, access=access))
    app.include_router(audit_api(audit))
    for router in (health_api, status_api, directory_api, nodes_api, revisions_api):
        app.include_router(router(view))
    app.include_router(events_api(view, feed or Feed()))
    waits = operator.waits if operator else (lambda domain: None)
    live = live or Live()
    app.include_router(explain_api(view, live, access.may_order, waits, unknown))
    app.include_router(differences_api(view, operator.held if operator else tuple, waits))
    if view.tls is not None:
        app.include_router(certificates_api(view.tls, audit))
    if operator:
        app.include_router(orders_api(operator))
        app.include_router(preload_api(view.lookup, audit))
    explain = partial(explained, view, live, waits=waits, unknown=unknown)
    gathered = Gathered(view, operator, explain, partial(every, view, live))
    app.include_router(pages(gathered, monotonic=view.clock))
    return app

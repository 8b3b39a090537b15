"""The FastAPI application: health, readiness, metrics, and the API under ``/api/v1``. What changes something is in
`xds.http.orders`; all else only reads.

Its handlers run in the event loop, never in a thread: what they read changes there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from xds import __version__
from xds.errors import RecordError
from xds.gds.model import check_domain, normalise_host
from xds.http.certificates import certificates_api
from xds.http.metrics import registry
from xds.http.orders import add_orders
from xds.http.view import View
from xds.operator import Operator
from xds.resources.routes import table_name


def create_app(view: View, operator: Operator | None = None, token: Callable[[], str] = str) -> FastAPI:
    """``operator`` takes the orders of those who show the ``token``; without one there are none to be had."""
    app = FastAPI(title="Pointsman", version=__version__, docs_url="/api/docs", openapi_url="/api/openapi.json")
    metrics = registry(view)

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        """The process lives."""
        return {"status": "ok"}

    @app.get(
        "/readyz", responses={503: {"description": "No whole snapshot of GDS yet, or none that is recent enough."}}
    )
    async def ready(response: Response) -> dict[str, Any]:
        """The directory is complete, so Envoys are answered. It stays so while GDS is away, for ``gds.stale_after``."""
        directory, mirror, silent = view.directory, view.mirror, view.silent
        kept = view.kept()
        unready = view.unready
        response.status_code = 503 if unready else 200
        return {
            "ready": not unready,
            "unready": unready,
            "stale": view.stale,
            "domains": len(directory.domains),
            "pods": len(directory.pods),
            "epoch": directory.epoch,
            "revision": directory.revision,
            "set_aside": directory.set_aside_total,
            "gds": mirror.state,
            "gds_revision": mirror.gds_revision,
            "gds_silent_seconds": None if silent is None else round(silent, 3),
            "gds_error": mirror.last_error,
            "from_disk": kept.disk,
            "hold": kept.hold.state if kept.hold else "none",
            "state_error": kept.writes.error,
        }

    @app.get("/metrics")
    async def prometheus() -> Response:
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    @app.get("/api/v1/domains/{host}", responses={404: {}, 400: {}, 503: {}})
    async def domain(host: str) -> dict[str, Any]:
        """Where ``host`` goes: the entry that covers it, its pod, the route table, and the revision that said so."""
        directory = view.directory
        name = normalise_host(host)
        try:
            check_domain(name)
        except RecordError as error:
            raise HTTPException(400, str(error)) from None
        if not directory.complete:
            raise HTTPException(503, view.unready)
        found = directory.lookup(name)
        if found is None:
            aside = directory.set_aside.get(("domain", name))
            why = f": {aside.reason}" if aside else f" at revision {directory.revision} of GDS"
            raise HTTPException(404, f"{name} is on no pod{why}")
        entry, pod = found
        # A wildcard stands in every table; the host's own first characters choose which of them answers.
        number = view.tables.number_of(name)
        return {
            "host": name,
            "domain": entry,
            "pod": pod,
            "table": table_name(number),
            "revision": directory.revision_of(entry),
        }

    @app.get("/api/v1/set-aside")
    async def set_aside() -> dict[str, Any]:
        """The records of GDS that can't be used, and why."""
        directory = view.directory
        records = [dataclasses.asdict(record) for record in directory.set_aside.values()]
        return {"total": directory.set_aside_total, "records": records}

    @app.get("/api/v1/nodes")
    async def nodes() -> list[dict[str, Any]]:
        """The connected Envoys, and per type what was sent, ACKed and NACKed with the reason."""
        return [dataclasses.asdict(node) for node in view.nodes()]

    if view.tls is not None:
        app.include_router(certificates_api(view.tls))
    if operator:
        add_orders(app, operator, token)

    @app.get("/api/v1/unknown-hosts")
    async def unknown_hosts(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> dict[str, Any]:
        """The hosts asked for most that GDS doesn't know, since the start: each count at most `error` too high."""
        counted = view.unknown_hosts
        top = [dataclasses.asdict(asked) for asked in counted.top(limit)] if counted else []
        return {"counting": counted is not None, "requests": counted.requests if counted else 0, "hosts": top}

    @app.exception_handler(HTTPException)
    async def problem(_: Request, error: HTTPException) -> Response:
        body = {"type": "about:blank", "status": error.status_code, "detail": error.detail}
        return JSONResponse(body, error.status_code, media_type="application/problem+json")

    return app

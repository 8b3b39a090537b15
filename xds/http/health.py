"""Whether it lives, whether it is ready, and its metrics: for probes and scrapers, open to everybody."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from xds.http.exposition import exposed
from xds.http.lookup import LookupState, lookup_state
from xds.http.metrics import registry
from xds.http.view import View


class Health(BaseModel):
    status: str


class Ready(BaseModel):
    """``ready``: the directory is complete, so Envoys are answered; ``unready``: why not. ``stale``: GDS is silent for
    longer than ``gds.stale_after``. ``envoys_spared``: those that came back with other than the disk says, and keep it
    until GDS answers. Times are seconds."""

    ready: bool
    unready: str
    stale: bool
    domains: int
    pods: int
    epoch: str
    revision: int
    set_aside: int
    gds: str
    gds_revision: int
    gds_silent_seconds: float | None
    gds_error: str
    from_disk: bool
    envoys_spared: int
    hold: str
    state_error: str
    lookup: LookupState | None
    """Where GDS is asked for one host at a time."""


def health_api(view: View) -> APIRouter:
    api = APIRouter(tags=["health"])
    metrics = registry(view)

    @api.get("/healthz")
    async def health() -> Health:
        """The process lives."""
        return Health(status="ok")

    @api.get(
        "/readyz",
        responses={503: {"model": Ready, "description": "No whole snapshot of GDS, or none recent enough."}},
    )
    async def ready(response: Response) -> Ready:
        """The directory is complete, so Envoys are answered. It stays so while GDS is away, for ``gds.stale_after``."""
        directory, mirror, silent = view.directory, view.mirror, view.silent
        kept = view.kept()
        unready = view.unready
        response.status_code = 503 if unready else 200
        return Ready(
            ready=not unready,
            unready=unready,
            stale=view.stale,
            domains=len(directory.domains),
            pods=len(directory.pods),
            epoch=directory.epoch,
            revision=directory.revision,
            set_aside=directory.set_aside_total,
            gds=mirror.state,
            gds_revision=mirror.gds_revision,
            gds_silent_seconds=None if silent is None else round(silent, 3),
            gds_error=mirror.last_error,
            from_disk=kept.disk,
            envoys_spared=view.spared,
            hold=kept.hold.state if kept.hold else "none",
            state_error=kept.writes.error,
            lookup=lookup_state(view.lookup) if view.lookup else None,
        )

    @api.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Prometheus"}},
    )
    async def prometheus() -> Response:
        """The state, as Prometheus takes it."""
        return Response(await exposed(metrics), media_type=CONTENT_TYPE_LATEST)

    return api

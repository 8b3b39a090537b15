"""Builds the whole and runs it: the one module that knows every room."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import grpc
import structlog

from xds import service_manager
from xds.audit import Audit
from xds.busy_hosts import BusyHosts
from xds.cache import Cache
from xds.certificates import losses
from xds.edge_options import edge_of
from xds.edge_settings import host_and_port
from xds.edge_tls import EdgeTls, Options
from xds.followers import following
from xds.guard import Limits
from xds.http.access import Access as HttpAccess
from xds.http.app import create_app
from xds.http.feed import Feed
from xds.http.live import Live
from xds.http.serve import Https, serving
from xds.http.view import Counts, View
from xds.lookup.learner import Learner
from xds.measures import Measures
from xds.memory import giving_back
from xds.operator import Operator
from xds.own_certificates import OwnCertificates
from xds.pipeline import Pace, Pipeline
from xds.protocol.stream import Settled, Stream
from xds.resources.edge import EdgeResources
from xds.resources.tls import Tls
from xds.resources.types import Update
from xds.server.access import Access
from xds.server.credentials import mtls
from xds.server.handshakes import Handshakes
from xds.server.paced import Paced
from xds.server.refusals import Refusals
from xds.server.revocation import Revocations
from xds.server.xds import XdsServer
from xds.settings import Settings, Xds
from xds.standing import Standing
from xds.state.folder import StateFolder
from xds.tokens import FILE as TOKEN
from xds.tokens import read as read_token
from xds.traces import starting as traces
from xds.tracker import Tracker
from xds.unknown_hosts import UnknownHosts

log = structlog.get_logger()

COLLECT = 10_000, 5, 500
"""The collector's thresholds (gc.set_threshold): a collection of what is new looks at 50,000 objects at most, which
takes some milliseconds; one of everything is met by no change, and by no fleet that comes back."""


async def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises PointsmanError when it can't start."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    edge = settings.edge
    resources = EdgeResources(
        edge.tables,
        timedelta(seconds=edge.connect_timeout),
        edge.crowded,
        pods_http2=edge.pods_http2,
        acme=host_and_port(edge.acme) if edge.acme else None,
        asking=settings.gds.mode == "lookup",
        idle=timedelta(seconds=edge.timeouts.transfer_idle),
        clock=loop.time,
    )
    resources.warm(edge_of(settings, Tls(edge.certificate)))
    _settle_objects()
    cache = Cache(loop.time)
    measures = Measures()
    tls = EdgeTls(
        _tls(settings),
        partial(_publish_secrets, cache, measures),
        lambda tls: pipeline.listen(edge_of(settings, tls)),
        # Where hosts are asked for one by one, a customer who comes for the first time isn't known at the handshake.
        lambda host: (
            pipeline.directory.lookup(host) is not None
            or (settings.gds.mode == "lookup" and tls.index.covering(host) is not None)
        ),
    )
    tls.start()
    refusals = Refusals()
    handshakes = Handshakes(refusals)
    busy_hosts = BusyHosts() if settings.gds.mode == "lookup" else None
    unknown_hosts = UnknownHosts(edge.unknown_host.remember) if edge.unknown_host.count else None
    server = XdsServer(
        cache,
        settings.xds.limits,
        _access(settings.xds),
        refusals=refusals,
        handshakes=handshakes,
        unknown_hosts=unknown_hosts,
        busy_hosts=busy_hosts,
        on_settled=lambda stream, node, settled: _settled(tracker, pipeline, tls, stream, node, settled),
        where=(lambda host, client: learner.where(host, client)) if settings.gds.mode == "lookup" else None,  # type: ignore[union-attr]
        refusing=Paced(settings.lookup.refuse_rate, settings.lookup.patience / 2),
        on_returned=lambda *held: pipeline.isolator.returned(*held),
        on_gone=lambda stream: _gone(tracker, pipeline, stream),
        on_joined=lambda stream, node: tracker.joined(stream, node),
        on_demand=tls.on_demand,
        drain=settings.xds.drain,
        measures=measures,
        defers=lambda: standing.gate.defers,
    )
    pipeline = Pipeline(
        resources,
        cache,
        edge_of(settings, tls.tls),
        Pace(settings.xds.coalesce_ms / 1000, edge.removal_grace),
        later=loop.call_later,
        clock=loop.time,
        on_complete=lambda: _complete(server, cache),
        takers=server.streams,
        taken=lambda delta: standing.taken(delta),
        on_published=lambda *position: tracker.published(*position),
        measures=measures,
    )
    standing = _standing(settings, pipeline, server)
    feed = Feed()
    http, header = settings.http, edge.pod_header or ""
    audit = Audit(_audit_file(settings))
    tracker = Tracker(
        pipeline.directory,
        publishes=lambda: cache.publishes,
        changes=lambda: pipeline.changes,
        held=lambda: standing.gate.hold is not None,
        searching=lambda: pipeline.isolator.searching,
        followed=lambda: standing.gate.followed,
        measures=measures,
        keep=settings.http.receipts,
        grace=settings.http.receipt_grace,
        listener=feed.tell,
    )
    credentials = _credentials(settings.xds, handshakes)
    async with contextlib.AsyncExitStack() as stack:
        tracker.witness = tracer = traces.started(settings.traces, tracker.receipts.name_of)
        if tracer is not None:
            stack.push_async_callback(asyncio.to_thread, tracer.close)
        follower = tracker.following(standing.gate)
        mirror, gds, asks_gds = await stack.enter_async_context(following(settings, standing, follower, busy_hosts))
        learner = mirror if isinstance(mirror, Learner) else None
        view = View(
            pipeline.directory,
            mirror.status,
            resources.tables,
            server.nodes,
            lambda: Counts(
                publishes=pipeline.publishes,
                changes=pipeline.changes,
                searches=pipeline.isolator.searches,
                handshakes=handshakes.begun_total,
                refused=refusals.counts,
                searching=pipeline.isolator.searching,
                splitting=pipeline.rollout.active,
                split_lacking=pipeline.rollout.lacking,
                splits_untaken=pipeline.rollout.untaken,
            ),
            tls,
            unknown_hosts,
            kept=standing.view,
            measures=measures,
            stale_after=settings.gds.stale_after,
            tracker=tracker,
            streams=server.streams,
            nodes_of=server.nodes_of,
            nodes_after=server.nodes_after,
            streams_after=server.streams_after,
            cache=cache,
            started_at=time.time(),
            mode=settings.gds.mode,
            lookup=learner,
            asks_gds=asks_gds,
            ending=stop.is_set,
            own_certificates=_own_certificates(settings).ends,
            audit=audit,
        )
        api = create_app(
            view,
            Operator(standing, audit, learner),
            _http_access(settings),
            feed,
            Live({node: str(url).rstrip("/") for node, url in http.envoy_admins.items()}, http.probe or "", header),
            _unknown(settings),
        )
        stack.enter_context(audit.writing())
        https = Https(http.certificate, http.key, http.client_ca) if http.certificate and http.key else None
        port = await stack.enter_async_context(serving(api, http.address, http.port, https))
        xds = await stack.enter_async_context(server.listening(settings.xds.address, settings.xds.port, credentials))
        log.info("listening", xds=xds, http=port, mtls=credentials is not None, gds=gds)
        service_manager.listening(f"xDS on {settings.xds.address}:{xds}, HTTP on {http.address}:{port}")
        tasks = [
            asyncio.create_task(standing.run(mirror), name="mirror"),
            asyncio.create_task(tls.run(), name="tls"),
            asyncio.create_task(tracker.run(), name="receipts"),
            asyncio.create_task(
                giving_back(lambda: pipeline.changes + mirror.status.read, lambda: pipeline.quiet), name="memory"
            ),
            asyncio.create_task(service_manager.alive(), name="service manager"),
            asyncio.create_task(stop.wait(), name="stop"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            service_manager.ending(settings.xds.announce + settings.xds.drain)
            if stop.is_set() and settings.xds.announce:
                log.info("ending", announced_for=settings.xds.announce)
                await asyncio.sleep(settings.xds.announce)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            log.info("stopped")


def _publish_secrets(cache: Cache, measures: Measures, update: Update) -> None:
    measures.triggered("certificate")
    cache.publish(update)


def _http_access(settings: Settings) -> HttpAccess:
    http = settings.http
    public = http.loopback if http.public_read is None else http.public_read
    token = http.token_file or settings.state.folder / TOKEN
    return HttpAccess(
        partial(read_token, token),
        public,
        local=http.public_read is None,
        certificates=http.client_ca is not None,
    )


def _audit_file(settings: Settings) -> Path | None:
    if settings.http.audit_file is not None:
        return settings.http.audit_file
    return settings.state.folder / "audit.log" if settings.state.enabled else None


def _unknown(settings: Settings) -> str:
    unknown = settings.edge.unknown_host
    if settings.gds.mode == "lookup":
        return "GDS is asked for it, and it is routed where that says; 404 when GDS doesn't know it either"
    if unknown.redirect:
        return f"302 to {unknown.redirect}"
    return f"404 with the page {unknown.page}" if unknown.page else "404"


def _settled(tracker: Tracker, pipeline: Pipeline, tls: EdgeTls, stream: Stream, node: str, settled: Settled) -> None:
    tls.settled(settled)
    tracker.settled(stream, settled)
    pipeline.settled(stream, node, settled)


def _gone(tracker: Tracker, pipeline: Pipeline, stream: Stream) -> None:
    tracker.left(stream)
    pipeline.gone(stream)


def _complete(server: XdsServer, cache: Cache) -> None:
    cache.begin()
    _settle_objects()
    server.open_gate()


def _settle_objects() -> None:
    """What there is now lives as long as the process: the garbage collector needn't look at it again and again, which
    takes tenths of a second at a million domains."""
    gc.freeze()
    gc.set_threshold(*COLLECT)


def _standing(settings: Settings, pipeline: Pipeline, server: XdsServer) -> Standing:
    state, guard = settings.state, settings.guard
    folder = StateFolder(state.folder, state.keep) if state.enabled else None
    # Where hosts are asked for one by one, nobody is known in the beginning.
    empty = guard.allow_empty or settings.gds.mode == "lookup"
    removed = settings.lookup.minimum if settings.gds.mode == "lookup" else None
    limits = Limits(guard.share, guard.minimum, guard.enabled, guard.window, guard.least, empty, removed)
    token = settings.http.token_file is None
    return Standing(pipeline, folder, limits, token=token, unserved=server.turn_away)


def _tls(settings: Settings) -> Options:
    edge, tls, guard = settings.edge, settings.edge.tls, settings.guard
    return Options(
        folder=edge.certificates,
        certificate=edge.certificate,
        unknown=tls.unknown_sni,
        on_demand=tls.on_demand.enabled,
        names=tls.on_demand.names,
        names_together=tls.on_demand.names_together,
        idle=tls.on_demand.idle,
        prefetch=tls.on_demand.prefetch,
        busiest=tls.on_demand.prefetch_busiest,
        handshake_timeout=tls.on_demand.handshake_timeout,
        ticket_secret=tls.tickets.secret,
        ticket_rotation=tls.tickets.rotation,
        losses=losses.Limits(guard.share, guard.window, guard.enabled),
    )


def _own_certificates(settings: Settings) -> OwnCertificates:
    xds, http, gds = settings.xds, settings.http, settings.gds
    shown = {
        "xds.certificate": xds.certificate,
        "http.certificate": http.certificate,
        "gds.certificate": gds.certificate,
    }
    trusted = {"xds.client_ca": xds.client_ca, "http.client_ca": http.client_ca, "gds.ca": gds.ca}
    return OwnCertificates(
        {name: path for name, path in shown.items() if path}, {name: path for name, path in trusted.items() if path}
    )


def _access(xds: Xds) -> Access:
    revocations = Revocations(xds.access.crl, xds.client_ca) if xds.access.crl and xds.client_ca else None
    return Access([rule.made() for rule in xds.access.rules], revocations=revocations, plaintext=xds.plaintext)


def _credentials(xds: Xds, handshakes: Handshakes) -> grpc.ServerCredentials | None:
    if xds.plaintext or xds.certificate is None or xds.key is None or xds.client_ca is None:
        return None
    return mtls(xds.certificate, xds.key, xds.client_ca, handshakes.begun)

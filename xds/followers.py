"""Who follows GDS, as the settings choose: the mirror of a watch, or the learner of answers for one host at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from xds.busy_hosts import BusyHosts
from xds.gds.client import GdsClient, Timeouts
from xds.gds.entry import Asks
from xds.gds.mirror import Follower, Mirror
from xds.lookup.client import LookupClient, Wait
from xds.lookup.learner import Learner, Options
from xds.lookup.resolver import Limits
from xds.settings import Settings
from xds.standing import Standing


@asynccontextmanager
async def following(
    settings: Settings, standing: Standing, follower: Follower, busy: BusyHosts | None = None
) -> AsyncIterator[tuple[Mirror | Learner, str, Asks | None]]:
    """The one that was chosen, where its GDS is, for logs, and who asks that for one host's entry, if it may have them.
    ``follower``: who is told, the gate in the end. Raises CertificateError, or SettingsError."""
    gds = settings.gds
    credentials = gds.credentials
    if gds.mode == "watch":
        timeouts = Timeouts(gds.connect_timeout, gds.read_timeout)
        async with GdsClient(str(gds.url), timeouts, credentials) as client:
            yield Mirror(client, follower, in_slices=standing.in_slices), client.shown, client.entry
        return
    options = options_of(settings)
    wait = Wait(gds.connect_timeout, options.limits.timeout)
    connections = options.limits.concurrency + options.limits.ordering + options.refreshing
    async with LookupClient(str(gds.url), settings.lookup.client, credentials, wait, connections) as asker:
        yield Learner(standing.gate, follower, asker, options, standing.in_slices, busy=busy), asker.shown, None


def options_of(settings: Settings) -> Options:
    lookup, guard = settings.lookup, settings.guard
    quarter = max(1, lookup.concurrency // 4)
    limits = Limits(
        rate=lookup.rate,
        burst=lookup.burst,
        concurrency=lookup.concurrency,
        ordering=quarter,
        timeout=lookup.timeout,
        patience=lookup.patience,
        waiting=lookup.waiting,
        failures=lookup.failures,
        pause=lookup.pause,
        unknown_for=lookup.unknown_for,
        remember=lookup.remember,
    )
    return Options(
        lookup.pods,
        limits,
        refresh=lookup.refresh,
        refresh_rate=lookup.refresh_rate,
        refreshing=quarter,
        grace=lookup.grace,
        domains=lookup.domains,
        share=guard.share,
        minimum=guard.minimum,
        few=lookup.minimum,
    )

"""A GDS that is asked for one host at a time: whether it answers, says no for nobody, and yes for somebody."""

from __future__ import annotations

from collections.abc import Sequence

from xds.check.finding import Finding, fail, ok, skipped, warn
from xds.errors import PointsmanError, StateError
from xds.gds.model import normalise_host
from xds.lookup.client import LookupClient, Wait
from xds.settings import Settings
from xds.state.folder import StateFolder

NOBODY = "pointsman-check.invalid"
"""A host that no directory has."""
KNOWN = 5
"""Hosts of the state folder that are asked for."""
_NAME = "gds-hosts"


async def look(settings: Settings, hosts: Sequence[str]) -> list[Finding]:
    """``hosts``: that GDS should know; without any, some of the state folder's are taken. Never raises."""
    lookup = settings.lookup
    advice = "does GDS run, and is the URL right? (settings gds.*, lookup.client.*)"
    try:
        wait = Wait(settings.gds.connect_timeout, lookup.timeout)
        async with LookupClient(str(settings.gds.url), lookup.client, settings.gds.credentials, wait) as client:
            pod = await client.ask(NOBODY)
            if pod is not None:
                said = f"{settings.gds.url} says that {NOBODY} is on pod {pod!r}"
                return [fail("gds", said, "it must say that it doesn't know a host (setting lookup.client)")]
            found = [ok("gds", f"{client.shown}: asked for a host, it answers that it doesn't know it")]
            try:
                return [*found, await _known(client, hosts or _kept(settings))]
            except PointsmanError as error:
                return [*found, fail(_NAME, str(error), advice)]
    except PointsmanError as error:
        return [fail("gds", str(error), advice)]


async def _known(client: LookupClient, hosts: Sequence[str]) -> Finding:
    """Raises PointsmanError. A GDS at a wrong base path may say 404 to everything, which is a no like any other."""
    if not hosts:
        return skipped(_NAME, "no host is known here that GDS could be asked for", "name one that it has: --host")
    answers = {host: await client.ask(host) for host in map(normalise_host, hosts)}
    there = [f"{host} on {pod}" for host, pod in answers.items() if pod is not None]
    if not there:
        return warn(
            _NAME,
            f"{client.shown} knows none of {', '.join(answers)}",
            "is its base path right, and is it the GDS that has these? (settings gds.url, lookup.client.path)",
        )
    missing = [host for host, pod in answers.items() if pod is None]
    rest = f"; it doesn't know {', '.join(missing)}" if missing else ""
    return ok(_NAME, f"{client.shown} has {', '.join(there)}{rest}")


def _kept(settings: Settings) -> list[str]:
    """From all over the newest state on disk, which is only read: a control plane may be using it."""
    if not settings.state.enabled:
        return []
    folder = StateFolder(settings.state.folder, settings.state.keep)
    try:
        newest = [folder.at(kept.revision, kept.epoch) for kept in folder.kept(1)]
    except StateError:
        return []  # the check of the state folder speaks of that
    hosts = [host for state in newest for host in state.domains if not host.startswith("*")]
    return hosts[:: max(1, -(-len(hosts) // KNOWN))]

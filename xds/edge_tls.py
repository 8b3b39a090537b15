"""The edge's TLS put together: the folder's certificates, who is shown which, and the keys of session tickets."""

from __future__ import annotations

import asyncio
import os
import secrets as random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import structlog

from xds.certificates.customers import Customers
from xds.certificates.folder import Folder
from xds.certificates.index import Entry, Index
from xds.certificates.leases import Leases
from xds.certificates.losses import Limits
from xds.certificates.pem import read_pem
from xds.certificates.reading import Clock
from xds.certificates.tickets import SECRET_BYTES, ticket_keys, until_next
from xds.errors import CertificateError
from xds.protocol.state import Settled
from xds.resources.secrets import CertificatePair, secret, ticket_secret
from xds.resources.tls import TICKETS, Tls
from xds.resources.types import SECRET, Resource, Update, resource
from xds.server.files import Files
from xds.server.on_demand import OnDemand

log = structlog.get_logger()

_RANK = 2.0
"""Seconds between two looks at which names are asked for most."""
_FADE = 8
"""First leases after which what was asked for counts half: those of busy names last up to 32."""
_LOOK = 60.0
"""Seconds between two looks at the tickets' secret."""


_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Options:
    """The settings `edge.certificates`, `edge.certificate`, `edge.tls.*`, and `guard` for losses. Times are seconds."""

    folder: Path
    certificate: str = "edge"
    unknown: Literal["default", "refuse"] = "default"
    on_demand: bool = False
    names: int = 2_000
    names_together: int = 20_000
    idle: float = 3_600.0
    prefetch: tuple[str, ...] = ()
    busiest: int = 0
    handshake_timeout: float = 5.0
    ticket_secret: Path | None = None
    ticket_rotation: int = 28_800
    losses: Limits = _LIMITS


class EdgeTls:
    """``publish`` takes the secrets that all Envoys ask for; ``changed`` is told when the listener's part is another;
    ``known`` says whether the directory knows a host. ``clock``: seconds since 1970."""

    def __init__(
        self,
        options: Options,
        publish: Callable[[Update], object],
        changed: Callable[[Tls], None],
        known: Callable[[str], bool],
        *,
        clock: Clock = time.time,
    ) -> None:
        self.folder = Folder(
            options.folder,
            self._certificates_changed,
            self._used,
            own=options.certificate,
            limits=options.losses,
            clock=clock,
        )
        stranger = options.certificate if options.unknown == "default" else ""
        self.customers = Customers(self.folder, known, stranger)
        self.on_demand: OnDemand | None = None
        if options.on_demand:
            leases = Leases(options.names, options.idle, options.names_together)
            self.on_demand = OnDemand(self.customers, leases, time.monotonic, "" if stranger else options.certificate)
        self._options = options
        self._publish = publish
        self._changed = changed
        self._clock = clock
        self._names: tuple[str, ...] = ()
        self._shown: tuple[Resource, CertificatePair] | None = None
        self._busiest: tuple[str, ...] = ()
        self._ticket_file = Files(*([options.ticket_secret] if options.ticket_secret else []))
        self._ticket_secret = random.token_bytes(SECRET_BYTES)

    @property
    def index(self) -> Index:
        return self.folder.index

    @property
    def certificate(self) -> str:
        """The name of the service's own."""
        return self._options.certificate

    @property
    def tls(self) -> Tls:
        """The listener's part."""
        options = self._options
        made = Tls(options.certificate, self._names, options.unknown, tickets=True)
        made = replace(made, session=timedelta(seconds=options.ticket_rotation))
        if options.on_demand:
            timeout = timedelta(seconds=options.handshake_timeout)
            made = replace(made, on_demand=True, prefetch=options.prefetch, busiest=self._busiest)
            made = replace(made, handshake_timeout=timeout)
        return made

    def start(self) -> None:
        """Reads and publishes what every Envoy needs. Raises CertificateError when that can't be used."""
        pair, entry = self.folder.first(self._options.certificate)
        self._names = self._hosts(entry)
        self._show(pair)
        if self._options.ticket_secret is not None:
            self._ticket_file.changed()
            self._ticket_secret = _ticket_secret(self._options.ticket_secret)
        self._publish_tickets()

    async def run(self) -> None:
        """For ever."""
        _advise(self._options.ticket_secret)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.folder.run(), name="certificates")
            tasks.create_task(self._rotate_tickets(), name="tickets")
            if self.on_demand is not None:
                tasks.create_task(self.on_demand.sweep(), name="certificates on demand")
                tasks.create_task(self._rank(self.on_demand), name="busiest names")

    async def _rank(self, on_demand: OnDemand) -> None:
        """An Envoy that starts asks for the busiest names, as far as its cap leaves room."""
        options = self._options
        count = max(0, min(options.busiest, options.names // 2 - len(options.prefetch)))
        faded = time.monotonic()
        while count:
            await asyncio.sleep(_RANK)
            if time.monotonic() >= faded + _FADE * options.idle:
                on_demand.fade()
                faded = time.monotonic()
            # In order of the names: two that change places change nothing.
            busiest = tuple(sorted(on_demand.asked_most(count, options.prefetch)))
            if busiest != self._busiest:
                self._busiest = busiest
                self._changed(self.tls)

    async def _certificates_changed(self, names: Collection[str]) -> None:
        if self._options.certificate in names:
            self._service_changed()
        if self.on_demand is not None:
            await self.on_demand.renew(names)

    def _service_changed(self) -> None:
        pair = self.folder.kept(self._options.certificate)
        entry = self.index.get(self._options.certificate)
        if pair is None or entry is None:
            return
        self._show(pair)
        names = self._hosts(entry)
        if names != self._names:
            self._names = names
            self._changed(self.tls)

    def _hosts(self, entry: Entry) -> tuple[str, ...]:
        """Those that the service's certificate is for. Another order in a renewed one must not change the listener:
        that drains connections."""
        if not entry.facts.names:
            log.warning(
                "certificate",
                certificate=self._options.certificate,
                reason="it is for addresses alone: which hosts belong to it can't be told, so edge.misdirected has no "
                "effect and every host is served on every connection",
                advice="add the service's host names to its subjectAltName",
            )
        return tuple(sorted(entry.facts.names))

    def _used(self, name: str) -> bool:
        return name == self._options.certificate or (self.on_demand is not None and self.on_demand.uses(name))

    def settled(self, settled: Settled) -> None:
        """An Envoy ACKed or NACKed secrets that all are sent."""
        version = settled.versions.get(self._options.certificate) if settled.kind is SECRET else None
        if self._shown is not None and version == self._shown[0].version:
            self.folder.settled(self._options.certificate, self._shown[1], settled.error)

    def _show(self, pair: CertificatePair) -> None:
        made = resource(SECRET, pair.name, bytes(secret(pair)))
        self._shown = made, pair
        self._publish({SECRET: {pair.name: made}})

    async def _rotate_tickets(self) -> None:
        while True:
            await asyncio.sleep(min(_LOOK, until_next(self._clock(), self._options.ticket_rotation) + 0.01))
            if self._options.ticket_secret is not None and self._ticket_file.changed():
                try:
                    self._ticket_secret = _ticket_secret(self._options.ticket_secret)
                except CertificateError as error:
                    log.error("tickets", reason=str(error), kept="the secret before")
            self._publish_tickets()

    def _publish_tickets(self) -> None:
        keys = ticket_keys(self._ticket_secret, self._clock(), self._options.ticket_rotation)
        self._publish({SECRET: {TICKETS: resource(SECRET, TICKETS, bytes(ticket_secret(TICKETS, keys)))}})


def _ticket_secret(path: Path) -> bytes:
    content = read_pem(path)
    if len(content) < SECRET_BYTES:
        raise CertificateError(
            f"secret of session tickets {path}: {len(content)} bytes; at least {SECRET_BYTES} random ones are needed "
            "(settings edge.tls.tickets.secret)"
        )
    return content


def _advise(secret: Path | None) -> None:
    if secret is None:
        log.warning(
            "tickets",
            reason="their secret is this process's own: no session is resumed after its restart, or at the Envoys of "
            "another control plane",
            advice="set edge.tls.tickets.secret to a file of 32 random bytes, the same for all control planes",
        )
    elif os.stat(secret).st_mode & 0o007:
        log.warning(
            "tickets", reason=f"every user may read {secret}", advice="chmod 600, or 640 for a group of its own"
        )

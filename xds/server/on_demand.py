"""Certificates on demand: what each stream of secrets was handed, loaded when it asks and withdrawn when it is idle.

Envoy opens a stream of its own for each name that a client said. What is handed to a stream is its view of the
secrets; a name that isn't to be had is told as removed, and the handshake fails at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from itertools import islice
from typing import Protocol

import structlog

from xds.cache import Changed
from xds.certificates.busiest import Busiest
from xds.certificates.customers import Shown
from xds.certificates.leases import Leases
from xds.protocol.state import Settled
from xds.resources.types import SECRET, Resource

log = structlog.get_logger()

SWEEP = 2.0
"""Seconds between two looks for leases that are over and names that left the directory."""
COUNTED = 2_000
"""Names of which it is counted how often they are asked for."""
STRANGERS = 64
"""Names outside the directory for which one Envoy holds the default certificate at a time."""
_SLICE = 2_000
_INTERNAL = "#"
"""Secrets whose name begins so aren't certificates: a client that names one as its host must not get it to Envoy."""


class Source(Protocol):
    """`xds.certificates.customers.Customers`, to this module."""

    stranger: str

    def allowed(self, name: str) -> bool: ...

    def certificate(self, name: str) -> str: ...

    def secret(self, name: str) -> Awaitable[Shown | None]: ...

    def outdated(self, shown: Shown) -> bool: ...

    def settled(self, shown: Shown, error: str | None) -> None: ...


class Handed(Mapping[str, Resource]):
    """One stream's view: the ``fixed`` secrets, but for those that no client may name, and what it was handed."""

    def __init__(self, owner: OnDemand, fixed: Mapping[str, Resource], changed: Callable[[Changed], None]) -> None:
        self.holder = ""
        self.changed = changed
        self.names: dict[str, Shown] = {}
        self._owner = owner
        self._fixed = fixed

    def __getitem__(self, name: str) -> Resource:
        shown = self.names.get(name)
        if shown is None and self._owner.hides(name):
            raise KeyError(name)
        return self._fixed[name] if shown is None else shown.resource

    def __iter__(self) -> Iterator[str]:
        return iter({*(name for name in self._fixed if not self._owner.hides(name)), *self.names})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    # A stream is itself, whatever it holds.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    async def want(self, holder: str, names: Collection[str]) -> None:
        """What there is of ``names`` is in the view when this returns."""
        self.holder = holder
        for name in names:
            if name not in self._fixed or self._owner.hides(name):
                await self._owner.hand(self, name)

    def drop(self, names: Collection[str]) -> None:
        """The stream wants these no longer."""
        for name in names:
            self._owner.take_back(self, name)

    def settled(self, settled: Settled) -> None:
        """The stream ACKed or NACKed what it was sent."""
        for name, version in settled.versions.items():
            shown = self.names.get(name)
            if shown is not None and shown.resource.version == version:
                self._owner.settled(shown, settled.error)

    def close(self) -> None:
        """The stream has ended."""
        self.drop(list(self.names))


class OnDemand:
    """``clock`` is monotonic seconds. ``own``: a certificate that no client gets by naming it as its host."""

    def __init__(self, source: Source, leases: Leases, clock: Callable[[], float], own: str = "") -> None:
        self.asked = 0
        self.withdrawn = 0
        self._own = own
        self._source = source
        self._leases = leases
        self._clock = clock
        self._holders: dict[str, dict[Handed, None]] = {}
        self._used: dict[str, int] = {}
        self._lately = Busiest(COUNTED)

    def hides(self, name: str) -> bool:
        """Whether ``name`` is of those secrets that listeners name, and no client may."""
        return name.startswith(_INTERNAL) or name == self._own

    @property
    def held(self) -> int:
        """Names that Envoys hold, counted for each Envoy."""
        return len(self._leases)

    def asked_most(self, count: int, beside: Collection[str] = ()) -> list[str]:
        """Names that Envoys asked for most of late, whether one holds them now or not, but for those ``beside``."""
        found = (name for name in self._lately.top(COUNTED) if name not in beside and self._source.allowed(name))
        return list(islice(found, count))

    def fade(self) -> None:
        """What was asked for before counts half of what is asked for from now on."""
        self._lately.fade()

    def uses(self, certificate: str) -> bool:
        """Some Envoy holds it."""
        return certificate in self._used

    def opened(self, fixed: Mapping[str, Resource], changed: Callable[[Changed], None]) -> Handed:
        """For one new stream; ``changed`` is told of what is replaced or withdrawn."""
        return Handed(self, fixed, changed)

    async def hand(self, handed: Handed, name: str) -> None:
        """Puts ``name`` into the stream's view if it is to be had, and withdraws what is too much for its Envoy."""
        self.asked += 1
        shown = await self._source.secret(name)
        if shown is None:
            self.take_back(handed, name)
            return
        self._put(handed, name, shown)
        stranger = shown.certificate == self._source.stranger and not self._source.allowed(name)
        most = STRANGERS if stranger else None
        group = "" if stranger else shown.certificate
        for holder, victim in self._leases.asked(handed.holder, name, group, self._clock(), most=most):
            self._withdraw(holder, victim)
        if not stranger:
            self._lately.asked(name, self._leases.times(handed.holder, name))

    def take_back(self, handed: Handed, name: str) -> None:
        if name in handed.names:
            self._remove(handed, name)
            if not any(other.holder == handed.holder for other in self._holders.get(name, ())):
                self._leases.dropped(handed.holder, name)

    def settled(self, shown: Shown, error: str | None) -> None:
        """An Envoy ACKed what it was shown, or NACKed it with that error."""
        self._source.settled(shown, error)

    async def renew(self, certificates: Collection[str]) -> None:
        """These are other ones now, or gone: who holds one, or should hold one, is told."""
        concerned = set(certificates)
        for name in list(self._holders):
            holders = self._holders.get(name)
            if not holders:
                continue
            held = next(iter(holders)).names[name]
            if held.certificate in concerned or self._source.certificate(name) != held.certificate:
                await self._replace(name)

    async def sweep(self) -> None:
        """For ever: withdraws what is over."""
        while True:
            await asyncio.sleep(SWEEP)
            for holder, name in list(self._leases.due(self._clock())):
                self._withdraw(holder, name)
            names = list(self._holders)
            for start in range(0, len(names), _SLICE):
                for name in names[start : start + _SLICE]:
                    holders = self._holders.get(name)
                    if holders and self._stale(name, next(iter(holders)).names[name]):
                        await self._replace(name)
                await asyncio.sleep(0)

    def _stale(self, name: str, shown: Shown) -> bool:
        return shown.certificate != self._source.certificate(name) or self._source.outdated(shown)

    async def _replace(self, name: str) -> None:
        shown = await self._source.secret(name)
        for handed in list(self._holders.get(name, ())):
            if shown is None:
                self.take_back(handed, name)
                self.withdrawn += 1
            else:
                self._put(handed, name, shown)
            handed.changed({SECRET: [name]})

    def _withdraw(self, holder: str, name: str) -> None:
        for handed in list(self._holders.get(name, ())):
            if handed.holder == holder:
                self._remove(handed, name)
                self.withdrawn += 1
                handed.changed({SECRET: [name]})

    def _put(self, handed: Handed, name: str, shown: Shown) -> None:
        if name in handed.names:
            self._remove(handed, name)
        handed.names[name] = shown
        self._holders.setdefault(name, {})[handed] = None
        self._used[shown.certificate] = self._used.get(shown.certificate, 0) + 1

    def _remove(self, handed: Handed, name: str) -> None:
        shown = handed.names.pop(name)
        holders = self._holders[name]
        del holders[handed]
        if not holders:
            del self._holders[name]
        self._used[shown.certificate] -= 1
        if not self._used[shown.certificate]:
            del self._used[shown.certificate]

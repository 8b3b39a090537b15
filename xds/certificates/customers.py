"""The secret for a host that a client named: of customers in the directory, with a certificate in the folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from xds.certificates.folder import Folder
from xds.certificates.index import Entry
from xds.errors import RecordError
from xds.gds.model import check_domain
from xds.resources.secrets import CertificatePair, secret
from xds.resources.types import SECRET, Resource, resource

_INDEXING = 10.0
"""Seconds that a name which isn't found waits while the folder is still read."""

Refused = Literal["no host", "not in the directory", "no certificate", "certificate unusable"]


@dataclass(frozen=True, slots=True)
class Shown:
    """``certificate`` is its name in the folder, ``pair`` what the resource was made of."""

    certificate: str
    resource: Resource
    pair: CertificatePair | None = None


class Customers:
    """``known``: whether the directory knows a host, exactly or by a wildcard. ``stranger``: the certificate that is
    shown for every other name; empty for none."""

    def __init__(self, folder: Folder, known: Callable[[str], bool], stranger: str = "") -> None:
        self.refused: Counter[Refused] = Counter()
        self.stranger = stranger
        self._folder = folder
        self._known = known

    def allowed(self, name: str) -> bool:
        """Whether the directory still knows it."""
        return self._known(name.lower())

    def certificate(self, name: str) -> str:
        """Which certificate is for ``name`` now, as far as that is known; empty for none."""
        entry = self._folder.index.covering(name.lower()) if self.allowed(name) else None
        return entry.place.name if entry else self.stranger

    def outdated(self, shown: Shown) -> bool:
        """Whether the certificate's pair is another one by now."""
        pair = self._folder.kept(shown.certificate)
        return pair is not None and shown.pair is not None and pair is not shown.pair

    def settled(self, shown: Shown, error: str | None) -> None:
        """An Envoy ACKed it, or NACKed it with that error."""
        if shown.pair is not None:
            self._folder.settled(shown.certificate, shown.pair, error)

    async def secret(self, name: str) -> Shown | None:
        """For the SNI ``name``; None when a client that says so gets no certificate."""
        host = name.lower()
        reason = await self._missing(host)
        entry = self._folder.index.covering(host) if reason is None else None
        if entry is not None and (shown := await self._shown(name, entry.place.name)):
            return shown
        self.refused[reason or "certificate unusable"] += 1
        return await self._shown(name, self.stranger) if self.stranger else None

    async def _missing(self, host: str) -> Refused | None:
        try:
            check_domain(host)
        except RecordError:
            return "no host"
        if not self._known(host):
            return "not in the directory"
        if self._find(host) is None and not self._folder.index.complete:
            # Most are called as their host, and then needn't wait until all are read.
            await self._folder.load(host)
            if self._find(host) is None:
                await self._folder.complete(_INDEXING)
        return None if self._find(host) else "no certificate"

    def _find(self, host: str) -> Entry | None:
        return self._folder.index.covering(host)

    async def _shown(self, name: str, certificate: str) -> Shown | None:
        pair = await self._folder.load(certificate)
        if pair is None:
            return None
        return Shown(certificate, resource(SECRET, name, bytes(secret(pair, name))), pair)

"""The pairs in memory: those in use and some beside, and which to go back to when an Envoy rejects one. Pure.

A pair that is in use is never given up for want of room: when its files break, it is the only good one there is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from xds.certificates.index import Entry
from xds.resources.secrets import CertificatePair

BESIDE = 512
"""Pairs kept beside those in use, at least; twice as many at most."""


class Pairs:
    """``used`` says of which an Envoy holds the pair."""

    def __init__(self, used: Callable[[str], bool], beside: int = BESIDE) -> None:
        self._used = used
        self._beside = self._most = beside
        self._pairs: OrderedDict[str, CertificatePair] = OrderedDict()
        self._good: dict[str, tuple[CertificatePair, Entry]] = {}
        """What to go back to: the pair that an Envoy ACKed last, or the one in use before it, and its entry."""
        self._rejected: dict[str, tuple[CertificatePair, str]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def get(self, name: str) -> CertificatePair | None:
        return self._pairs.get(name)

    def asked(self, name: str) -> CertificatePair | None:
        """It is given up later than those nobody asks for."""
        if name in self._pairs:
            self._pairs.move_to_end(name)
        return self._pairs.get(name)

    def put(self, name: str, pair: CertificatePair, before: Entry | None) -> bool:
        """Whether it is another one. ``before``: the entry of the pair that it replaces."""
        held = self._pairs.get(name)
        if held == pair:
            return False  # the very same object stays: who holds it needn't compare
        if held is not None and before is not None and self._is_good(name, held):
            self._good.setdefault(name, (held, before))
        self._rejected.pop(name, None)
        self._pairs[name] = pair
        self._pairs.move_to_end(name)
        self._trim()
        return True

    def drop(self, name: str) -> None:
        """It isn't used any more; what Envoys rejected of that name is remembered."""
        self._pairs.pop(name, None)
        self._good.pop(name, None)

    def remove(self, name: str) -> None:
        """There is no such certificate any more."""
        self.drop(name)
        self._rejected.pop(name, None)

    def accepted(self, name: str, pair: CertificatePair, entry: Entry) -> None:
        """An Envoy ACKed it."""
        if self._pairs.get(name) is pair:
            self._good[name] = pair, entry

    def rejects(self, name: str, pair: CertificatePair) -> bool:
        """Whether an Envoy that NACKs it is right, as far as is known: no other one took it, nor was it replaced."""
        good = self._good.get(name)
        return self._pairs.get(name) is pair and (good is None or good[0] is not pair)

    def go_back(self, name: str, reason: str, *, keep: bool) -> Entry | None:
        """The newest pair was rejected for that reason: from now on the one before is used, whose entry is returned.
        Where there is none before, ``keep`` says to go on with it."""
        self._rejected[name] = self._pairs[name], reason
        good = self._good.get(name)
        if good is not None:
            self._pairs[name] = good[0]
            return good[1]
        if not keep:
            del self._pairs[name]
        return None

    def rejected(self, name: str, pair: CertificatePair) -> str:
        """Why an Envoy rejected this very pair; empty when none did."""
        found, reason = self._rejected.get(name, (None, ""))
        return reason if found == pair else ""

    def _is_good(self, name: str, pair: CertificatePair) -> bool:
        """As far as is known: it is in use, and no Envoy rejected it."""
        return self._used(name) and not self.rejected(name, pair)

    def _trim(self) -> None:
        """Now and then, so that it costs little however many are in use."""
        if len(self._pairs) <= self._most:
            return
        unused = [name for name in self._pairs if not self._used(name)]
        for name in unused[: max(0, len(unused) - self._beside)]:
            del self._pairs[name]
        self._good = {name: good for name, good in self._good.items() if self._used(name)}
        self._most = len(self._pairs) + self._beside

"""The records of GDS that can't be used, and why: shown, counted, and bounded however many there are."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace

SHOWN = 1_000
"""How many records set aside are shown with name and reason; the rest are only counted."""

_COUNTED = 1_000_000  # beyond SHOWN, 64 bits of hash each: at worst about 70 MB, for a GDS that sends only nonsense
_NAME = 300  # a name longer than this is never valid; its beginning is enough to know it by


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record that isn't used: ``kind`` is "domain", "pod" or "record"."""

    kind: str
    name: str
    reason: str
    revision: int


class Unusable:
    """The names whose newest record can't be used, each once: the first SHOWN whole, further ones by their hash.

    So the count goes down when a record is repaired or deleted, and a GDS that sends nonsense by the million
    can't fill our memory. Only above a million does the count stop at what is remembered.
    """

    def __init__(self) -> None:
        self.shown: dict[tuple[str, str], SetAside] = {}
        self._more: set[int] = set()

    def copy(self) -> Unusable:
        made = Unusable()
        made.shown, made._more = dict(self.shown), set(self._more)
        return made

    def __len__(self) -> int:
        return len(self.shown) + len(self._more)

    def __contains__(self, key: tuple[str, str]) -> bool:
        key = key[0], key[1][:_NAME]
        return key in self.shown or hash(key) in self._more

    def of(self, kind: str, name: str) -> SetAside:
        """Of one that is in here. Of those beyond SHOWN neither the reason nor the revision is known any more."""
        unknown = SetAside(kind, name[:_NAME], "it can't be used, like many others of GDS", 0)
        return self.shown.get((kind, name[:_NAME]), unknown)

    def among(self, domains: Container[str]) -> int:
        """How many of ``domains`` have an unusable record; of those that aren't shown it isn't known, nor counted."""
        return sum(kind == "domain" and name in domains for kind, name in self.shown)

    def add(self, record: SetAside) -> None:
        key = record.kind, record.name[:_NAME]
        if key in self.shown or (len(self.shown) < SHOWN and hash(key) not in self._more):
            self.shown[key] = replace(record, name=key[1])
        elif len(self._more) < _COUNTED:
            self._more.add(hash(key))

    def discard(self, kind: str, name: str) -> None:
        if self.shown or self._more:
            key = kind, name[:_NAME]
            self.shown.pop(key, None)
            self._more.discard(hash(key))

"""Finds the record that Envoy rejects among those that were published together, so that it harms only itself.

Pure. `Ledger` knows which records changed a resource since an Envoy last ACKed it. `Isolation` searches among them by
bisection, with the Envoy that NACKed as its witness: first nothing of what is suspected is published, which must be
ACKed, else the Envoy rejects what was proven good and no record is at fault; then half of it, and so on. What is
ACKed is proven and stays; a single record that is NACKed is refused. With one bad record among n that takes about
2 log2(n) publishes, and no other record is lost meanwhile, only late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from xds.delta import Content, Key
from xds.resources.types import ROUTE, ResourceId, ResourceType

MANY = 20_000
"""Records of one resource that are remembered as unproven; beyond, all that it holds is suspected."""

_FEW = 64  # that an Envoy may bring and we don't know, for the next one to be compared with it
_VERSIONS = 64  # of one resource, published and not ACKed yet


@dataclass
class _Unproven:
    """``records``: what each said when it was last proven, and the number of the publish that changed it last."""

    records: dict[Key, tuple[Content, int]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)


class Ledger:
    """Which records changed each resource since it was last ACKed by any Envoy."""

    def __init__(self) -> None:
        self._unproven: dict[ResourceId, _Unproven] = {}
        self._served: set[ResourceId] = set()
        self._proven: dict[ResourceId, str] = {}
        self._asked: dict[ResourceType, tuple[Mapping[str, str | None], dict[str, str | None]]] = {}
        """What `news` was asked last, and its answer, as long as nothing is learned."""
        self._publishes = 0

    def published(self, causes: Mapping[ResourceId, Mapping[str, Content]], versions: Mapping[ResourceId, str]) -> None:
        """``causes``: the names of the records that changed each resource, with what these said before."""
        self._publishes += 1
        self._asked.clear()
        for resource, changes in causes.items():
            if resource not in self._proven:
                continue
            held = self._unproven.setdefault(resource, _Unproven())
            kind = "domain" if resource[0] is ROUTE else "pod"
            alike: dict[Content, tuple[Content, int]] = {}
            for name, before in changes.items():
                key = kind, name
                first = held.records[key][0] if key in held.records else before
                held.records[key] = alike.get(first) or alike.setdefault(first, (first, self._publishes))
            if resource in versions:
                held.versions[versions[resource]] = self._publishes
                while len(held.versions) > _VERSIONS:
                    del held.versions[next(iter(held.versions))]
            if len(held.records) > MANY:
                self._forget(resource)

    def accepted(self, kind: ResourceType, versions: Mapping[str, str | None]) -> None:
        """An Envoy ACKed these."""
        for name, version in versions.items():
            resource = kind, name
            if version is None:
                self._forget(resource)
                continue
            if self._proven.get(resource) != version:
                self._proven[resource] = version
                self._asked.clear()
            held = self._unproven.get(resource)
            upto = held.versions.get(version) if held else None
            if held is None or upto is None:
                continue
            self._asked.clear()
            held.records = {key: kept for key, kept in held.records.items() if kept[1] > upto}
            if not held.records:
                del self._unproven[resource]

    def news(self, kind: ResourceType, versions: Mapping[str, str | None]) -> dict[str, str | None]:
        """What of this `returned` wouldn't know yet: of a thousand Envoys with the same, only the first brings some."""
        asked, news = self._asked.get(kind, (None, {}))
        if asked is versions or asked == versions:
            return news
        served, proven, unproven = self._served, self._proven, self._unproven
        news = {
            name: version
            for name, version in versions.items()
            if (resource := (kind, name)) not in served
            or (version is not None and (proven.get(resource) != version or resource in unproven))
        }
        if len(news) <= _FEW:  # else a client could have us remember whatever it says
            self._asked[kind] = versions, news
        return news

    def returned(self, kind: ResourceType, versions: Mapping[str, str | None], current: Mapping[str, str]) -> None:
        """An Envoy came with these, from another control plane or from us before: None where it didn't say which.

        ``current`` are those that are published, with their versions; what else a client names isn't remembered.
        """
        known = len(self._served)
        self._served.update((kind, name) for name in current)
        if len(self._served) > known:
            self._asked.clear()
        self.accepted(kind, {name: version for name, version in versions.items() if version == current.get(name, "")})

    def is_proven(self, resource: ResourceId, version: str) -> bool:
        """Some Envoy ACKed this very version: whoever rejects it has a reason of its own."""
        return self._proven.get(resource) == version

    def suspects(
        self, rejected: Iterable[ResourceId], everything: Callable[[ResourceId], Iterable[Key]], error: str
    ) -> dict[Key, Content]:
        """The records that may be at fault, with what they said when they were good.

        Of a resource that no Envoy ever ACKed, all records that ``everything`` gives may be; if its error names some,
        then those. But when Envoys serve an older state of it, which we don't know, none that isn't named is taken
        from them, and no pod at all: they keep what they have.
        """
        found: dict[Key, Content] = {}
        for resource in rejected:
            if resource in self._proven and resource in self._unproven:
                for key, (before, _) in self._unproven[resource].records.items():
                    found.setdefault(key, before)
            elif resource not in self._proven:
                records = list(everything(resource))
                named = [key for key in records if key[1].removeprefix("*.") in error]
                if resource in self._served:
                    named = records = [key for key in named if key[0] == "domain"]
                for key in named or records:
                    found.setdefault(key, None)
        return found

    def _forget(self, resource: ResourceId) -> None:
        self._asked.clear()
        self._unproven.pop(resource, None)
        self._proven.pop(resource, None)


@dataclass(frozen=True, slots=True)
class Trial:
    """What is to be published next: these records are used no longer, and then these are used again."""

    withhold: Mapping[Key, Content]
    restore: tuple[Key, ...]


class Isolation:
    """One search: `begin` and then `after` each verdict give what to publish, until None. What is withheld then, and
    only that, is ``bad``. ``suspects``: what each record said when it was good."""

    def __init__(self, suspects: Mapping[Key, Content]) -> None:
        self.bad: list[Key] = []
        self.trials = 0
        self.contrary = False
        """The witness rejected even what was proven: no record is at fault."""
        self._suspects = dict(suspects)
        self._state: Literal["base", "halving", "over"] = "base"
        self._group: list[Key] = []
        self._waiting: list[list[Key]] = []

    @property
    def over(self) -> bool:
        """The trial at hand is the last one, and needs no verdict."""
        return self._state == "over"

    def begin(self) -> Trial:
        """Nothing that is suspected."""
        return self._trial(self._suspects, ())

    def joined(self, changes: Mapping[Key, Content]) -> None:
        """These records changed meanwhile and are published with the trial at hand, so they are tried with it."""
        new = {key: before for key, before in changes.items() if key not in self._suspects}
        self._suspects |= new
        self._group += new

    def after(self, *, accepted: bool) -> Trial | None:
        """What comes after the verdict on the trial before; None when the search is over."""
        back: dict[Key, Content] = {}
        match self._state:
            case "over":
                return None
            case "base" if not accepted:
                self.contrary = True
                return self.give_up()
            case "base":
                self._state = "halving"
                everything = list(self._suspects)
                if len(everything) == 1:
                    self.bad = everything
                else:
                    self._waiting = _halves(everything)
            case "halving" if not accepted:
                back = {key: self._suspects[key] for key in self._group}
                if len(self._group) == 1:
                    self.bad += self._group
                else:
                    self._waiting += _halves(self._group)
        if self._waiting:
            self._group = self._waiting.pop()
            return self._trial(back, tuple(self._group))
        self._state = "over"
        return self._trial(back, ()) if back else None

    def give_up(self) -> Trial:
        """Everything again, as if nothing had been suspected."""
        self._state, self.bad = "over", []
        return self._trial({}, tuple(self._suspects))

    def _trial(self, withhold: Mapping[Key, Content], restore: tuple[Key, ...]) -> Trial:
        self.trials += 1
        return Trial(withhold, restore)


def _halves(group: list[Key]) -> list[list[Key]]:
    middle = len(group) // 2
    return [group[middle:], group[:middle]]

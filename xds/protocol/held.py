"""Versions by name, as one client holds them. Most clients of a fleet hold the same, so what is equal is kept once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from xds.resources.types import Resource

MANY = 64
"""Names from which on it is looked whether another client holds the same."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Versions beside the ``resources`` there were when the cache had published so often: the names in them that are at
    another version there, or not there; and those that are there and not in them, where a client may want all."""

    resources: Mapping[str, Resource]
    published: int | None
    differing: Sequence[str]
    lacking: Sequence[str]


class Whole(dict[str, str]):
    """Never changed once it is shared. ``compared``: what was found last when it was; of a fleet that comes back the
    next one will ask the same."""

    __slots__ = ("__weakref__", "compared")
    compared: Comparison | None


_wholes: WeakValueDictionary[int, Whole] = WeakValueDictionary()


def whole(versions: Mapping[str, str]) -> Whole:
    """What is kept of all that are equal to these."""
    if isinstance(versions, Whole):
        return versions
    key = sum(map(hash, versions.values()))
    found = _wholes.get(key)
    if found is None or found != versions:
        found = Whole(versions)
        found.compared = None
        _wholes[key] = found  # when it is finished: requests are read in other threads, too
    return found


_NOTHING = whole({})


def compare(
    versions: Mapping[str, str], resources: Mapping[str, Resource], published: int | None, *, wildcard: bool
) -> Comparison:
    """``published`` grows with each publish to ``resources``; None when nobody counts."""
    if published is None or not isinstance(versions, Whole):
        return _compared(versions, resources, published, wildcard)
    known = versions.compared
    if known is None or known.resources is not resources or known.published != published:
        known = _compared(versions, resources, published, wildcard)
        # Who lacks more than it holds isn't one of a fleet that comes back, and may be one of many others.
        versions.compared = known if len(known.lacking) <= len(versions) else None
    return known


def _compared(
    versions: Mapping[str, str], resources: Mapping[str, Resource], published: int | None, wildcard: bool
) -> Comparison:
    differing = [
        name
        for name, version in versions.items()
        if (current := resources.get(name)) is None or current.version != version
    ]
    lacking = [name for name in resources if name not in versions] if wildcard else []
    return Comparison(resources, published, differing, lacking)


class Held(MutableMapping[str, str]):
    """What is shared, and over it what is this client's own; None there stands for absent."""

    __slots__ = ("_own", "_shared", "_size")

    def __init__(self) -> None:
        self._shared = _NOTHING
        self._own: dict[str, str | None] = {}
        self._size = 0

    def begin(self, versions: Mapping[str, str]) -> None:
        """What the client says that it holds, before anything else is known of it."""
        self._size = len(versions)
        if self._size > MANY:
            self._shared = whole(versions)
        else:
            self._own = dict(versions)

    def share(self) -> None:
        """Looks whether the same is held elsewhere, once much is its own."""
        if len(self._own) > MANY:
            self._shared, self._own = whole(dict(self)), {}

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        own = self._own
        if name in own:
            version = own[name]
            return default if version is None else version
        return self._shared.get(name, default)

    def __getitem__(self, name: str) -> str:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return self._own[name] is not None if name in self._own else name in self._shared

    def __setitem__(self, name: str, version: str) -> None:
        own = self._own
        if (own[name] is None) if name in own else (name not in self._shared):
            self._size += 1
        own[name] = version

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._size -= 1
        if name in self._shared:
            self._own[name] = None
        else:
            del self._own[name]

    def __iter__(self) -> Iterator[str]:
        own = self._own
        yield from (name for name in self._shared if name not in own)
        yield from (name for name, version in own.items() if version is not None)

    def __len__(self) -> int:
        return self._size

"""A stream's view of the resources: all of them, but of the secrets only those that its identity may have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from xds.resources.types import Resource


class GrantedSecrets(Mapping[str, Resource]):
    """The secrets that ``may_have`` allows; others are as if they didn't exist. ``refused`` is told of each, once."""

    def __init__(
        self, secrets: Mapping[str, Resource], may_have: Callable[[str], bool], refused: Callable[[str], None]
    ) -> None:
        self._secrets = secrets
        self._may_have = may_have
        self._refused = refused
        self._told: set[str] = set()

    def __getitem__(self, name: str) -> Resource:
        found = self._secrets[name]
        if self._may_have(name):
            return found
        if name not in self._told:
            self._told.add(name)
            self._refused(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._secrets if self._may_have(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

"""How many domains each pod has, kept by what changes: a look at all of them would cost as much as there are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from xds.delta import Delta
from xds.slices import Work, cut


class Census:
    """Right as long as it is given every delta of the directory, from the first on."""

    def __init__(self) -> None:
        self._domains: dict[str, int] = {}

    @property
    def domains(self) -> Mapping[str, int]:
        """By pod; a pod without any isn't there."""
        return MappingProxyType(self._domains)

    def counting(self, delta: Delta) -> Work[None]:
        """Takes ``delta``, in slices."""
        counts = self._domains
        for some in cut(delta.domains.values()):
            for old, new in some:
                if new is not None:
                    counts[new] = counts.get(new, 0) + 1
                if old is not None:
                    counts[old] -= 1
                    if not counts[old]:
                        del counts[old]
            yield

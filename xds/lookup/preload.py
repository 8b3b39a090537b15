"""Which hosts of an old proxy's map may be taken as known: pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field

from xds.errors import RecordError
from xds.gds.model import PutDomain, check_domain


@dataclass(slots=True)
class Preloaded:
    """``changes``: those that become known; ``held``: so many of them are held back from the edge. ``kept``: hosts that
    were known already. ``refused``: host → reason."""

    changes: list[PutDomain] = field(default_factory=list)
    held: int = 0
    kept: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def taken(self) -> int:
        return len(self.changes)

    def look(
        self, hosts: Iterable[tuple[str, str]], pods: Container[str], known: Callable[[str], bool], room: int
    ) -> None:
        """``hosts``: each with its pod; ``room``: how many more may be known in all. It may be done again, with more
        hosts."""
        for host, pod in hosts:
            try:
                check_domain(host)
            except RecordError as error:
                self.refused[host] = str(error)
                continue
            if host.startswith("*"):
                self.refused[host] = "GDS can't be asked for a wildcard"
            elif pod not in pods:
                self.refused[host] = f"pod {pod[:80]!r} isn't in the pods file (setting lookup.pods)"
            elif known(host):
                self.kept += 1
            elif self.taken >= room:
                self.refused[host] = "as many domains are known as may be (setting lookup.domains)"
            else:
                self.changes.append(PutDomain(host, pod))

"""What a change puts at stake, told without making it: for the many changes that are small. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from xds.directory import Directory
from xds.gds.model import Change, DeleteDomain, DeletePod, Pod, PutDomain, PutPod
from xds.guard import Counts, ends_lost
from xds.slices import Work, cut


@dataclass(slots=True)
class Stake:
    """``domains`` and ``emptied``: the names of domains that would be routed otherwise or not at all, and of pods
    that would have no endpoint any more. ``removed``: of these domains those that wouldn't be routed. ``replaced``:
    how many pods would have none that they had before."""

    domains: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    emptied: set[str] = field(default_factory=set)
    replaced: int = 0

    @property
    def counts(self) -> Counts:
        moved, removed = len(self.domains) - len(self.removed), len(self.removed)
        return Counts(moved=moved, removed=removed, pods_emptied=len(self.emptied), pods_replaced=self.replaced)


def stake(changes: Iterable[Change], edge: Directory) -> Work[Stake | None]:
    """In slices. None when only making the change tells it: domains are on a pod that it removes."""
    found, domains, pods = Stake(), edge.domains, edge.pods
    last: dict[str, Pod] = {}
    for some in cut(changes):
        for change in some:
            match change:
                case PutDomain(domain, pod):
                    found.removed.discard(domain)
                    if domains.get(domain) not in (None, pod):
                        found.domains.add(domain)
                case DeleteDomain(domain):
                    if domain in domains:
                        found.domains.add(domain)
                        found.removed.add(domain)
                case DeletePod(name):
                    if edge.residents.get(name):
                        return None
                case PutPod(pod):
                    last[pod.name] = pod
        yield
    for name, pod in last.items():
        lost = ends_lost(pods.get(name), pod)
        if lost == "emptied":
            found.emptied.add(name)
        found.replaced += lost == "replaced"
    return found

"""Everything the edge is sent, made from the directory: each change in, the resources that it changes out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from xds.directory import Content, Delta, Key
from xds.resources.clusters import cluster, load_assignment
from xds.resources.listeners import Edge, listeners
from xds.resources.port80 import acme_cluster
from xds.resources.rescope import RESCOPE, rescoping_table
from xds.resources.routes import CROWDED, RouteTables, table_name, table_number
from xds.resources.scopes import encoded_scope, every_scope, keys_of, scope_name, table_for
from xds.resources.secrets import CertificatePair, secret
from xds.resources.types import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SCOPE,
    SECRET,
    Resource,
    ResourceId,
    Update,
    resource,
)


class EdgeResources:
    """Holds the route tables; what comes out of it is not kept."""

    def __init__(
        self,
        tables: int,
        connect_timeout: timedelta,
        crowded: int = CROWDED,
        *,
        pods_http2: bool = False,
        acme: tuple[str, int] | None = None,
    ) -> None:
        self.tables = RouteTables(tables, crowded)
        self._connect_timeout = connect_timeout
        self._pods_http2 = pods_http2
        self._acme = acme

    def fixed(self, edge: Edge) -> Update:
        """Listeners and scopes: of the directory they know at most which pairs are split."""
        return {**self.listeners(edge), SCOPE: _scopes(every_scope(self.tables))}

    def listeners(self, edge: Edge) -> Update:
        made = listeners(edge, len(self.tables))
        return {LISTENER: {listener.name: resource(LISTENER, listener.name, bytes(listener)) for listener in made}}

    def own_clusters(self) -> dict[str, Resource]:
        """Those that aren't pods; GDS knows nothing of them."""
        if self._acme is None:
            return {}
        made = acme_cluster(*self._acme, self._connect_timeout)
        return {made.name: resource(CLUSTER, made.name, bytes(made))}

    def every_table(self) -> Update:
        """All route tables, the empty ones too: they answer unknown hosts."""
        rescope = resource(ROUTE, RESCOPE, bytes(rescoping_table()))
        return {ROUTE: {**self._encoded(range(len(self.tables))), RESCOPE: rescope}}

    def step(self) -> Update | None:
        """The next step of pairs that are split or joined; None when there is none. What the one before changed must
        be at every Envoy."""
        step = self.tables.step()
        if step is None:
            return None
        keys = [key for pair in step.pairs for key in keys_of(pair)]
        scopes = _scopes((key, table_for(key, self.tables)) for key in keys)
        return {SCOPE: scopes, ROUTE: self._encoded(sorted(step.tables))}

    def secrets(self, pairs: Iterable[CertificatePair]) -> Update:
        return {SECRET: {pair.name: resource(SECRET, pair.name, bytes(secret(pair))) for pair in pairs}}

    def update(self, delta: Delta) -> Update:
        """Applies ``delta``; returns the resources that it changed. Removed pods' clusters are among them."""
        touched = self.tables.apply(delta.domains)
        clusters: dict[str, Resource | None] = {}
        endpoints: dict[str, Resource | None] = {}
        for name, (_, pod) in delta.pods.items():
            clusters[name] = endpoints[name] = None
            if pod is not None:
                clusters[name] = resource(CLUSTER, name, bytes(cluster(pod, self._connect_timeout, self._pods_http2)))
                endpoints[name] = resource(ENDPOINT, name, bytes(load_assignment(pod)))
        return {CLUSTER: clusters, ENDPOINT: endpoints, ROUTE: self._encoded(sorted(touched))}

    def causes(self, delta: Delta) -> dict[ResourceId, dict[Key, Content]]:
        """The resources that ``delta`` changes, each with the records that do it and what they said before."""
        found: dict[ResourceId, dict[Key, Content]] = {}
        for domain, (old, _) in delta.domains.items():
            for number in self.tables.numbers_of(domain):
                found.setdefault((ROUTE, table_name(number)), {})["domain", domain] = old
        for name, (before, _) in delta.pods.items():
            for kind in (CLUSTER, ENDPOINT):
                found[kind, name] = {("pod", name): before}
        return found

    def records(self, resource: ResourceId) -> Iterable[Key]:
        """The records that a resource is made of; none for what doesn't come from the directory."""
        kind, name = resource
        if kind is ROUTE and name != RESCOPE:
            for domains in self.tables.shares(table_number(name)).values():
                yield from (("domain", domain) for domain in domains)
        elif kind in (CLUSTER, ENDPOINT) and ":" not in name:  # else a cluster of ours
            yield "pod", name

    def _encoded(self, numbers: Iterable[int]) -> dict[str, Resource]:
        return {table_name(n): resource(ROUTE, table_name(n), self.tables.encoded(n)) for n in numbers}


def _scopes(leading: Iterable[tuple[str, str]]) -> dict[str, Resource]:
    return {(name := scope_name(key)): resource(SCOPE, name, encoded_scope(key, table)) for key, table in leading}

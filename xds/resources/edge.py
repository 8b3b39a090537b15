"""Everything the edge is sent, made from the directory: each change in, the resources that it changes out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from xds.directory import Delta
from xds.resources.clusters import cluster, load_assignment
from xds.resources.listeners import Edge, listeners
from xds.resources.routes import RouteTables, table_name
from xds.resources.scopes import encoded_scope, scope_keys, scope_name
from xds.resources.secrets import CertificatePair, secret
from xds.resources.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SCOPE, SECRET, Resource, Update, resource


class EdgeResources:
    """Holds the route tables; what comes out of it is not kept."""

    def __init__(self, tables: int, connect_timeout: timedelta) -> None:
        self.tables = RouteTables(tables)
        self._connect_timeout = connect_timeout

    def fixed(self, edge: Edge) -> Update:
        """What doesn't depend on the directory: listeners and scopes."""
        made = {listener.name: resource(LISTENER, listener.name, bytes(listener)) for listener in listeners(edge)}
        scopes = {scope_name(key): encoded_scope(key, len(self.tables)) for key in scope_keys()}
        return {LISTENER: made, SCOPE: {name: resource(SCOPE, name, body) for name, body in scopes.items()}}

    def every_table(self) -> Update:
        """All route tables, the empty ones too: they answer unknown hosts."""
        return {ROUTE: self._encoded(range(len(self.tables)))}

    def secrets(self, pairs: Iterable[CertificatePair]) -> Update:
        return {SECRET: {pair.name: resource(SECRET, pair.name, bytes(secret(pair))) for pair in pairs}}

    def update(self, delta: Delta) -> Update:
        """Applies ``delta``; returns the resources that it changed. Removed pods' clusters are among them."""
        touched: set[int] = set()
        for domain, (old, new) in delta.domains.items():
            touched.update(self.tables.move(domain, old, new))
        clusters: dict[str, Resource | None] = {}
        endpoints: dict[str, Resource | None] = {}
        for name, (_, pod) in delta.pods.items():
            clusters[name] = endpoints[name] = None
            if pod is not None:
                clusters[name] = resource(CLUSTER, name, bytes(cluster(pod, self._connect_timeout)))
                endpoints[name] = resource(ENDPOINT, name, bytes(load_assignment(pod)))
        return {CLUSTER: clusters, ENDPOINT: endpoints, ROUTE: self._encoded(sorted(touched))}

    def _encoded(self, numbers: Iterable[int]) -> dict[str, Resource]:
        return {table_name(n): resource(ROUTE, table_name(n), self.tables.encoded(n)) for n in numbers}

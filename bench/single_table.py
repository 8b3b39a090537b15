"""The layout to compare with: one route table with one virtual host per domain, as one writes it for a snapshot cache.

It stands in for `xds.resources.edge.EdgeResources` (see `bench.probed`) and is served by the same server. To be fair
to it, each virtual host is encoded once and kept, so that what a change costs here is Envoy's work and the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager, Rds

from xds.delta import Delta, Key
from xds.resources.edge import Causes, EdgeResources
from xds.resources.listeners import Edge
from xds.resources.routes import route_table, table_name, virtual_host
from xds.resources.types import LISTENER, ROUTE, SCOPE, Resource, ResourceId, Update, resource
from xds.resources.wire import field
from xds.slices import Work

_TABLE = table_name(0)
_NAME, _DOMAINS = 1, 2  # of VirtualHost
_VIRTUAL_HOSTS = 2  # of RouteConfiguration


class SingleTable(EdgeResources):
    def __init__(self, tables: int, connect_timeout: timedelta, *_: object, **__: object) -> None:
        super().__init__(1, connect_timeout)
        self._shell = bytes(route_table(0, {}))
        self._routes: dict[str, bytes] = {}
        self._hosts: dict[str, bytes] = {}

    def listening(self, edge: Edge) -> Work[Update]:
        held = yield from super().listening(edge)
        scoped = [Listener.parse(one.body) for one in held[LISTENER].values() if one is not None]
        made = [_unscoped(listener) for listener in scoped]
        return {LISTENER: {one.name: resource(LISTENER, one.name, bytes(one)) for one in made}}

    def scoping(self) -> Work[Update]:
        yield
        return {SCOPE: {}}

    def encoding_all(self) -> Work[Update]:
        yield
        return {ROUTE: {_TABLE: self._table()}}

    def laying(self, delta: Delta, causes: Causes | None) -> Work[Update]:
        for domain, (_, pod) in delta.domains.items():
            if pod is None:
                del self._hosts[domain]
            else:
                self._hosts[domain] = self._host(domain, pod)
        if causes is not None and delta.domains:
            causes[ROUTE, _TABLE] = {domain: old for domain, (old, _) in delta.domains.items()}
        return (yield from super().laying(Delta({}, delta.pods), causes))

    def encoded(self, resources: Iterable[ResourceId]) -> Update:
        return {ROUTE: {_TABLE: self._table()} if any(kind is ROUTE for kind, _ in resources) else {}}

    def records(self, resource: ResourceId) -> Iterable[Key]:
        return (("domain", domain) for domain in self._hosts)

    def _table(self) -> Resource:
        return resource(ROUTE, _TABLE, b"".join([self._shell, *self._hosts.values()]))

    def _host(self, domain: str, pod: str) -> bytes:
        if pod not in self._routes:
            self._routes[pod] = _nameless(pod)
        name = domain.encode()
        return field(_VIRTUAL_HOSTS, field(_NAME, name) + field(_DOMAINS, name) + self._routes[pod])


def _nameless(pod: str) -> bytes:
    host = virtual_host(pod, ())
    host.name = ""
    return bytes(host)


def _unscoped(listener: Listener) -> Listener:
    """The product's listener, with one table in the place of the scopes and of the header that chooses among them."""
    ads = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
    for chain in listener.filter_chains:
        wrapped = chain.filters[-1].typed_config
        assert wrapped is not None
        manager = HttpConnectionManager.parse(wrapped.value)
        if manager.scoped_routes is None:
            continue
        manager.scoped_routes = None
        manager.early_header_mutation_extensions = []
        manager.rds = Rds(config_source=ads, route_config_name=_TABLE)
        wrapped.value = bytes(manager)
    return listener

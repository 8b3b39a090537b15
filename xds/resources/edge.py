"""Everything the edge is sent, made from the directory: each change in, the resources that it changes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

from xds.delta import Content, Delta, Key
from xds.gds.model import Endpoint, Pod
from xds.resources.clusters import cluster, load_assignment
from xds.resources.cold import TRANSFER_IDLE
from xds.resources.listeners import HTTPS, Edge, listening, without_busiest
from xds.resources.port80 import acme_cluster
from xds.resources.rescope import RESCOPE, rescoping_table
from xds.resources.routes import CROWDED, RouteTables, route_table, table_name, table_number, virtual_host
from xds.resources.routes import Causes as TableCauses
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
from xds.slices import Work, cut, drained

_SCOPES = 200  # of one slice: a few milliseconds

Causes = dict[ResourceId, dict[str, Content]]
"""The resources that changed, each with the records that did it and what they said before: domains by name for route
tables, pods for the others. A million records would be as many objects more if each stood there with its kind."""


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
        asking: bool = False,
        idle: timedelta = TRANSFER_IDLE,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.tables = RouteTables(tables, crowded, asking=asking, idle=idle, clock=clock)
        self._connect_timeout = connect_timeout
        self._pods_http2 = pods_http2
        self._acme = acme

    def warm(self, edge: Edge) -> None:
        """The dataclasses prepare themselves when each is first used, which takes half a second in all: better before
        the event loop serves anyone."""
        tls = replace(edge.tls, server_names=("warm", "*.warm"), on_demand=True, busiest=("warm",), tickets=True)
        self.fixed(replace(edge, tls=tls))
        pod = Pod("warm", endpoints=(Endpoint("127.0.0.1", 1, "zone"),))
        bytes(cluster(pod, self._connect_timeout)), bytes(load_assignment(pod))
        bytes(rescoping_table()), bytes(route_table(0, {}, asking=self.tables.asking)), bytes(virtual_host("warm", ()))

    def fixed(self, edge: Edge) -> Update:
        """Listeners and scopes: of the directory they know at most which pairs are split."""
        return {**self.listeners(edge), **drained(self.scoping())}

    def scoping(self) -> Work[Update]:
        """All scopes, in slices."""
        scopes: dict[str, Resource] = {}
        for some in cut(every_scope(self.tables), _SCOPES):
            scopes |= _scopes(some)
            yield
        return {SCOPE: scopes}

    def listeners(self, edge: Edge) -> Update:
        """`listening` at once."""
        return drained(self.listening(edge))

    def listening(self, edge: Edge) -> Work[Update]:
        """All listeners, in slices.

        The busiest names are for who has no listener yet: they stand in it, and not in its version, nor in what is
        sent again to who has it: another list of names drains the connections of customers' names."""
        found: dict[str, Resource] = {}
        for one in (yield from listening(edge, len(self.tables))):
            yield
            made = resource(LISTENER, one.name, bytes(one))
            if one.name == HTTPS and edge.tls.busiest:
                yield
                plain = resource(LISTENER, HTTPS, bytes(without_busiest(edge, one)))
                if plain.version != made.version:
                    made = replace(made, version=plain.version, repeated=plain.any)
            found[one.name] = made
        return {LISTENER: found}

    def own_clusters(self) -> dict[str, Resource]:
        """Those that aren't pods; GDS knows nothing of them."""
        if self._acme is None:
            return {}
        made = acme_cluster(*self._acme, self._connect_timeout)
        return {made.name: resource(CLUSTER, made.name, bytes(made))}

    def every_table(self) -> Update:
        """All route tables, the empty ones too: they answer unknown hosts."""
        return drained(self.encoding_all())

    def encoding_all(self) -> Work[Update]:
        """`every_table` in slices."""
        tables: dict[str, Resource] = {}
        for number in range(len(self.tables)):
            tables |= self._encoded((number,))
            yield
        return {ROUTE: {**tables, RESCOPE: resource(ROUTE, RESCOPE, bytes(rescoping_table(asking=self.tables.asking)))}}

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
        causes: Causes = {}
        return {**drained(self.laying(delta, causes)), **self.encoded(causes)}

    def laying(self, delta: Delta, causes: Causes | None) -> Work[Update]:
        """Applies ``delta`` in slices, between which nothing may be encoded; returns the clusters and endpoints that
        it changed, None for removed ones. ``causes`` gets what changed, the tables too, each with the records that did
        it and what they said before."""
        clusters: dict[str, Resource | None] = {}
        endpoints: dict[str, Resource | None] = {}
        for name, (before, pod) in delta.pods.items():
            clusters[name] = endpoints[name] = None
            if pod is not None:
                clusters[name] = resource(CLUSTER, name, bytes(cluster(pod, self._connect_timeout, self._pods_http2)))
                yield
                endpoints[name] = resource(ENDPOINT, name, bytes(load_assignment(pod)))
                self.tables.prepare(name)
                yield
            if causes is not None:
                for kind in (CLUSTER, ENDPOINT):
                    causes.setdefault((kind, name), {}).setdefault(name, before)
        touched: TableCauses | None = None if causes is None else {}
        yield from self.tables.applying(delta.domains, touched)
        if causes is not None:
            for number, records in (touched or {}).items():
                one = ROUTE, table_name(number)
                causes[one] = records | causes[one] if one in causes else records
        return {CLUSTER: clusters, ENDPOINT: endpoints}

    def encoded(self, resources: Iterable[ResourceId]) -> Update:
        """The route tables among these, as they are now."""
        return {ROUTE: self._encoded(table_number(name) for kind, name in resources if kind is ROUTE)}

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

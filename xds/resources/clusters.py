"""One EDS cluster per pod, and the pod's endpoints as its load assignment."""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    Locality,
    RoutingPriority,
    SocketAddress,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.endpoint.v3 import Endpoint as LoadEndpoint
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)

from xds.gds.model import Endpoint, Pod
from xds.resources.manager import http2_limits
from xds.resources.packed import packed

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP2 = HttpProtocolOptions(
    explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2_limits())
)

BUFFER_BYTES = 32 * 1024
"""Envoy's edge guide: 32 KiB buffers on clusters that face the internet's requests."""
WAITING = 10_000
"""Requests that wait for one of a pod's connections; what is more is answered 503. A pod that is well works them off,
and what they hold is bounded: it is less than the connections that Envoy takes."""


def cluster(pod: Pod, connect_timeout: timedelta, http2: bool = False) -> Cluster:
    """The pod's cluster, named after it; its circuit breaker is the pod's ``max_connections``, and so many requests
    more wait as WAITING says. ``http2``: the pod speaks it without TLS, and ``max_connections`` are its requests at a
    time; else it is spoken to in HTTP/1.1."""
    waiting = max(pod.max_connections, WAITING)
    limit = CircuitBreakersThresholds(
        priority=RoutingPriority.DEFAULT,
        max_connections=pod.max_connections,
        # Each of Envoy's workers may open one connection beyond the limit: a request on it must not fail for being one
        # too many, so that of HTTP/1.1, where each has a connection, requests aren't counted a second time.
        max_requests=pod.max_connections if http2 else pod.max_connections + waiting,
        max_pending_requests=waiting,
    )
    made = Cluster(
        name=pod.name,
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=ClusterEdsClusterConfig(
            eds_config=ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
        ),
        connect_timeout=connect_timeout,
        per_connection_buffer_limit_bytes=BUFFER_BYTES,
        circuit_breakers=CircuitBreakers(thresholds=[limit]),
    )
    if http2:
        made.typed_extension_protocol_options = {_OPTIONS: packed(_OPTIONS, _HTTP2)}
    return made


def load_assignment(pod: Pod) -> ClusterLoadAssignment:
    """The pod's endpoints by zone, both in a fixed order so that equal pods give equal bytes."""
    zones = sorted({endpoint.zone for endpoint in pod.endpoints})
    return ClusterLoadAssignment(
        cluster_name=pod.name,
        endpoints=[
            LocalityLbEndpoints(
                locality=Locality(region=pod.datacenter, zone=zone),
                load_balancing_weight=sum(e.weight for e in pod.endpoints if e.zone == zone),
                lb_endpoints=[_lb_endpoint(e) for e in sorted(pod.endpoints, key=_place) if e.zone == zone],
            )
            for zone in zones
        ],
    )


def _place(endpoint: Endpoint) -> tuple[str, int]:
    return endpoint.address, endpoint.port


def _lb_endpoint(endpoint: Endpoint) -> LbEndpoint:
    address = Address(socket_address=SocketAddress(address=endpoint.address, port_value=endpoint.port))
    return LbEndpoint(endpoint=LoadEndpoint(address=address), load_balancing_weight=endpoint.weight)

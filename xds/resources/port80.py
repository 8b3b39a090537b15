"""What is answered without TLS: a redirect to https, and the ACME client's challenges when there is one (HTTP-01)."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.config.endpoint.v3 import Endpoint as LoadEndpoint
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    RedirectAction,
    RedirectActionRedirectResponseCode,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from xds.resources.clusters import BUFFER_BYTES

ACME = "pointsman:acme"
"""The ACME client's cluster. No pod can be called so: its colon isn't allowed there."""

# A token is base64url (RFC 8555, 8.3): nothing else of the ACME client can be reached.
_CHALLENGE = r"/\.well-known/acme-challenge/[A-Za-z0-9_-]+"


def plain_routes(redirect_port: int, acme: bool) -> RouteConfiguration:
    """``redirect_port``: the https port as clients see it."""
    action = RedirectAction(
        https_redirect=True,
        port_redirect=0 if redirect_port == 443 else redirect_port,
        response_code=RedirectActionRedirectResponseCode.PERMANENT_REDIRECT,
    )
    redirect = Route(match=RouteMatch(prefix="/"), redirect=action)
    routes = [_challenges(), redirect] if acme else [redirect]
    host = VirtualHost(name="redirect", domains=["*"], routes=routes)
    # Else the listener is refused where the ACME client's cluster isn't there yet.
    return RouteConfiguration(name="redirect", virtual_hosts=[host], validate_clusters=False)


def acme_cluster(address: str, port: int, connect_timeout: timedelta) -> Cluster:
    """``address``: an IP address, or a host name that Envoy resolves."""
    endpoint = LoadEndpoint(address=Address(socket_address=SocketAddress(address=address, port_value=port)))
    local = LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])
    return Cluster(
        name=ACME,
        type=ClusterDiscoveryType.STATIC if _is_ip(address) else ClusterDiscoveryType.STRICT_DNS,
        connect_timeout=connect_timeout,
        per_connection_buffer_limit_bytes=BUFFER_BYTES,
        load_assignment=ClusterLoadAssignment(cluster_name=ACME, endpoints=[local]),
    )


def _challenges() -> Route:
    read = HeaderMatcher(name=":method", string_match=StringMatcher(safe_regex=RegexMatcher(regex="GET|HEAD")))
    match = RouteMatch(safe_regex=RegexMatcher(regex=_CHALLENGE), headers=[read])
    return Route(match=match, route=RouteAction(cluster=ACME, timeout=timedelta(seconds=10)))


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True

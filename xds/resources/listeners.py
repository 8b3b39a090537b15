"""The two listeners: https, which routes by scope, and http, which only redirects to it.

Nothing of a tenant stands in a listener: a listener update drains connections. The limits are those of Envoy's
"Configuring Envoy as an edge proxy".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    SocketAddress,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener, ListenerFilter
from envoy_data_plane.envoy.config.route.v3 import (
    RedirectAction,
    RedirectActionRedirectResponseCode,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
    ScopedRds,
    ScopedRoutes,
    ScopedRoutesScopeKeyBuilder,
    ScopedRoutesScopeKeyBuilderFragmentBuilder,
    ScopedRoutesScopeKeyBuilderFragmentBuilderHeaderValueExtractor,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)

from xds.resources.packed import ads, packed
from xds.resources.rescope import FILTER, rescoping_filter
from xds.resources.routes import SCOPE_HEADER
from xds.resources.tls import Tls, filter_chains, listener_filters

HTTPS = "https"
HTTP = "http"

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_LUA = "envoy.extensions.filters.http.lua.v3.Lua"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_EARLY = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"

_BUFFER_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Edge:
    """Where Envoy listens. ``redirect_port`` is the https port as clients see it."""

    address: str = "127.0.0.1"
    https_port: int = 10443
    http_port: int = 10080
    redirect_port: int = 10443
    tls: Tls = field(default_factory=Tls)


def listeners(edge: Edge, tables: int = 1) -> list[Listener]:
    """``tables``: how many route tables there are."""
    return [
        _listener(
            HTTPS,
            edge.address,
            edge.https_port,
            *filter_chains(edge.tls, lambda chain: [_https(chain, tables)]),
            listener_filters=listener_filters(),
        ),
        _listener(
            HTTP,
            edge.address,
            edge.http_port,
            FilterChain(
                filters=[_manager(HTTP, route_config=_redirects(edge.redirect_port))],
            ),
        ),
    ]


def _https(chain: str, tables: int) -> Filter:
    """``chain``: the name of the filter chain that it is for."""
    return _manager(
        HTTPS,
        # Only the re-scoping table enables it.
        HttpFilter(name=FILTER, typed_config=packed(_LUA, rescoping_filter(tables)), disabled=True),
        scoped_routes=_scoped_routes(),
        early_header_mutation_extensions=[_scope_key()],
    )


def _listener(
    name: str, address: str, port: int, *chains: FilterChain, listener_filters: Sequence[ListenerFilter] = ()
) -> Listener:
    return Listener(
        name=name,
        address=Address(socket_address=SocketAddress(address=address, port_value=port)),
        listener_filters=list(listener_filters),
        filter_chains=list(chains),
        per_connection_buffer_limit_bytes=_BUFFER_BYTES,
    )


def _manager(prefix: str, *filters: HttpFilter, **routes: object) -> Filter:
    manager = HttpConnectionManager(
        stat_prefix=prefix,
        http_filters=[*filters, HttpFilter(name="envoy.filters.http.router", typed_config=packed(_ROUTER, Router()))],
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=timedelta(hours=1),
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST,
        ),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=100,
            initial_stream_window_size=64 * 1024,
            initial_connection_window_size=1024 * 1024,
        ),
        stream_idle_timeout=timedelta(minutes=5),
        request_headers_timeout=timedelta(seconds=10),
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT,
        # Both run before the scope key is made: a port or a trailing dot must not change where a host is looked up.
        strip_any_host_port=True,
        strip_trailing_host_dot=True,
        upgrade_configs=[HttpConnectionManagerUpgradeConfig(upgrade_type="websocket")],
        **routes,  # type: ignore[arg-type]
    )
    return Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(_HCM, manager))


def _scoped_routes() -> ScopedRoutes:
    header = ScopedRoutesScopeKeyBuilderFragmentBuilderHeaderValueExtractor(name=SCOPE_HEADER, index=0)
    fragment = ScopedRoutesScopeKeyBuilderFragmentBuilder(header_value_extractor=header)
    return ScopedRoutes(
        name="edge",
        scope_key_builder=ScopedRoutesScopeKeyBuilder(fragments=[fragment]),
        rds_config_source=ads(),
        scoped_rds=ScopedRds(scoped_rds_config_source=ads()),
    )


def _scope_key() -> TypedExtensionConfig:
    """Writes the host's first two characters into the scope header, over whatever a client put there."""
    option = HeaderValueOption(
        header=HeaderValue(key=SCOPE_HEADER, value="%REQ(:AUTHORITY):2%"),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    mutation = EarlyHeaderMutation(mutations=[HeaderMutation(append=option)])
    return TypedExtensionConfig(name="pointsman.scope-key", typed_config=packed(_EARLY, mutation))


def _redirects(port: int) -> RouteConfiguration:
    action = RedirectAction(
        https_redirect=True,
        port_redirect=0 if port == 443 else port,
        response_code=RedirectActionRedirectResponseCode.PERMANENT_REDIRECT,
    )
    host = VirtualHost(name="redirect", domains=["*"], routes=[Route(match=RouteMatch(prefix="/"), redirect=action)])
    return RouteConfiguration(name="redirect", virtual_hosts=[host])

"""The HTTP connection manager of every listener: limits, time-outs, and how a request is read before it is routed.

The limits are those of Envoy's "Configuring Envoy as an edge proxy".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation, HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    CidrRange,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation as MutationFilter
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import Mutations
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerInternalAddressConfig,
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
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from xds.resources.packed import ads, overwriting, packed
from xds.resources.routes import SCOPE_HEADER

INTERNAL_PREFIX = "x-pointsman-"
"""Headers of ours begin so; no client can send one."""

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_EARLY = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_MUTATION = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Of clients. ``request``: for a request to arrive whole; zero doesn't limit it."""

    connection_idle: timedelta = timedelta(hours=1)
    stream_idle: timedelta = timedelta(minutes=5)
    request_headers: timedelta = timedelta(seconds=10)
    request: timedelta = timedelta(0)


def manager(prefix: str, timeouts: Timeouts, *filters: HttpFilter, http3: bool = False, **more: object) -> Filter:
    """``prefix``: of its statistics; ``filters``: those before the router; ``more``: where the routes come from."""
    made = HttpConnectionManager(
        stat_prefix=prefix,
        codec_type=HttpConnectionManagerCodecType.HTTP3 if http3 else HttpConnectionManagerCodecType.AUTO,
        http_filters=[*filters, HttpFilter(name="envoy.filters.http.router", typed_config=packed(_ROUTER, Router()))],
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=timeouts.connection_idle,
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST,
        ),
        http2_protocol_options=http2_limits(),
        stream_idle_timeout=timeouts.stream_idle,
        request_headers_timeout=timeouts.request_headers,
        request_timeout=timeouts.request,
        use_remote_address=True,
        # Nobody is internal: x-envoy-… headers of whoever asks from a private address count for nothing either.
        internal_address_config=HttpConnectionManagerInternalAddressConfig(
            cidr_ranges=[CidrRange(address_prefix="192.0.2.0", prefix_len=32)]
        ),
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.UNESCAPE_AND_REDIRECT,
        # Both run before the scope key is made: a port or a trailing dot must not change where a host is looked up.
        strip_any_host_port=True,
        strip_trailing_host_dot=True,
        **more,  # type: ignore[arg-type]
    )
    return Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(_HCM, made))


def http2_limits() -> Http2ProtocolOptions:
    return Http2ProtocolOptions(
        max_concurrent_streams=100,
        initial_stream_window_size=64 * 1024,
        initial_connection_window_size=1024 * 1024,
    )


def scoped() -> dict[str, object]:
    """What makes a manager choose the route table by the host's first two characters."""
    header = ScopedRoutesScopeKeyBuilderFragmentBuilderHeaderValueExtractor(name=SCOPE_HEADER, index=0)
    fragment = ScopedRoutesScopeKeyBuilderFragmentBuilder(header_value_extractor=header)
    return {
        "scoped_routes": ScopedRoutes(
            name="edge",
            scope_key_builder=ScopedRoutesScopeKeyBuilder(fragments=[fragment]),
            rds_config_source=ads(),
            scoped_rds=ScopedRds(scoped_rds_config_source=ads()),
        ),
        "early_header_mutation_extensions": [_scope_key()],
        "upgrade_configs": [HttpConnectionManagerUpgradeConfig(upgrade_type="websocket")],
    }


def response_headers(headers: Mapping[str, str], ours: Sequence[str]) -> list[HttpFilter]:
    """A filter that adds ``headers`` to every response; a pod's own stays, but for those that are ``ours``."""
    if not headers:
        return []
    add, over = (
        HeaderValueOptionHeaderAppendAction.ADD_IF_ABSENT,
        HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    mutations = [
        HeaderMutation(
            append=HeaderValueOption(
                header=HeaderValue(key=name, value=value), append_action=over if name in ours else add
            )
        )
        for name, value in headers.items()
    ]
    made = MutationFilter(mutations=Mutations(response_mutations=mutations))
    return [HttpFilter(name="pointsman.response-headers", typed_config=packed(_MUTATION, made))]


def _scope_key() -> TypedExtensionConfig:
    """Takes away whatever a client says in a header of ours, and writes the host's first two characters into one."""
    forged = HeaderMutationRemoveOnMatch(key_matcher=StringMatcher(prefix=INTERNAL_PREFIX))
    option = overwriting(SCOPE_HEADER, "%REQ(:AUTHORITY):2%")
    mutation = EarlyHeaderMutation(mutations=[HeaderMutation(remove_on_match=forged), HeaderMutation(append=option)])
    return TypedExtensionConfig(name="pointsman.scope-key", typed_config=packed(_EARLY, mutation))

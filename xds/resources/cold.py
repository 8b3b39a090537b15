"""The edge's side of the lookup way: a host that no table holds is asked for and only such a one.

Every table gets a catch-all virtual host, which marks the request as one for an unknown host; ext_authz asks for what
is marked, as long as its client doesn't ask too often, and a route whose cluster is the header that the answer sets
takes it to the pod. All three filters are off unless a virtual host turns them on. The hosts of a split pair come
through the re-scoping table, which is chosen before it is known whether their own table holds them: there the filters
are on, and the mark alone decides.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    BackoffStrategy,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
)
from envoy_data_plane.envoy.config.route.v3 import FilterConfig, Route, RouteAction, RouteMatch, VirtualHost
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthz
from envoy_data_plane.envoy.extensions.filters.http.header_to_metadata.v3 import Config as Marking
from envoy_data_plane.envoy.extensions.filters.http.header_to_metadata.v3 import ConfigKeyValuePair, ConfigRule
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.service.auth.v3 import CheckResponse, DeniedHttpResponse, OkHttpResponse
from envoy_data_plane.envoy.type.matcher.v3 import (
    ListStringMatcher,
    MetadataMatcher,
    MetadataMatcherPathSegment,
    StringMatcher,
    ValueMatcher,
)
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.google.rpc import Status

from xds.resources.packed import overwriting, packed
from xds.resources.per_address import PerAddress, limit

ASKED = "pointsman:lookup"
"""The cluster of Envoy's bootstrap at which is asked: the control plane's, with a limit of its own."""
POD_HEADER = "x-pointsman-pod"
"""The internal header that carries the answer to the router; overwritten by it, and taken away by every table, so that
no pod sees it."""
TRANSFER_IDLE = timedelta(hours=1)
"""For how long nothing may move on a request that is with a pod, unless the settings say otherwise."""
UNKNOWN = "#unknown"
"""The name of the catch-all virtual host; no pod can be called so."""

_MARK = "pointsman.unknown"
_LIMIT = "pointsman.per-address"
_ASK = "pointsman.lookup"
_KEY = "host"
_YES = "unknown"
_MARKING = "envoy.extensions.filters.http.header_to_metadata.v3.Config"
_LOCAL_RATELIMIT = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_EXT_AUTHZ = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
_PREVIOUS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
_DENIED = 7  # google.rpc.Code.PERMISSION_DENIED; any but OK will do


def asking_filters(patience: timedelta, per_address: PerAddress | None = None) -> list[HttpFilter]:
    """The filters, which nothing turns on but what is below. ``patience``: for the control plane's answer;
    ``per_address``: None for no limit."""
    ask = ExtAuthz(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=ASKED), timeout=patience, retry_policy=_elsewhere(patience)
        ),
        transport_api_version=ApiVersion.V3,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        clear_route_cache=True,
        filter_enabled_metadata=MetadataMatcher(
            filter=_MARK,
            path=[MetadataMatcherPathSegment(key=_KEY)],
            value=ValueMatcher(string_match=StringMatcher(exact=_YES)),
        ),
        # Nothing else of the request is ours to know: neither cookies nor what authorises.
        allowed_headers=ListStringMatcher(patterns=[StringMatcher(exact=":authority")]),
    )
    limits = [packed(_LOCAL_RATELIMIT, limit(per_address, _MARK, _KEY, _YES))] if per_address else []
    return [
        HttpFilter(name=_MARK, typed_config=packed(_MARKING, Marking()), disabled=True),
        *(HttpFilter(name=_LIMIT, typed_config=each, disabled=True) for each in limits),
        HttpFilter(name=_ASK, typed_config=packed(_EXT_AUTHZ, ask), disabled=True),
    ]


def _elsewhere(patience: timedelta) -> RetryPolicy:
    """A control plane that is gone is asked for as long as the name leads to its address: then another one is asked
    for the same request. To ask twice does no harm. One that waits for GDS isn't given up for another: Envoy takes the
    longest interval between two questions for the longest time that each of them may take, too."""
    return RetryPolicy(
        retry_on="connect-failure,refused-stream,reset,unavailable,cancelled",
        num_retries=3,
        retry_back_off=BackoffStrategy(base_interval=timedelta(milliseconds=20), max_interval=patience),
        retry_host_predicate=[
            RetryPolicyRetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=packed(_PREVIOUS, PreviousHostsPredicate()),
            )
        ],
        host_selection_retry_max_attempts=5,
    )


def turned_on() -> dict[str, Any]:
    """What turns the filters on for a virtual host, and marks nothing. That the listener has no limit does no harm."""
    return {_MARK: enabled(), _LIMIT: enabled(), _ASK: enabled()}


def enabled() -> Any:
    """What turns a filter on, as it stands in the listener."""
    # An empty config that is there enables a filter; one that isn't there is an error.
    config = FilterConfig(config=Any())
    return Any(type_url="type.googleapis.com/envoy.config.route.v3.FilterConfig", value=bytes(config))


def unknown_host(idle: timedelta = TRANSFER_IDLE) -> VirtualHost:
    """The catch-all of every table."""
    pair = ConfigKeyValuePair(metadata_namespace=_MARK, key=_KEY, value=_YES)
    marking = Marking(request_rules=[ConfigRule(header=":authority", on_header_present=pair)])
    # As every route to a pod has them (`xds.resources.routes.virtual_host`).
    action = RouteAction(cluster_header=POD_HEADER, timeout=timedelta(0), idle_timeout=idle)
    return VirtualHost(
        name=UNKNOWN,
        domains=["*"],
        routes=[Route(match=RouteMatch(prefix="/"), route=action)],
        typed_per_filter_config={**turned_on(), _MARK: packed(_MARKING, marking)},
    )


def found(pod: str) -> bytes:
    """The control plane's answer, encoded: the request goes to ``pod``."""
    answer = OkHttpResponse(headers=[overwriting(POD_HEADER, pod)])
    return bytes(CheckResponse(status=Status(code=0), ok_response=answer))


def nobody() -> bytes:
    """The control plane's answer, encoded: there is no such host. `xds.resources.local_replies` dresses the 404."""
    return _refused(StatusCode.NotFound)


def later() -> bytes:
    """The control plane's answer, encoded: it can't be known now. `xds.resources.local_replies` dresses the 503."""
    return _refused(StatusCode.ServiceUnavailable)


def _refused(code: StatusCode) -> bytes:
    denied = DeniedHttpResponse(status=HttpStatus(code=code))
    return bytes(CheckResponse(status=Status(code=_DENIED), denied_response=denied))

"""What Envoy answers by itself: a host that nobody knows, one that is none, one that the connection isn't for.

Only this dresses the answer to a host whose scope doesn't exist: no route table is asked for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    HeaderFilter,
    OrFilter,
    ResponseFlagFilter,
    RuntimeFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    DataSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RuntimeUInt32,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType
from envoy_data_plane.google.protobuf import Any

from xds.resources.hosts import is_host
from xds.resources.packed import overwriting, packed
from xds.resources.tls import CONTROL_PLANE

UNKNOWN_HOSTS = "unknown-hosts"
"""The name of the log in which the requests to unknown hosts come."""
BUSY_HOSTS = "busy-hosts"
"""The name of the log in which a sample of all requests comes."""

RETRY_AFTER = 1
"""Seconds after which a client may ask again for a host of which it can't be said now where it is."""

_GRPC_LOG = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
_NOT_A_HOST = "The request must name one host.\n"
_MISDIRECTED = "The connection is for another host.\n"


@dataclass(frozen=True, slots=True)
class UnknownHost:
    """``page``: the body of the 404, HTML. ``redirect``: instead of it, where such a request is sent; ``{host}`` in it
    stands for the host that was asked for. ``count``: Envoy tells the control plane of each. ``asked``: the control
    plane is asked whether a host is unknown (`xds.resources.cold`)."""

    page: str = ""
    redirect: str = ""
    count: bool = True
    asked: bool = False


def local_replies(unknown: UnknownHost) -> LocalReplyConfig:
    not_a_host = _all(_status(403), AccessLogFilter(header_filter=HeaderFilter(header=is_host(invert=True))))
    return LocalReplyConfig(
        mappers=[
            ResponseMapper(filter=not_a_host, status_code=400, body=DataSource(inline_string=_NOT_A_HOST)),
            ResponseMapper(filter=_status(403), status_code=421, body=DataSource(inline_string=_MISDIRECTED)),
            *_unknown(unknown),
            *([_later(), _too_often()] if unknown.asked else []),
        ]
    )


def access_logs(unknown: UnknownHost, sample: float = 0.0) -> list[AccessLog]:
    """Requests to unknown hosts, and of all others the share ``sample``, to the control plane. What it doesn't read in
    time, Envoy drops."""
    return [*([_unknown_log(unknown)] if unknown.count else []), *([_busy_log(sample)] if sample else [])]


def _busy_log(sample: float) -> AccessLog:
    share = FractionalPercent(numerator=round(sample * 1_000_000), denominator=FractionalPercentDenominatorType.MILLION)
    # The key is needed, though nobody sets it.
    chosen = RuntimeFilter(runtime_key="pointsman.unused", percent_sampled=share, use_independent_randomness=True)
    return AccessLog(
        name="pointsman.busy-hosts",
        filter=AccessLogFilter(runtime_filter=chosen),
        typed_config=_to_control_plane(BUSY_HOSTS),
    )


def _to_control_plane(log_name: str) -> Any:
    common = CommonGrpcAccessLogConfig(
        log_name=log_name,
        grpc_service=GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=CONTROL_PLANE)),
        transport_api_version=ApiVersion.V3,
    )
    return packed(_GRPC_LOG, HttpGrpcAccessLogConfig(common_config=common))


def _unknown_log(unknown: UnknownHost) -> AccessLog:
    # These have no route at a host that is known, either.
    asks_no_host = ((":method", "CONNECT"), (":path", "*"))
    filters = [_nobody(unknown), *(_other_than(*each) for each in asks_no_host)]
    log = _to_control_plane(UNKNOWN_HOSTS)
    return AccessLog(name="pointsman.unknown-hosts", filter=_all(*filters), typed_config=log)


def _unknown(unknown: UnknownHost) -> list[ResponseMapper]:
    if unknown.redirect:
        # What passed as a host has no character that means anything in a URL.
        to = unknown.redirect.replace("%", "%%").replace("{host}", "%REQ(:AUTHORITY)%")
        location = overwriting("location", to)
        empty = DataSource(inline_string="Nobody is here.\n")
        return [ResponseMapper(filter=_nobody(unknown), status_code=302, headers_to_add=[location], body=empty)]
    if unknown.page:
        # The page is the body, not the format: a per cent sign means nothing in it.
        shown = SubstitutionFormatString(
            text_format_source=DataSource(inline_string="%LOCAL_REPLY_BODY%"), content_type="text/html; charset=utf-8"
        )
        page = DataSource(inline_string=unknown.page)
        return [ResponseMapper(filter=_nobody(unknown), body=page, body_format_override=shown)]
    return []


def _later() -> ResponseMapper:
    """Where a host is can't be known now, or its pod is so new that its cluster isn't here yet."""
    after = overwriting("retry-after", str(RETRY_AFTER))
    body = DataSource(inline_string="Where this host is can't be said now: try again.\n")
    return ResponseMapper(filter=_all(_status(503), _flags("UAEX", "NC")), headers_to_add=[after], body=body)


def _too_often() -> ResponseMapper:
    """One client asks for too many unknown hosts (`xds.resources.per_address`). Envoy says 429 for nothing else, and
    sets that filter's flag too late for a mapper to see it."""
    after = overwriting("retry-after", str(RETRY_AFTER))
    body = DataSource(inline_string="Too many requests for hosts that aren't known: try again.\n")
    return ResponseMapper(filter=_status(429), headers_to_add=[after], body=body)


def _nobody(unknown: UnknownHost) -> AccessLogFilter:
    """No route leads to the host; or the control plane said that there is none."""
    if not unknown.asked:
        return _flags("NR")
    refused = _all(_status(404), _flags("UAEX"))
    return AccessLogFilter(or_filter=OrFilter(filters=[_flags("NR"), refused]))


def _flags(*flags: str) -> AccessLogFilter:
    return AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=list(flags)))


def _other_than(header: str, value: str) -> AccessLogFilter:
    matcher = HeaderMatcher(name=header, string_match=StringMatcher(exact=value), invert_match=True)
    return AccessLogFilter(header_filter=HeaderFilter(header=matcher))


def _status(code: int) -> AccessLogFilter:
    # The key is needed, though nobody sets it.
    value = RuntimeUInt32(default_value=code, runtime_key="pointsman.unused")
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=ComparisonFilter(value=value)))


def _all(*filters: AccessLogFilter) -> AccessLogFilter:
    return AccessLogFilter(and_filter=AndFilter(filters=list(filters)))

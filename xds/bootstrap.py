"""Envoy's bootstrap: who it is told by, and its own limits. The default is `envoy/envoy.yaml`; a test holds them equal.

All else comes over xDS. Pure: values in, a document out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CLUSTER = "pointsman:xds"
"""No pod can be called so: its colon isn't allowed there."""
ASKED = "pointsman:lookup"
"""The same control planes, on connections of their own, for hosts that aren't known (`docs/lookup.md`)."""

_TYPE = "type.googleapis.com/"
_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HEAP = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"

Document = dict[str, Any]
Address = tuple[str, int]
"""A name or an IP address, and a port."""


@dataclass(frozen=True, slots=True)
class Mtls:
    """Paths as Envoy reads them, from its working folder; ``name``: what the control plane's certificate is for."""

    certificate: str = "certs/envoy.crt"
    key: str = "certs/envoy.key"
    ca: str = "certs/ca.crt"
    name: str = "pointsman"


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """``xds``: the control planes, in groups: one of a later group is taken when none of an earlier one answers.
    ``mtls``: None for plaintext. Without ``node`` the command line of Envoy says who it is. ``heap`` is bytes."""

    node: str = ""
    cluster: str = ""
    xds: tuple[tuple[Address, ...], ...] = ((("pointsman", 18000),), (("127.0.0.1", 18000),))
    mtls: Mtls | None = Mtls()
    admin: Address = ("127.0.0.1", 9901)
    delta: bool = True
    heap: int = 4 << 30
    connections: int = 50_000


def document(of: Bootstrap) -> Document:
    """What Envoy reads, as JSON has it."""
    who = {"node": {"id": of.node, "cluster": of.cluster}} if of.node else {}
    return {
        **who,
        "admin": {"address": _socket(of.admin), "ignore_global_conn_limit": True},
        "dynamic_resources": _dynamic(of.delta),
        "static_resources": {"clusters": [_control_planes(of), _asked(of)]},
        "overload_manager": _overload(of),
        "layered_runtime": {"layers": [{"name": "static", "static_layer": _RUNTIME}]},
    }


_RUNTIME = {
    "http.max_requests_per_io_cycle": 1,
    "overload.premature_reset_total_stream_count": 500,
    "overload.premature_reset_min_stream_lifetime_seconds": 1,
}


def _socket(address: Address) -> Document:
    return {"socket_address": {"address": address[0], "port_value": address[1]}}


def _dynamic(delta: bool) -> Document:
    from_ads = {"ads": {}, "resource_api_version": "V3"}
    back_off = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "2s"}}
    return {
        "ads_config": {
            "api_type": "DELTA_GRPC" if delta else "GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": CLUSTER, "retry_policy": back_off}}],
        },
        "cds_config": dict(from_ads),
        "lds_config": dict(from_ads),
    }


def _control_planes(of: Bootstrap) -> Document:
    groups = [
        {"priority": number, "lb_endpoints": [{"endpoint": {"address": _socket(each)}} for each in group]}
        for number, group in enumerate(of.xds)
    ]
    made: Document = {
        "name": CLUSTER,
        "cluster_type": {
            "name": "envoy.clusters.dns",
            "typed_config": {
                "@type": _TYPE + "envoy.extensions.clusters.dns.v3.DnsCluster",
                "dns_refresh_rate": "2s",
            },
        },
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": 1048576,
        # Every certificate on demand has a stream of its own; Envoy's default is 1024.
        "circuit_breakers": {
            "thresholds": [{"priority": "DEFAULT", "max_requests": 100000, "max_pending_requests": 100000}]
        },
        "load_assignment": {"cluster_name": CLUSTER, "endpoints": groups},
        "typed_extension_protocol_options": {
            _HTTP: {
                "@type": _TYPE + _HTTP,
                "explicit_http_config": {
                    # One that is gone without a word is left within five seconds.
                    "http2_protocol_options": {"connection_keepalive": {"interval": "2s", "timeout": "3s"}}
                },
            }
        },
    }
    if of.mtls is not None:
        made["transport_socket"] = _tls(of.mtls)
    return made


def _asked(of: Bootstrap) -> Document:
    # Each may be asked again at another control plane; Envoy's default is 3 that wait for that.
    limit = {"priority": "DEFAULT", "max_requests": 512, "max_pending_requests": 512, "max_retries": 512}
    return _control_planes(of) | {
        "name": ASKED,
        "per_connection_buffer_limit_bytes": 32768,
        "circuit_breakers": {"thresholds": [limit]},
    }


def _tls(mtls: Mtls) -> Document:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": mtls.name,
            "common_tls_context": {
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_3",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "tls_certificates": [
                    {"certificate_chain": {"filename": mtls.certificate}, "private_key": {"filename": mtls.key}}
                ],
                "validation_context": {
                    "trusted_ca": {"filename": mtls.ca},
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": mtls.name}}],
                },
            },
        },
    }


def _overload(of: Bootstrap) -> Document:
    actions = "envoy.overload_actions."
    timers = [
        {"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "2s"},
        {"timer": "HTTP_DOWNSTREAM_STREAM_IDLE", "min_scale": {"value": 10}},
        {"timer": "TRANSPORT_SOCKET_CONNECT", "min_scale": {"value": 20}},
    ]
    scaled = {
        "name": actions + "reduce_timeouts",
        "triggers": [{"name": _HEAP, "scaled": {"scaling_threshold": 0.85, "saturation_threshold": 0.95}}],
        "typed_config": {
            "@type": _TYPE + "envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
            "timer_scale_factors": timers,
        },
    }
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": _HEAP,
                "typed_config": {
                    "@type": _TYPE + "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": of.heap,
                },
            },
            {
                "name": _CONNECTIONS,
                "typed_config": {
                    "@type": _TYPE
                    + "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": of.connections,
                },
            },
        ],
        # In the order in which they set in as memory fills.
        "actions": [
            scaled,
            _at(actions + "disable_http_keepalive", 0.92),
            _at(actions + "shrink_heap", 0.95),
            # HTTP/3, too, which the load-shed point doesn't concern.
            _at(actions + "stop_accepting_connections", 0.96),
            _at(actions + "stop_accepting_requests", 0.98),
        ],
        "loadshed_points": [_at("envoy.load_shed_points.tcp_listener_accept", 0.95)],
    }


def _at(name: str, heap: float) -> Document:
    return {"name": name, "triggers": [{"name": _HEAP, "threshold": {"value": heap}}]}

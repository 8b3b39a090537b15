"""edge-lint reads a running Envoy, finds every row held, and names each row that is broken in what it read."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_harness import Edge, envoy_is, running

from demo.certificates import EDGE_NAMES
from demo.system import ROOT, WITHOUT_TLS
from xds.lint.checklist import RULES, verdicts
from xds.lint.config import Config, from_dump
from xds.lint.lookup import RULES as OF_LOOKUP

Dump = dict[str, Any]
Change = Callable[[Dump], object]
Ways = dict[str, Change]

SETTINGS: dict[str, dict[str, object]] = {
    "edge": {"tables": 8, "hsts": "max-age=31536000", "acme": "127.0.0.1:8402", "proxy_protocol": False}
}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("lint"), SETTINGS, domains=30) as edge:
        yield edge


@pytest.fixture(scope="module")
def dump(edge: Edge) -> Dump:
    answer: Dump = WITHOUT_TLS.get(f"{edge.system.admin_url}/config_dump").json()
    return answer


def bootstrap(dump: Dump) -> Dump:
    return next(part["bootstrap"] for part in dump["configs"] if "bootstrap" in part)


def listeners(dump: Dump) -> dict[str, Dump]:
    found = [each["active_state"]["listener"] for part in dump["configs"] for each in part.get("dynamic_listeners", ())]
    return {each["name"]: each for each in found}


def manager(dump: Dump, listener: str = "https") -> Dump:
    found: Dump = listeners(dump)[listener]["filter_chains"][0]["filters"][-1]["typed_config"]
    return found


def context(dump: Dump) -> Dump:
    found: Dump = listeners(dump)["https"]["filter_chains"][0]["transport_socket"]["typed_config"]
    return found


def pod(dump: Dump) -> Dump:
    found = [each["cluster"] for part in dump["configs"] for each in part.get("dynamic_active_clusters", ())]
    return next(each for each in found if each["name"] == "pod1")


def table(dump: Dump) -> Dump:
    """One that has a virtual host."""
    found = [each["route_config"] for part in dump["configs"] for each in part.get("dynamic_route_configs", ())]
    return next(each for each in found if each.get("virtual_hosts") and each["name"] != "rescope")


def action(dump: Dump, name: str) -> Dump:
    return next(
        each
        for each in bootstrap(dump)["overload_manager"]["actions"]
        if each["name"] == f"envoy.overload_actions.{name}"
    )


def trigger(name: str, kind: str = "actions", prefix: str = "envoy.overload_actions.") -> Callable[[Dump], Dump]:
    """The one trigger of an action."""

    def find(dump: Dump) -> Dump:
        (one,) = [each for each in bootstrap(dump)["overload_manager"][kind] if each["name"] == prefix + name]
        found: Dump = one["triggers"][0]
        return found

    return find


def begins_otherwise(where: Callable[[Dump], Dump]) -> Ways:
    """Ways to break what sets in as the heap fills."""
    return {
        "too late": set_(where, threshold={"value": 0.99}),
        "always": set_(where, threshold={}),  # zero isn't in a dump
        "on an ordinary day": set_(where, threshold={"value": 0.2}),
        "with something else": set_(where, name="envoy.resource_monitors.cpu_utilization"),
        "scaled": lambda dump: where(dump).update(scaled=where(dump).pop("threshold")),
    }


def without(name: str, listener: str = "https") -> Change:
    """The HTTP filter is gone."""

    def change(dump: Dump) -> None:
        one = manager(dump, listener)
        one["http_filters"] = [each for each in one["http_filters"] if each["name"] != name]

    return change


def set_(where: Callable[[Dump], Dump], **values: object) -> Change:
    return lambda dump: where(dump).update(values)


def gone(where: Callable[[Dump], Dump], *keys: str) -> Change:
    return lambda dump: [where(dump).pop(key) for key in keys]


def each_of(*ways: Change) -> Change:
    """All of them at once."""
    return lambda dump: [way(dump) for way in ways]


def filter_(name: str, listener: str = "https") -> Callable[[Dump], Dump]:
    return lambda dump: next(each for each in manager(dump, listener)["http_filters"] if each["name"] == name)


def of(listener: str) -> Callable[[Dump], Dump]:
    return lambda dump: manager(dump, listener)


def http(dump: Dump) -> Dump:
    return listeners(dump)["http"]


def http2(dump: Dump) -> Dump:
    found: Dump = manager(dump)["http2_protocol_options"]
    return found


def options(dump: Dump) -> Dump:
    found: Dump = manager(dump)["common_http_protocol_options"]
    return found


def chain(dump: Dump) -> Dump:
    found: Dump = listeners(dump)["https"]["filter_chains"][0]
    return found


def params(dump: Dump) -> Dump:
    found: Dump = context(dump)["common_tls_context"]["tls_params"]
    return found


def udp(dump: Dump) -> Dump:
    found: Dump = listeners(dump)["http3"]["udp_listener_config"]["quic_options"]
    return found


def socket(dump: Dump) -> Dump:
    """QUIC's."""
    found: Dump = listeners(dump)["http3"]["filter_chains"][0]["transport_socket"]["typed_config"]
    return found


def limit(dump: Dump) -> Dump:
    """Of connections over QUIC."""
    found: Dump = listeners(dump)["http3"]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def over_quic(dump: Dump) -> Dump:
    found: Dump = socket(dump)["downstream_tls_context"]
    return found


def policy(dump: Dump) -> Dump:
    """The one of the filter that holds hosts against the certificate."""
    found: Dump = filter_("pointsman.hosts")(dump)["typed_config"]["rules"]["policies"]["hosts"]
    return found


def names(*hosts: str) -> list[Dump]:
    return [{"header": {"name": ":authority", "string_match": {"exact": host}}} for host in hosts]


def mappers(dump: Dump) -> list[Dump]:
    found: list[Dump] = manager(dump)["local_reply_config"]["mappers"]
    return found


def answers_no(status: int) -> Change:
    """The answer's mapper is gone."""

    def change(dump: Dump) -> None:
        manager(dump)["local_reply_config"]["mappers"] = [
            each for each in mappers(dump) if each.get("status_code") != status
        ]

    return change


def early(dump: Dump) -> list[Dump]:
    found: list[Dump] = manager(dump)["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    return found


def route(dump: Dump) -> Dump:
    found: Dump = table(dump)["virtual_hosts"][0]["routes"][0]["route"]
    return found


def plain(dump: Dump) -> list[Dump]:
    """The routes without TLS: the ACME client's, and the redirect."""
    found: list[Dump] = manager(dump, "http")["route_config"]["virtual_hosts"][0]["routes"]
    return found


def domains(dump: Dump) -> list[str]:
    tables = [each["route_config"] for part in dump["configs"] for each in part.get("dynamic_route_configs", ())]
    hosts = [host for table in tables for host in table.get("virtual_hosts", ())]
    return [domain for host in hosts for domain in host["domains"] if not domain.startswith("*")]


def monitor(name: str) -> Callable[[Dump], Dump]:
    def find(dump: Dump) -> Dump:
        monitors = bootstrap(dump)["overload_manager"]["resource_monitors"]
        found: Dump = next(each["typed_config"] for each in monitors if each["name"] == name)
        return found

    return find


def no_monitor(name: str) -> Change:
    def change(dump: Dump) -> None:
        overload = bootstrap(dump)["overload_manager"]
        overload["resource_monitors"] = [each for each in overload["resource_monitors"] if each["name"] != name]

    return change


def runtime(**values: object) -> Change:
    """Dots in the keys are double underscores; None takes one away."""

    def change(dump: Dump) -> None:
        for layer in bootstrap(dump)["layered_runtime"]["layers"]:
            static = layer.get("static_layer", {})
            for key, value in values.items():
                if (name := key.replace("__", ".")) in static:
                    static[name] = value
                    if value is None:
                        del static[name]

    return change


def selector(cluster: str) -> Dump:
    service = [{"envoy_grpc": {"cluster_name": cluster}}]
    return {"typed_config": {"config_source": {"api_config_source": {"grpc_services": service}}}}


def on_demand(cluster: str) -> Change:
    def change(dump: Dump) -> None:
        common = context(dump)["common_tls_context"]
        del common["tls_certificate_sds_secret_configs"]
        common["custom_tls_certificate_selector"] = selector(cluster)

    return change


def refused_over_quic(dump: Dump) -> None:
    listeners(dump)["http3"]["filter_chains"][0]["filter_chain_match"] = {"server_names": ["edge.example.com"]}


def chosen_by_a_name_that_isnt_read(dump: Dump) -> None:
    refused_over_quic(dump)
    chain(dump)["filter_chain_match"] = {"server_names": ["edge.example.com"]}
    listeners(dump)["https"]["listener_filters"] = []


def clusters(dump: Dump) -> list[Dump]:
    found: list[Dump] = next(
        part["dynamic_active_clusters"] for part in dump["configs"] if "dynamic_active_clusters" in part
    )
    return found


def one_for_each_domain(dump: Dump) -> None:
    made = [{"cluster": {**pod(dump), "name": f"cluster-{number}"}} for number in range(1000)]
    clusters(dump).extend(made)


def shared(dump: Dump) -> None:
    """A second cluster of a pod."""
    pod(dump)["eds_cluster_config"] = {"service_name": "one"}
    clusters(dump).append({"cluster": {**pod(dump), "name": "another"}})


def rejected(kind: str, **state: object) -> Change:
    def change(dump: Dump) -> None:
        entry = next(part[kind] for part in dump["configs"] if part.get(kind))[0]
        entry.update(state)

    return change


def never_served(dump: Dump) -> None:
    one = next(part["dynamic_listeners"] for part in dump["configs"] if part.get("dynamic_listeners"))
    one.append({"name": "new", "warming_state": {"listener": {"name": "new"}}})


def no_udp(dump: Dump) -> None:
    for part in dump["configs"]:
        if "dynamic_listeners" in part:
            part["dynamic_listeners"] = [each for each in part["dynamic_listeners"] if each["name"] != "http3"]


def of_header(name: str, listener: str = "https") -> Callable[[Dump], Dump]:
    """What is added to every answer."""

    def find(dump: Dump) -> Dump:
        added = filter_("pointsman.response-headers", listener)(dump)["typed_config"]["mutations"]["response_mutations"]
        found: Dump = next(each["append"]["header"] for each in added if each["append"]["header"]["key"] == name)
        return found

    return find


def ranges(**range_: object) -> Change:
    return lambda dump: manager(dump)["internal_address_config"].update(cidr_ranges=[range_])


def requests(**limits: object) -> Change:
    """Of the control plane's cluster."""

    def change(dump: Dump) -> None:
        for part in dump["configs"]:
            for each in part.get("static_clusters", ()):
                if each["cluster"]["name"] == "pointsman:xds":
                    each["cluster"]["circuit_breakers"]["thresholds"][0].update(limits)

    return change


HEAP, CONNECTIONS = (
    "envoy.resource_monitors.fixed_heap",
    "envoy.resource_monitors.global_downstream_max_connections",
)
PROXY = {"name": "envoy.filters.listener.proxy_protocol"}
BOTH = {"typed_config": {"allow_requests_without_proxy_protocol": True}}

NOT_HERE = {rule.name for rule in OF_LOOKUP}
"""They are broken in a dump of an edge that looks hosts up: tests/lookup/test_lookup_lint.py."""

BREAKS: dict[str, Ways] = {
    "taken": {
        "a listener": rejected("dynamic_listeners", error_state={"details": "its filter is unknown"}),
        "a cluster": rejected("dynamic_active_clusters", error_state={}),
        "a table": rejected("dynamic_route_configs", error_state={"details": "two hosts of one name"}),
        "a listener that waits": never_served,
    },
    "admin": {
        address: lambda dump, address=address: bootstrap(dump)["admin"]["address"]["socket_address"].update(
            address=address
        )
        for address in ("0.0.0.0", "::", "10.0.0.5", "edge.example.com")
    },
    "overload-refresh": {
        "a second": lambda dump: bootstrap(dump)["overload_manager"].update(refresh_interval="1s"),
        "not set": lambda dump: bootstrap(dump)["overload_manager"].pop("refresh_interval"),
    },
    "heap-limit": {
        "none": no_monitor(HEAP),
        "a petabyte": set_(monitor(HEAP), max_heap_size_bytes=str(10**15)),
        "a byte": set_(monitor(HEAP), max_heap_size_bytes="1"),
    },
    "reduce-timeouts": {
        "one timer less": lambda dump: action(dump, "reduce_timeouts")["typed_config"]["timer_scale_factors"].pop(),
        "a timer that doesn't shrink": lambda dump: action(dump, "reduce_timeouts")["typed_config"][
            "timer_scale_factors"
        ][1].update(min_scale={"value": 100}),
        "at the very end": set_(
            trigger("reduce_timeouts"), scaled={"scaling_threshold": 0.999, "saturation_threshold": 1}
        ),
        "always": set_(trigger("reduce_timeouts"), scaled={"saturation_threshold": 0.95}),
        "backwards": set_(trigger("reduce_timeouts"), scaled={"scaling_threshold": 0.8, "saturation_threshold": 0.7}),
        "at once": each_of(
            gone(trigger("reduce_timeouts"), "scaled"), set_(trigger("reduce_timeouts"), threshold={"value": 0.9})
        ),
    },
    "keep-alive-off": begins_otherwise(trigger("disable_http_keepalive")),
    "shrink-heap": begins_otherwise(trigger("shrink_heap")),
    "stop-requests": begins_otherwise(trigger("stop_accepting_requests")),
    "no-http3-connections": begins_otherwise(trigger("stop_accepting_connections")),
    "http3-connections": {
        "none": lambda dump: listeners(dump)["http3"]["filter_chains"][0]["filters"].pop(0),
        "no limit": lambda dump: limit(dump).pop("max_connections"),
        "a billion": lambda dump: limit(dump).update(max_connections=str(10**9)),
        "too late": lambda dump: listeners(dump)["http3"]["filter_chains"][0]["filters"].reverse(),
    },
    "no-accepts": {
        "none": lambda dump: bootstrap(dump)["overload_manager"]["loadshed_points"].clear(),
        **begins_otherwise(trigger("tcp_listener_accept", "loadshed_points", "envoy.load_shed_points.")),
    },
    "connection-limit": {
        "none": no_monitor(CONNECTIONS),
        "two billion": set_(monitor(CONNECTIONS), max_active_downstream_connections=str(2 * 10**9)),
        "the admin interface too": lambda dump: bootstrap(dump)["admin"].pop("ignore_global_conn_limit"),
    },
    "io-cycle": {
        "not set": runtime(http__max_requests_per_io_cycle=None),
        "no limit": runtime(http__max_requests_per_io_cycle=0),
        "many": runtime(http__max_requests_per_io_cycle=1000),
    },
    "premature-resets": {
        "no number": runtime(overload__premature_reset_total_stream_count=None),
        "no time": runtime(overload__premature_reset_min_stream_lifetime_seconds=None),
        "many": runtime(overload__premature_reset_total_stream_count=1_000_000),
        "at once": runtime(overload__premature_reset_min_stream_lifetime_seconds=0),
    },
    "listener-buffers": {
        "not set": gone(http, "per_connection_buffer_limit_bytes"),
        "large": set_(http, per_connection_buffer_limit_bytes=1048576),
        "no limit": set_(http, per_connection_buffer_limit_bytes=0),
    },
    "cluster-buffers": {
        "not set": gone(pod, "per_connection_buffer_limit_bytes"),
        "large": set_(pod, per_connection_buffer_limit_bytes=1048576),
        "no limit": set_(pod, per_connection_buffer_limit_bytes=0),
    },
    "remote-address": {
        "not used": set_(manager, use_remote_address=False),
        "not used without TLS": set_(of("http"), use_remote_address=False),
        "a client's word for it": set_(manager, xff_num_trusted_hops=5),
        "found otherwise": set_(of("http3"), original_ip_detection_extensions=[{"name": "a header"}]),
        "not told": set_(manager, skip_xff_append=True),
    },
    "proxy-protocol": {
        "one listener": set_(http, listener_filters=[PROXY]),
        "not first": each_of(
            set_(http, listener_filters=[PROXY]),
            lambda dump: listeners(dump)["https"]["listener_filters"].append(PROXY),
        ),
        "with or without": each_of(
            set_(http, listener_filters=[PROXY]),
            lambda dump: listeners(dump)["https"]["listener_filters"].insert(0, {**PROXY, **BOTH}),
        ),
    },
    "paths": {
        "slashes": set_(manager, merge_slashes=False),
        "not normalised": gone(manager, "normalize_path"),
        "escaped slashes": set_(of("http3"), path_with_escaped_slashes_action="KEEP_UNCHANGED"),
    },
    "underscores": {
        "allowed": gone(options, "headers_with_underscores_action"),
        "dropped": set_(options, headers_with_underscores_action="DROP_HEADER"),
    },
    "http2-clients": {
        "streams": set_(http2, max_concurrent_streams=1000),
        "a stream's window": set_(http2, initial_stream_window_size=1 << 28),
        "a connection's window": gone(http2, "initial_connection_window_size"),
        "none": gone(of("http3"), "http2_protocol_options"),
    },
    "http2-pods": {
        "no limits": set_(
            pod, typed_extension_protocol_options={"options": {"explicit_http_config": {"http2_protocol_options": {}}}}
        ),
        "as the client": set_(
            pod, typed_extension_protocol_options={"options": {"use_downstream_protocol_config": {}}}
        ),
        "as it likes": set_(pod, typed_extension_protocol_options={"options": {"auto_config": {}}}),
    },
    "connection-idle": {
        "not set": gone(options, "idle_timeout"),
        "off": set_(options, idle_timeout="0s"),
        "long": set_(options, idle_timeout="7200s"),
    },
    "stream-idle": {
        "off": set_(manager, stream_idle_timeout="0s"),
        "not set": gone(of("http"), "stream_idle_timeout"),
        "long": set_(manager, stream_idle_timeout="3600s"),
    },
    "request-headers": {
        "not set": gone(manager, "request_headers_timeout"),
        "off": set_(of("http"), request_headers_timeout="0s"),
        "long": set_(of("http3"), request_headers_timeout="60s"),
    },
    "whole-request": {
        "long": set_(manager, request_timeout="3600s"),
        "off, and silent for ever": set_(manager, stream_idle_timeout="0s"),
        "off, and silent for ever with a pod": set_(route, idle_timeout="0s"),
    },
    "route-timeouts": {
        "the default": gone(route, "timeout"),
        "15 s": set_(route, timeout="15s"),
        "of the stream": set_(route, max_stream_duration={"max_stream_duration": "60s"}),
        "of a try": set_(route, retry_policy={"per_try_timeout": "10s"}),
        "of all streams": set_(options, max_stream_duration="60s"),
        "of the connection": set_(options, max_connection_duration="60s"),
    },
    "transfer-idle": {
        "the manager's": gone(route, "idle_timeout"),
        "off": set_(route, idle_timeout="0s"),
        "ten hours": set_(route, idle_timeout="36000s"),
        "half a minute": set_(route, idle_timeout="30s"),
    },
    "one-host": {
        "no filter": without("pointsman.hosts", "http"),
        "off": set_(filter_("pointsman.hosts", "http3"), disabled=True),
        "another filter": each_of(
            without("pointsman.hosts"),
            lambda dump: manager(dump)["http_filters"].insert(0, {"name": "x", "typed_config": {"note": ":authority"}}),
        ),
        "after the router": lambda dump: manager(dump, "http")["http_filters"].reverse(),
        "commas": lambda dump: policy(dump)["permissions"].append(
            {"header": {"name": ":authority", "string_match": {"safe_regex": {"regex": "[a-z.,]+"}}}}
        ),
        "anybody": lambda dump: policy(dump)["permissions"].append({"any": True}),
        "only noted": lambda dump: filter_("pointsman.hosts")(dump)["typed_config"]["rules"].update(action="LOG"),
        "403": answers_no(400),
        "421": lambda dump: mappers(dump).reverse(),
    },
    "misdirected": {
        "no filter": without("pointsman.hosts"),
        "none over QUIC": without("pointsman.hosts", "http3"),
        "off": set_(filter_("pointsman.hosts"), disabled=True),
        "any host": lambda dump: filter_("pointsman.hosts")(dump).update(
            typed_config=filter_("pointsman.hosts", "http")(dump)["typed_config"]
        ),
        "another host": lambda dump: policy(dump).update(permissions=names("other.test")),
        "one host more": lambda dump: policy(dump)["permissions"].extend(names("other.test")),
        "one host less": lambda dump: policy(dump)["permissions"].pop(),
        "any depth": lambda dump: [
            each["and_rules"]["rules"].pop() for each in policy(dump)["permissions"] if "and_rules" in each
        ],
        "403": answers_no(421),
    },
    "port-80": {
        "a pod": lambda dump: plain(dump).append({"match": {"prefix": "/files/"}, "route": {"cluster": "pod1"}}),
        "302": lambda dump: plain(dump)[-1]["redirect"].update(response_code="FOUND"),
        "301": lambda dump: plain(dump)[-1]["redirect"].pop("response_code"),
        "to http": lambda dump: plain(dump)[-1]["redirect"].pop("https_redirect"),
        "challenges to a pod": lambda dump: plain(dump)[0]["route"].update(cluster="pod1"),
        "more than challenges": lambda dump: plain(dump)[0]["match"]["safe_regex"].update(
            regex=r"/\.well-known/acme-challenge/a|/secret"
        ),
        "tables": gone(of("http"), "route_config"),
    },
    "internal-headers": {
        "to a pod": lambda dump: table(dump).pop("request_headers_to_remove"),
        "from a client": gone(manager, "early_header_mutation_extensions"),
        "from a client, without scopes": gone(manager, "early_header_mutation_extensions", "scoped_routes"),
        "not removed": lambda dump: early(dump).pop(0),
        "not written": lambda dump: early(dump).pop(),
        "added to the client's": lambda dump: early(dump)[1]["append"].update(append_action="ADD_IF_ABSENT"),
        "removed after": lambda dump: early(dump).reverse(),
        "another key": lambda dump: manager(dump)["scoped_routes"]["scope_key_builder"]["fragments"][0][
            "header_value_extractor"
        ].update(name="x-tenant"),
    },
    "nobody-internal": {
        "the default": gone(manager, "internal_address_config"),
        "everybody": ranges(address_prefix="0.0.0.0", prefix_len=0),
        "everybody, as Envoy says it": ranges(address_prefix="0.0.0.0"),
        "everybody of IPv6": ranges(address_prefix="::", prefix_len=0),
        "a private network": ranges(address_prefix="10.0.0.0", prefix_len=8),
        "more than the reserved one": ranges(address_prefix="192.0.2.0", prefix_len=8),
        "sockets": lambda dump: manager(dump)["internal_address_config"].update(unix_sockets=True),
    },
    "tenants": {
        "routes": lambda dump: manager(dump, "http")["route_config"]["virtual_hosts"][0]["domains"].append(
            "t0.example.com"
        ),
        "chains": lambda dump: chain(dump).update(filter_chain_match={"server_names": domains(dump)}),
        "a filter": lambda dump: policy(dump)["permissions"].extend(names(*domains(dump))),
        "code": lambda dump: filter_("pointsman.rescope")(dump)["typed_config"]["default_source_code"].update(
            inline_string=" ".join(f'["{domain}"] = 1,' for domain in domains(dump))
        ),
        "names to begin with": each_of(
            on_demand("pointsman:xds"),
            lambda dump: context(dump)["common_tls_context"]["custom_tls_certificate_selector"]["typed_config"].update(
                prefetch_secret_names=[f"tenant{number}.test" for number in range(500)]
            ),
        ),
    },
    "statistics": {
        "of a cluster": set_(pod, track_cluster_stats={"request_response_sizes": True}),
        "of a virtual host": lambda dump: table(dump)["virtual_hosts"][0].update(virtual_clusters=[{"name": "all"}]),
        "of a route": lambda dump: table(dump)["virtual_hosts"][0]["routes"][0].update(stat_prefix="t0"),
    },
    "clusters": {
        "called as a domain": lambda dump: pod(dump).update(name=table(dump)["virtual_hosts"][0]["domains"][0]),
        "two of one pod": shared,
        "one for each domain": one_for_each_domain,
    },
    "tls-versions": {
        "no AEAD": lambda dump: params(dump)["cipher_suites"].append("AES128-SHA"),
        "no forward secrecy": lambda dump: params(dump).update(cipher_suites=["AES128-GCM-SHA256"]),
        "one of several": lambda dump: params(dump)["cipher_suites"].append(
            "[ECDHE-RSA-AES128-GCM-SHA256|AES128-GCM-SHA256]"
        ),
        "the default suites": lambda dump: params(dump).pop("cipher_suites"),
        "TLS 1.1": lambda dump: params(dump).update(tls_minimum_protocol_version="TLSv1_1"),
        "the default": lambda dump: params(dump).pop("tls_minimum_protocol_version"),
        "no TLS 1.3": lambda dump: params(dump).update(tls_maximum_protocol_version="TLSv1_2"),
        "no TLS 1.3 over QUIC": lambda dump: over_quic(dump)["common_tls_context"].update(
            tls_params={"tls_maximum_protocol_version": "TLSv1_2"}
        ),
    },
    "alpn": {
        "no HTTP/2": lambda dump: context(dump)["common_tls_context"].update(alpn_protocols=["http/1.1"]),
        "no HTTP/1.1": lambda dump: context(dump)["common_tls_context"].update(alpn_protocols=["h2"]),
        "none": lambda dump: context(dump)["common_tls_context"].pop("alpn_protocols"),
    },
    "handshake-timeout": {
        "not set": gone(chain, "transport_socket_connect_timeout"),
        "off": set_(chain, transport_socket_connect_timeout="0s"),
        "long": set_(chain, transport_socket_connect_timeout="600s"),
    },
    "certificates-by-sds": {
        "a key in the listener": lambda dump: context(dump)["common_tls_context"].update(tls_certificates=[{}]),
        "over QUIC": lambda dump: over_quic(dump)["common_tls_context"].update(tls_certificates=[{}]),
        "none": lambda dump: over_quic(dump)["common_tls_context"].pop("tls_certificate_sds_secret_configs"),
        "the bootstrap's": lambda dump: context(dump)["common_tls_context"].update(
            tls_certificate_sds_secret_configs=[{"name": "edge"}]
        ),
    },
    "ticket-keys": {
        "none": lambda dump: context(dump).pop("session_ticket_keys_sds_secret_config"),
        "none over QUIC": lambda dump: over_quic(dump).pop("session_ticket_keys_sds_secret_config"),
        "the bootstrap's": lambda dump: context(dump).update(session_ticket_keys_sds_secret_config={"name": "keys"}),
        "no tickets": lambda dump: context(dump).update(disable_stateless_session_resumption=True),
    },
    "ocsp-staples": {
        "needed": lambda dump: context(dump).update(ocsp_staple_policy="MUST_STAPLE"),
        "needed over QUIC": lambda dump: over_quic(dump).update(ocsp_staple_policy="STRICT_STAPLING"),
    },
    "graceful-end": {
        "a listener that stays": lambda dump: listeners(dump)["https"].update(drain_type="MODIFY_ONLY"),
        "no way to say it": lambda dump: bootstrap(dump)["admin"].pop("address"),
    },
    "unknown-host": {
        "to a pod": lambda dump: table(dump)["virtual_hosts"][0]["domains"].append("*"),
        "otherwise over QUIC": lambda dump: manager(dump, "http3")["local_reply_config"]["mappers"].append(
            {"flags": "'NR'"}
        ),
    },
    "unknown-sni": {
        "refused over QUIC alone": refused_over_quic,
        "a name that isn't read": chosen_by_a_name_that_isnt_read,
    },
    "hsts": {
        "not by one": without("pointsman.response-headers"),
        "taken back": lambda dump: of_header("strict-transport-security")(dump).update(value="max-age=0"),
        "off": set_(filter_("pointsman.response-headers", "http3"), disabled=True),
    },
    "on-demand": {
        "a cluster that isn't there": on_demand("nobody"),
        "a cluster of 1,024 requests": each_of(on_demand("pointsman:xds"), requests(max_requests=1025)),
        "that may wait": each_of(on_demand("pointsman:xds"), requests(max_pending_requests=1024)),
        "for the important alone": each_of(on_demand("pointsman:xds"), requests(priority="HIGH")),
        "the aggregated stream": on_demand(""),
        "an Envoy that can't": each_of(
            on_demand("pointsman:xds"),
            lambda dump: bootstrap(dump)["node"]["user_agent_build_version"]["version"].update(
                major_number=1, minor_number=36
            ),
        ),
    },
    "http3": {
        "another port": lambda dump: listeners(dump)["http3"]["address"]["socket_address"].update(port_value=1),
        "no limits": lambda dump: udp(dump).pop("quic_protocol_options"),
        "many streams": lambda dump: udp(dump)["quic_protocol_options"].update(max_concurrent_streams=10_000),
        "early data": lambda dump: socket(dump).update(enable_early_data=True),
        "early data, the default": lambda dump: socket(dump).pop("enable_early_data"),
        "nobody is told": lambda dump: of_header("alt-svc")(dump).update(key="x-alt-svc"),
        "nobody listens": no_udp,
    },
}

EVERY = [(row, how) for row, ways in BREAKS.items() for how in ways]


def status(config: Config) -> dict[str, str]:
    return {verdict.name: verdict.status for verdict in verdicts(config)}


def test_a_running_envoy_holds_every_row(dump: Dump) -> None:
    found = {verdict.name: verdict.found for verdict in verdicts(from_dump(dump)) if verdict.status == "broken"}
    assert found == {}
    asked = {name for name, each in status(from_dump(dump)).items() if each == "held"}
    assert asked == {rule.name for rule in RULES} - {"on-demand"} - NOT_HERE


def test_there_are_several_ways_to_break_every_row() -> None:
    assert BREAKS.keys() == {rule.name for rule in RULES} - NOT_HERE
    assert [row for row, ways in BREAKS.items() if len(ways) < 2] == []


@pytest.mark.parametrize(("row", "how"), EVERY, ids=[f"{row}: {how}" for row, how in EVERY])
def test_a_broken_row_is_named(dump: Dump, row: str, how: str) -> None:
    before = status(from_dump(dump))
    BREAKS[row][how](broken := copy.deepcopy(dump))
    after = status(from_dump(broken))
    assert (before[row], after[row]) == ("not asked" if row == "on-demand" else "held", "broken")


@pytest.mark.skipif(envoy_is("1.36"), reason="it has no certificates on demand, and edge-lint says so")
def test_what_is_on_demand_on_a_cluster_that_takes_enough_is_held(dump: Dump) -> None:
    on_demand("pointsman:xds")(changed := copy.deepcopy(dump))
    assert status(from_dump(changed))["on-demand"] == "held"


def test_the_hosts_of_the_certificate_are_read_from_the_dump(dump: Dump) -> None:
    assert from_dump(dump).hosts == {"edge": EDGE_NAMES}


def test_an_edge_that_watches_gds_isnt_asked_how_it_looks_hosts_up(dump: Dump) -> None:
    assert {name for name, each in status(from_dump(dump)).items() if each == "not asked"} == NOT_HERE | {"on-demand"}


@pytest.mark.parametrize("sni", ["default", "refuse"])
@pytest.mark.parametrize("on_demand", [False, True], ids=["one certificate", "on demand"])
def test_both_ways_with_an_unknown_sni_are_held(edge: Edge, tmp_path: Path, sni: str, on_demand: bool) -> None:
    settings = (edge.system.folder / "pointsman.toml").read_text()
    more = f'\n[edge.tls]\nunknown_sni = "{sni}"\n[edge.tls.on_demand]\nenabled = {str(on_demand).lower()}\n'
    assert "[edge.tls]" not in settings
    (tmp_path / "pointsman.toml").write_text(settings + more)
    done = lint("--bootstrap", ROOT / "envoy" / "envoy.yaml", "--config", tmp_path / "pointsman.toml")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_a_certificate_without_host_names_holds_no_host_off(dump: Dump) -> None:
    nameless = copy.deepcopy(dump)
    for name in ("https", "http3"):
        filters = manager(nameless, name)["http_filters"]
        (hosts,) = [each for each in filters if each["name"] == "pointsman.hosts"]
        (of_any,) = [each for each in manager(dump, "http")["http_filters"] if each["name"] == "pointsman.hosts"]
        hosts["typed_config"] = of_any["typed_config"]
    assert [row for row, found in status(from_dump(nameless)).items() if found == "broken"] == ["misdirected"]


def lint(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xds.cli", "edge-lint", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)


def test_the_command_tells_by_its_exit_code(edge: Edge, dump: Dump, tmp_path: Path) -> None:
    assert lint(edge.system.admin_url).returncode == 0
    BREAKS["port-80"]["a pod"](broken := copy.deepcopy(dump))
    (tmp_path / "dump.json").write_text(json.dumps(broken))
    done = lint(tmp_path / "dump.json", "--json")
    assert done.returncode == 3
    said = json.loads(done.stdout)
    assert [row["name"] for row in said["rows"] if row["status"] == "broken"] == ["port-80"]
    assert "BROKEN port-80" in lint(tmp_path / "dump.json").stdout
    for nothing in (tmp_path / "none.json", "http://127.0.0.1:1", ROOT / "pyproject.toml"):
        done = lint(nothing)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


def test_the_bootstrap_and_settings_are_checked_before_an_envoy_runs(edge: Edge, tmp_path: Path) -> None:
    settings = edge.system.folder / "pointsman.toml"
    done = lint("--bootstrap", ROOT / "envoy" / "envoy.yaml", "--config", settings)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "envoy.yaml").write_text(
        (ROOT / "envoy" / "envoy.yaml").read_text().replace("127.0.0.1, port_value: 9901", "0.0.0.0, port_value: 9901")
    )
    done = lint("--bootstrap", tmp_path / "envoy.yaml", "--config", settings)
    assert done.returncode == 3
    assert "BROKEN admin" in done.stdout


def test_the_domains_and_pods_of_a_snapshot_are_judged_with_the_bootstrap(edge: Edge, tmp_path: Path) -> None:
    told = ["--bootstrap", ROOT / "envoy" / "envoy.yaml", "--config", edge.system.folder / "pointsman.toml"]
    (tmp_path / "good.ndjson").write_bytes(edge.gds.get("/backends").content)
    done = lint(*told, "--snapshot", tmp_path / "good.ndjson")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    head = {"epoch": "e", "revision": 1, "domains": 1, "pods": [{"name": "t0.example.com", "datacenter": "dc1"}]}
    record = {"domain": "t0.example.com", "pod": "t0.example.com"}
    (tmp_path / "bad.ndjson").write_text(f"{json.dumps(head)}\n{json.dumps(record)}\n")
    done = lint(*told, "--snapshot", tmp_path / "bad.ndjson", "--json")
    assert done.returncode == 3
    broken = {row["name"]: row["found"] for row in json.loads(done.stdout)["rows"] if row["status"] == "broken"}
    assert broken == {"clusters": "cluster t0.example.com is of one domain"}
    (tmp_path / "cut.ndjson").write_text(json.dumps(head) + "\n")
    for words in (
        [*told, "--snapshot", tmp_path / "cut.ndjson"],
        [*told, "--snapshot", tmp_path / "none"],
        [edge.system.admin_url, "--snapshot", tmp_path / "good.ndjson"],
    ):
        done = lint(*words)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr

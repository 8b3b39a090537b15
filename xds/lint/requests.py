"""The rows about requests: how they are read, how long they may take, where they may lead."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

from xds.lint.config import NOTHING, Config, Message, chains, seconds
from xds.lint.rule import Rule, at, differing, first, label, within
from xds.resources.manager import INTERNAL_PREFIX

BUFFER = 32 * 1024
_PROXY = "envoy.filters.listener.proxy_protocol"
_ACME = "/.well-known/acme-challenge/"
_IDLE_LEAST, _IDLE_MOST = 300, 3600
_NOBODYS = [
    ipaddress.ip_network(each) for each in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
"""Of documentation (RFC 5737, RFC 3849): no packet comes from there."""
_CUSTOMERS = 16
"""So many domains may stand in a listener because the service's own names are routed, too."""
_PREFETCHED = 120
"""Names that a listener has Envoy ask for at its start: the settings' 100 and the 20 busiest."""
_FEW_PODS = 100
_PREFETCH = "common_tls_context.custom_tls_certificate_selector.typed_config.prefetch_secret_names"
_DOMAIN = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")


def _buffers(messages: list[Message], of: str) -> str:
    for message in messages:
        size = message.get("per_connection_buffer_limit_bytes")
        if size is None or not 0 < size <= BUFFER:
            said = "not set: 1 MiB" if size is None else size or "0: no limit"
            return f"per_connection_buffer_limit_bytes of {of} {label(message)} is {said}"
    return ""


def _proxy_protocol(config: Config) -> str:
    seen = {}
    for listener in config.tcp():
        filters: list[dict[str, Any]] = listener.get("listener_filters", [])
        found = [each for each in filters if each.get("name") == _PROXY]
        seen[label(listener)] = bool(found)
        if found and filters[0] is not found[0]:
            return f"of listener {label(listener)}, PROXY protocol isn't read first"
        if found and at(found[0], "typed_config.allow_requests_without_proxy_protocol"):
            return f"listener {label(listener)} takes connections without it: a client can say who it is"
    return "" if len(set(seen.values())) < 2 else f"only some listeners read it: {seen}"


def _remote_address(config: Config) -> str:
    for one in config.every_manager():
        if one.get("xff_num_trusted_hops"):
            return f"manager {label(one)} believes what clients say in x-forwarded-for (xff_num_trusted_hops)"
        if one.get("original_ip_detection_extensions"):
            return f"manager {label(one)} has original_ip_detection_extensions: a client may say who it is"
        if one.get("skip_xff_append"):
            return f"manager {label(one)} doesn't tell pods who the client is (skip_xff_append)"
    return differing(config.every_manager(), {"use_remote_address": True}, "manager")


def _paths(config: Config) -> str:
    wanted = {
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
    }
    return differing(config.every_manager(), wanted, "manager")


def _underscores(config: Config) -> str:
    path = "common_http_protocol_options.headers_with_underscores_action"
    return differing(config.every_manager(), {path: "REJECT_REQUEST"}, "manager")


def _http2(options: Message, of: str) -> str:
    for key, most in (
        ("max_concurrent_streams", 100),
        ("initial_stream_window_size", 64 * 1024),
        ("initial_connection_window_size", 1024 * 1024),
    ):
        value = options.get(key)
        if not isinstance(value, int) or not 0 < value <= most:
            return f"{key} of {of} is {value or 'not set'}, not at most {most}"
    return ""


def _http2_clients(config: Config) -> str:
    managers = config.every_manager()
    return first(*(_http2(one.get("http2_protocol_options", NOTHING), f"manager {label(one)}") for one in managers))


def _http2_pods(config: Config) -> str:
    for pod in config.pods():
        for options in pod.get("typed_extension_protocol_options", NOTHING).values():
            limits = at(options, "explicit_http_config.http2_protocol_options")
            if isinstance(limits, dict) and (found := _http2(limits, f"cluster {label(pod)}")):
                return found
            if "use_downstream_protocol_config" in options or "auto_config" in options:
                return f"cluster {label(pod)} chooses its protocol by itself: its HTTP/2 has no limits here"
    return ""


def _request(config: Config) -> str:
    """Off is right where uploads are large; then a stream on which nothing moves is what is limited."""
    for one in config.every_manager():
        value = seconds(one.get("request_timeout")) or 0
        if value > 300:
            return (
                f"request_timeout of manager {label(one)} is {value:g} s: set 300 s, or none and a stream_idle_timeout"
            )
    idle = first(within(config.every_manager(), "stream_idle_timeout", 300, "manager"), _transfers(config))
    off = [one for one in config.every_manager() if not seconds(one.get("request_timeout"))]
    return f"no request_timeout, and {idle}" if off and idle else ""


def _routes(config: Config) -> str:
    for where, route in config.routes():
        if seconds(route.get("timeout")) != 0:
            return f"route of {where} has a time-out, which breaks large transfers"
        for path in ("max_stream_duration.max_stream_duration", "retry_policy.per_try_timeout"):
            if seconds(at(route, path)):
                return f"route of {where} has a {path.split('.')[-1]}, which breaks large transfers"
    for one in config.serving():
        for field in ("max_stream_duration", "max_connection_duration"):
            if seconds(at(one, f"common_http_protocol_options.{field}")):
                return f"manager {label(one)} has a {field}, which breaks large transfers"
    return ""


def _transfers(config: Config) -> str:
    """Without one of its own, a route has the manager's."""
    for where, route in config.routes():
        value = seconds(route.get("idle_timeout"))
        if value is None or not _IDLE_LEAST <= value <= _IDLE_MOST:
            said = "not set" if value is None else f"{value:g} s" if value else "off"
            return f"idle_timeout of the route of {where} is {said}, not from {_IDLE_LEAST} to {_IDLE_MOST} s"
    return ""


def _port_80(config: Config) -> str:
    for listener in config.tcp():
        if all("transport_socket" in chain for chain in chains(listener)):
            continue
        for one in config.managers(listener):
            found = _only_redirects(one)
            if found:
                return f"listener {label(listener)}, without TLS, {found}"
    return ""


def _only_redirects(manager: Message) -> str:
    hosts = at(manager, "route_config.virtual_hosts")
    if not isinstance(hosts, list):
        return "routes to what comes over RDS"
    for host in hosts:
        for route in host.get("routes", ()):
            redirect = route.get("redirect", NOTHING)
            match = route.get("match", NOTHING)
            where = str(match.get("prefix") or at(match, "safe_regex.regex") or "").replace("\\.", ".")
            if redirect.get("https_redirect") and redirect.get("response_code") == "PERMANENT_REDIRECT":
                continue
            if not where.startswith(_ACME) or "|" in where or ":" not in str(at(route, "route.cluster") or ""):
                return f"does something else than a redirect (308) for {where or 'a route'}"
    return ""


def _internal(config: Config) -> str:
    for one in config.serving():
        removed, written = _early(one)
        if INTERNAL_PREFIX not in removed:
            return f"manager {label(one)} takes headers of ours ({INTERNAL_PREFIX}…) from a client"
        builder = at(one, "scoped_routes.scope_key_builder.fragments")
        keys = [at(each, "header_value_extractor.name") for each in builder] if isinstance(builder, list) else []
        for key in keys:
            if str(key).lower() not in written:
                return f"manager {label(one)} takes the scope's header, {key}, from a client"
    for table in config.tables:
        if "x-pointsman-scope" not in table.get("request_headers_to_remove", ()):
            return f"table {label(table)} sends the scope's header to pods"
    return ""


def _early(manager: Message) -> tuple[set[str], set[str]]:
    """What is done before a route is looked for: prefixes of headers that are removed, and what is written after."""
    removed: set[str] = set()
    written: set[str] = set()
    for each in manager.get("early_header_mutation_extensions", ()):
        for mutation in each.get("typed_config", NOTHING).get("mutations", ()):
            if prefix := at(mutation, "remove_on_match.key_matcher.prefix"):
                removed.add(str(prefix).lower())
                written = {header for header in written if not header.startswith(str(prefix).lower())}
            if at(mutation, "append.append_action") == "OVERWRITE_IF_EXISTS_OR_ADD":
                written.add(str(at(mutation, "append.header.key")).lower())
    return removed, written


def _private(config: Config) -> str:
    for one in config.every_manager():
        ranges: Any = at(one, "internal_address_config.cidr_ranges") or ()
        if not ranges or at(one, "internal_address_config.unix_sockets"):
            return f"manager {label(one)} takes x-envoy-… headers from private addresses"
        for each in ranges:
            if not _nobodys(f"{each.get('address_prefix')}/{each.get('prefix_len', 0)}"):
                return f"manager {label(one)} takes x-envoy-… headers from {each.get('address_prefix')}"
    return ""


def _nobodys(range_: str) -> bool:
    try:
        asked = ipaddress.ip_network(range_, strict=False)
    except ValueError:
        return False
    # Of two kinds of addresses neither is within the other, and asking is an error.
    return any(asked.version == each.version and asked.subnet_of(each) for each in _NOBODYS)  # type: ignore[arg-type]


def _tenants(config: Config) -> str:
    """Domains wherever in a listener they stand: in a filter's code, too."""
    routed = {domain for domain in config.domains() if not domain.startswith("*")}
    for listener in config.listeners:
        for one in config.managers(listener):
            hosts: Any = at(one, "route_config.virtual_hosts") or ()
            inside = {domain for host in hosts for domain in host.get("domains", ())} - {"*"}
            if inside:
                return f"routes of {min(inside)} stand in listener {label(listener)}"
        tenants = routed & set(_DOMAIN.findall(json.dumps(listener).lower()))
        if len(tenants) > _CUSTOMERS:
            return f"{len(tenants)} routed domains stand in listener {label(listener)}"
    for secured in config.secured():
        asked: Any = at(secured.context, _PREFETCH) or ()
        if len(asked) > _PREFETCHED:
            return f"{len(asked)} names to be asked for at the start stand in listener {label(secured.listener)}"
    return ""


def _statistics(config: Config) -> str:
    for table in config.tables:
        for host in table.get("virtual_hosts", ()):
            if host.get("virtual_clusters") or any(route.get("stat_prefix") for route in host.get("routes", ())):
                return f"virtual host {label(host)} of {label(table)} has statistics of its own"
    tracked = [label(pod) for pod in config.pods() if "track_cluster_stats" in pod]
    return f"cluster {tracked[0]} has track_cluster_stats" if tracked else ""


def _clusters(config: Config) -> str:
    routed, pods = config.domains(), config.pods()
    both = sorted(label(pod) for pod in pods if label(pod) in routed)
    if both:
        return f"cluster {both[0]} is of one domain"
    named: dict[str, str] = {}
    for pod in pods:
        where = str(at(pod, "eds_cluster_config.service_name") or at(pod, "load_assignment.endpoints") or label(pod))
        if where in named:
            return f"clusters {named[where]} and {label(pod)} are of one pod"
        named[where] = label(pod)
    asked = any("cluster_header" in route for _, route in config.routes())
    if len(pods) > _FEW_PODS and len(pods) >= len(routed) and not asked:
        return f"{len(pods):,} clusters for {len(routed):,} domains: one for each?"
    return ""


RULES = (
    Rule(
        "listener-buffers",
        "Listener buffers of 32 KiB",
        "set per_connection_buffer_limit_bytes of every listener to 32768",
        lambda config: _buffers(list(config.listeners), "listener"),
    ),
    Rule(
        "cluster-buffers",
        "Cluster buffers of 32 KiB",
        "set per_connection_buffer_limit_bytes of every cluster to 32768",
        lambda config: _buffers(config.pods(), "cluster"),
    ),
    Rule("remote-address", "use_remote_address", "set it true in every HTTP connection manager", _remote_address),
    Rule(
        "proxy-protocol",
        "PROXY protocol, all or none",
        "set edge.proxy_protocol, and never allow_requests_without_proxy_protocol",
        _proxy_protocol,
    ),
    Rule(
        "paths",
        "Paths are normalised, slashes merged, escaped slashes redirected",
        "set normalize_path, merge_slashes and path_with_escaped_slashes_action",
        _paths,
    ),
    Rule("underscores", "A header with an underscore is refused", "set headers_with_underscores_action", _underscores),
    Rule("http2-clients", "HTTP/2 limits for clients", "set http2_protocol_options of the manager", _http2_clients),
    Rule("http2-pods", "HTTP/2 limits for pods", "set explicit_http_config.http2_protocol_options", _http2_pods),
    Rule(
        "connection-idle",
        "Connection idle 1 h",
        "set edge.timeouts.connection_idle",
        lambda config: within(config.every_manager(), "common_http_protocol_options.idle_timeout", 3600, "manager"),
    ),
    Rule(
        "stream-idle",
        "Stream idle 5 min",
        "set edge.timeouts.stream_idle",
        lambda config: within(config.every_manager(), "stream_idle_timeout", 300, "manager"),
    ),
    Rule(
        "request-headers",
        "Request headers 10 s",
        "set edge.timeouts.request_headers",
        lambda config: within(config.every_manager(), "request_headers_timeout", 10, "manager"),
    ),
    Rule("whole-request", "Whole request 5 min, or bounded by idleness", "set edge.timeouts.request", _request),
    Rule("route-timeouts", "No route time-out, for large transfers", "set the time-out of routes to 0", _routes),
    Rule(
        "transfer-idle",
        "A route's own idle time-out, for slow uploads, downloads and websockets, and still an end of what is silent",
        "set edge.timeouts.transfer_idle between 300 and 3600",
        _transfers,
    ),
    Rule("port-80", "Without TLS only redirects (308), and ACME", "redirect everything else", _port_80),
    Rule(
        "internal-headers", "Internal headers from no client, to no pod", "remove and overwrite them early", _internal
    ),
    Rule("nobody-internal", "No address is internal", "set internal_address_config to a range nobody has", _private),
    Rule("tenants", "Tenant data never goes into LDS", "route by RDS, certificates by SDS", _tenants),
    Rule(
        "statistics",
        "No statistics per tenant",
        "take virtual clusters, stat_prefix, track_cluster_stats out",
        _statistics,
    ),
    Rule(
        "clusters", "Clusters are one per pod, never one per domain", "route domains to their pod's cluster", _clusters
    ),
)

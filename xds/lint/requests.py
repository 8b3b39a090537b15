"""The rows about requests: how they are read, how long they may take, where they may lead."""

from __future__ import annotations

from typing import Any

from xds.lint.config import NOTHING, Config, Message, chains, seconds
from xds.lint.rule import Rule, at, differing, first, label, within

BUFFER = 32 * 1024
_PROXY = "envoy.filters.listener.proxy_protocol"
_ACME = "/.well-known/acme-challenge/"


def _buffers(messages: list[Message], of: str) -> str:
    for message in messages:
        size = message.get("per_connection_buffer_limit_bytes")
        if size is None or size > BUFFER:
            return f"per_connection_buffer_limit_bytes of {of} {label(message)} is {size or 'not set: 1 MiB'}"
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
        if not isinstance(value, int) or value > most:
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
    idle = within(config.every_manager(), "stream_idle_timeout", 300, "manager")
    off = [one for one in config.every_manager() if not seconds(one.get("request_timeout"))]
    return f"no request_timeout, and {idle}" if off and idle else ""


def _routes(config: Config) -> str:
    for table in config.tables:
        for host in table.get("virtual_hosts", ()):
            for route in host.get("routes", ()):
                if "route" in route and seconds(route["route"].get("timeout")) != 0:
                    return f"route of {label(host)} in {label(table)} has a time-out, which breaks large transfers"
    return ""


def _filter(manager: Message, part: str) -> bool:
    return any(part in str(each) for each in manager.get("http_filters", ()))


def _one_host(config: Config) -> str:
    for one in config.every_manager():
        if not _filter(one, ":authority") or not _mapped(one, 400):
            return f"manager {label(one)} lets a request with several hosts, or none, look for a route"
    return ""


def _misdirected(config: Config) -> str:
    """Whether the filter before the router asks for names, or for the SNI itself."""
    for one in config.serving():
        # Of no other filter: one that asks for unknown hosts has exact matches too.
        hosts = [str(each) for each in one.get("http_filters", ()) if _type(each).endswith((".RBAC", ".Lua"))]
        named = [each for each in hosts for sign in ("'suffix'", "'exact'", "requestedServerName") if sign in each]
        if not named or not _mapped(one, 421):
            return f"manager {label(one)} serves any host on any connection"
    return ""


def _type(filter_: Message) -> str:
    return str(at(filter_, "typed_config.@type") or "")


def _mapped(manager: Message, status: int) -> bool:
    mappers = at(manager, "local_reply_config.mappers")
    return isinstance(mappers, list) and any(each.get("status_code") == status for each in mappers)


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
            if not where.startswith(_ACME) and (
                not redirect.get("https_redirect") or redirect.get("response_code") != "PERMANENT_REDIRECT"
            ):
                return f"does something else than a redirect (308) for {where or 'a route'}"
    return ""


def _internal(config: Config) -> str:
    for one in config.serving():
        key = at(one, "scoped_routes.scope_key_builder")
        early = str(one.get("early_header_mutation_extensions", ""))
        if key is None:
            continue
        if "OVERWRITE_IF_EXISTS_OR_ADD" not in early or "remove_on_match" not in early:
            return f"manager {label(one)} takes the scope's header, or others of ours, from a client"
    for table in config.tables:
        if "x-pointsman-scope" not in table.get("request_headers_to_remove", ()):
            return f"table {label(table)} sends the scope's header to pods"
    return ""


def _private(config: Config) -> str:
    for one in config.every_manager():
        if not at(one, "internal_address_config.cidr_ranges"):
            return f"manager {label(one)} takes x-envoy-… headers from private addresses"
    return ""


def _tenants(config: Config) -> str:
    routed = {
        domain for table in config.tables for host in table.get("virtual_hosts", ()) for domain in host["domains"]
    }
    for listener in config.listeners:
        for one in config.managers(listener):
            hosts: Any = at(one, "route_config.virtual_hosts") or ()
            inside = {domain for host in hosts for domain in host.get("domains", ())} - {"*"}
            if inside:
                return f"routes of {min(inside)} stand in listener {label(listener)}"
        for chain in chains(listener):
            names = chain.get("filter_chain_match", NOTHING).get("server_names", ())
            tenants = {name for name in names if not name.startswith("*.")} & routed
            if len(tenants) > 16:
                return f"{len(tenants)} routed domains stand in filter chains of listener {label(listener)}"
    return ""


def _statistics(config: Config) -> str:
    for table in config.tables:
        for host in table.get("virtual_hosts", ()):
            if host.get("virtual_clusters") or any(route.get("stat_prefix") for route in host.get("routes", ())):
                return f"virtual host {label(host)} of {label(table)} has statistics of its own"
    tracked = [label(pod) for pod in config.pods() if "track_cluster_stats" in pod]
    return f"cluster {tracked[0]} has track_cluster_stats" if tracked else ""


def _clusters(config: Config) -> str:
    routed = {
        domain for table in config.tables for host in table.get("virtual_hosts", ()) for domain in host["domains"]
    }
    both = sorted(label(pod) for pod in config.pods() if label(pod) in routed)
    return f"cluster {both[0]} is of one domain" if both else ""


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
    Rule("one-host", "More than one Host, or none: 400", "put pointsman.hosts before the router", _one_host),
    Rule("misdirected", "421 when the certificate isn't for the Host", "set edge.misdirected", _misdirected),
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

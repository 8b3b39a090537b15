"""The rows about TLS and HTTP/3."""

from __future__ import annotations

from xds.lint.config import NOTHING, Config, Message, chains
from xds.lint.rule import Rule, at, label, within, without_http3

_PARAMS = "common_tls_context.tls_params"
_SERVICE = "common_tls_context.tls_certificate_sds_secret_configs"
_SELECTOR = "common_tls_context.custom_tls_certificate_selector"
ON_DEMAND = (1, 37)
_QUIC = (
    ("max_concurrent_streams", 100),
    ("initial_stream_window_size", 64 * 1024),
    ("initial_connection_window_size", 1024 * 1024),
)


def _named(chain: Message) -> str:
    return f"chain {label(chain)}"


def _versions(config: Config) -> str:
    for chain, context in config.tls():
        least = at(context, f"{_PARAMS}.tls_minimum_protocol_version")
        if least not in ("TLSv1_2", "TLSv1_3"):
            return f"{_named(chain)} takes {least or 'whatever is the default'}"
        suites = at(context, f"{_PARAMS}.cipher_suites")
        if least == "TLSv1_2" and (not isinstance(suites, list) or not all(map(_aead, suites))):
            return f"{_named(chain)} has suites that aren't AEAD, or leaves them to the default"
    return ""


def _aead(suite: str) -> bool:
    return all("GCM" in one or "CHACHA20" in one for one in suite.strip("[]").split("|"))


def _alpn(config: Config) -> str:
    for chain, context in config.tls():
        offered = at(context, "common_tls_context.alpn_protocols")
        if offered != ["h2", "http/1.1"]:
            return f"{_named(chain)} offers {offered}"
    return ""


def _connect(config: Config) -> str:
    return within((chain for chain, _ in config.tls()), "transport_socket_connect_timeout", 30, "chain")


def _tickets(config: Config) -> str:
    for chain, context in config.tls():
        if at(context, _SERVICE) and "session_ticket_keys_sds_secret_config" not in context:
            return f"{_named(chain)} makes its ticket keys by itself: another Envoy can't resume its sessions"
    return ""


def _hsts(config: Config) -> str:
    for one in config.serving():
        if "strict-transport-security" not in str(one.get("http_filters", "")).lower():
            return f"manager {label(one)} doesn't add it"
    return ""


def _no_hsts(config: Config) -> str:
    said = any("strict-transport-security" in str(one.get("http_filters", "")).lower() for one in config.serving())
    return "" if said else "edge.hsts isn't set"


def _secrets(config: Config) -> str:
    for chain, context in config.tls():
        if at(context, "common_tls_context.tls_certificates"):
            return f"{_named(chain)} holds a key in the listener"
        if not at(context, _SERVICE) and not at(context, _SELECTOR):
            return f"{_named(chain)} has no certificate"
    return ""


def _own_stream(config: Config) -> str:
    for chain, context in config.tls():
        selector = at(context, f"{_SELECTOR}.typed_config")
        if selector is None or not isinstance(selector, dict):
            continue
        cluster = _sds_cluster(selector)
        if not cluster:
            return f"{_named(chain)} asks for certificates on the aggregated stream"
        found = next((each for each in config.clusters if label(each) == cluster), NOTHING)
        limits: object = at(found, "circuit_breakers.thresholds")
        most = (
            max((int(each.get("max_requests", 1024)) for each in limits), default=0) if isinstance(limits, list) else 0
        )
        if most <= 1024:
            return f"cluster {cluster} takes {most or 1024} requests, and each certificate on demand is one"
        if config.version and config.version < ON_DEMAND:
            return f"Envoy {'.'.join(map(str, config.version))} has no certificates on demand"
    return ""


def _sds_cluster(selector: Message) -> str:
    services = at(selector, "config_source.api_config_source.grpc_services")
    if not isinstance(services, list) or not services:
        return ""
    return str(at(services[0], "envoy_grpc.cluster_name") or "")


def _no_on_demand(config: Config) -> str:
    asked = any(at(context, _SELECTOR) for _, context in config.tls())
    return "" if asked else "no certificates on demand"


def _http3(config: Config) -> str:
    for listener in config.quic():
        port = at(listener, "address.socket_address.port_value")
        if port not in [at(each, "address.socket_address.port_value") for each in config.tcp()]:
            return f"listener {label(listener)} is on a port that no TCP listener has"
        limits = at(listener, "udp_listener_config.quic_options.quic_protocol_options")
        for key, most in _QUIC:
            value = limits.get(key) if isinstance(limits, dict) else None
            if not isinstance(value, int) or value > most:
                return f"{key} of listener {label(listener)} is {value or 'not set'}, not at most {most}"
    said = [one for one in config.serving() if "alt-svc" in str(one.get("http_filters", ""))]
    if not said:
        return "no answer has alt-svc: clients never learn of it"
    return ""


def _http3_limit(config: Config) -> str:
    for listener in config.quic():
        for chain in chains(listener):
            limits = [one["typed_config"] for one in chain.get("filters", ()) if _limits(one)]
            if not any(int(one.get("max_connections", 0)) for one in limits):
                return f"a chain of listener {label(listener)} takes any number of connections"
    return ""


def _limits(one: Message) -> bool:
    return str(at(one, "typed_config.@type") or "").endswith("ConnectionLimit")


def _no_http3(config: Config) -> str:
    said = [one for one in config.serving() if "alt-svc" in str(one.get("http_filters", ""))]
    return "" if config.quic() or said else "HTTP/3 is off (edge.http3)"


def _staples(config: Config) -> str:
    """By any other policy Envoy refuses clients when a staple is old, or isn't there."""
    for listener in config.listeners:
        for chain in chains(listener):
            context = chain.get("transport_socket", NOTHING).get("typed_config", NOTHING)
            for each in (context, context.get("downstream_tls_context", NOTHING)):
                policy = each.get("ocsp_staple_policy", "LENIENT_STAPLING")
                if policy != "LENIENT_STAPLING":
                    return f"a chain of listener {label(listener)} has {policy}: an old staple refuses its clients"
    return ""


RULES = (
    Rule("tls-versions", "TLS 1.2 at least, AEAD suites only for 1.2", "set tls_params of every chain", _versions),
    Rule("alpn", "ALPN h2,http/1.1", "set alpn_protocols of every chain", _alpn),
    Rule("handshake-timeout", "transport_socket_connect_timeout", "set it in every filter chain", _connect),
    Rule("certificates-by-sds", "Certificates come over SDS", "use tls_certificate_sds_secret_configs", _secrets),
    Rule("ticket-keys", "Session-ticket keys over SDS", "set session_ticket_keys_sds_secret_config", _tickets),
    Rule("ocsp-staples", "OCSP staple where there is one", "leave ocsp_staple_policy lenient", _staples),
    Rule("hsts", "HSTS, as a setting", "set edge.hsts", _hsts, _no_hsts),
    Rule(
        "on-demand",
        "On-demand certificates on a stream of their own",
        "see edge.tls.on_demand",
        _own_stream,
        _no_on_demand,
    ),
    Rule(
        "http3-connections",
        "Limit on HTTP/3 connections, which the global one doesn't count",
        "put envoy.filters.network.connection_limit before the manager",
        _http3_limit,
        without_http3,
    ),
    Rule("http3", "HTTP/3: own UDP listener, its limits and alt-svc", "set edge.http3", _http3, _no_http3),
)

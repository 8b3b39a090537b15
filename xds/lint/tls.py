"""The rows about TLS and HTTP/3."""

from __future__ import annotations

import re
from itertools import takewhile

from xds.lint.config import NOTHING, Config, Message, chains
from xds.lint.rule import Rule, at, label, within, without_http3

_PARAMS = "common_tls_context.tls_params"
_SERVICE = "common_tls_context.tls_certificate_sds_secret_configs"
_SELECTOR = "common_tls_context.custom_tls_certificate_selector"
ON_DEMAND = (1, 37)
_HTTP3_MOST = 1_000_000
"""Connections, as the settings have it."""
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
        if least == "TLSv1_2" and (not isinstance(suites, list) or not suites or not all(map(_modern, suites))):
            return f"{_named(chain)} has suites that aren't AEAD with ECDHE, or leaves them to the default"
    for one in config.secured():
        most = at(one.context, f"{_PARAMS}.tls_maximum_protocol_version")
        if most not in (None, "TLS_AUTO", "TLSv1_3"):
            return f"{_named(one.chain)} of listener {label(one.listener)} speaks no TLS 1.3: at most {most}"
    return ""


def _modern(suite: str) -> bool:
    """AEAD, and a key that is made for the session: what is recorded stays secret when the certificate's key is out."""
    suites = suite.strip("[]").split("|")
    return all(one.startswith("ECDHE-") and ("GCM" in one or "CHACHA20" in one) for one in suites)


def _alpn(config: Config) -> str:
    for chain, context in config.tls():
        offered = at(context, "common_tls_context.alpn_protocols")
        if offered != ["h2", "http/1.1"]:
            return f"{_named(chain)} offers {offered}"
    return ""


def _connect(config: Config) -> str:
    return within((chain for chain, _ in config.tls()), "transport_socket_connect_timeout", 30, "chain")


def _tickets(config: Config) -> str:
    for one in config.secured():
        where = f"{_named(one.chain)} of listener {label(one.listener)}"
        if not at(one.context, _SERVICE):
            continue
        if not at(one.context, "session_ticket_keys_sds_secret_config.sds_config"):
            return f"{where} makes its ticket keys by itself: another Envoy can't resume its sessions"
        if one.context.get("disable_stateless_session_resumption"):
            return f"{where} gives out no tickets"
    return ""


def _hsts(config: Config) -> str:
    for one in config.serving():
        said = _says(one, "strict-transport-security")
        if not said:
            return f"manager {label(one)} doesn't add it"
        if not re.match(r"max-age=0*[1-9]", said):
            return f"manager {label(one)} says {said}, which takes it back"
    return ""


def _says(manager: Message, header: str) -> str:
    """What it adds to every answer in a header."""
    for each in manager.get("http_filters", ()):
        mutations = at(each, "typed_config.mutations.response_mutations")
        if each.get("disabled") or not isinstance(mutations, list):
            continue
        for one in mutations:
            if str(at(one, "append.header.key")).lower() == header:
                return str(at(one, "append.header.value") or "")
    return ""


def _no_hsts(config: Config) -> str:
    said = any(_says(one, "strict-transport-security") for one in config.serving())
    return "" if said else "edge.hsts isn't set"


def _secrets(config: Config) -> str:
    for one in config.secured():
        where = f"{_named(one.chain)} of listener {label(one.listener)}"
        if at(one.context, "common_tls_context.tls_certificates"):
            return f"{where} holds a key in the listener"
        certificates = at(one.context, _SERVICE)
        if not certificates and not at(one.context, _SELECTOR):
            return f"{where} has no certificate"
        if any("sds_config" not in each for each in (certificates if isinstance(certificates, list) else ())):
            return f"{where} has a certificate of the bootstrap: it isn't renewed"
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
        of_all = (
            [each for each in limits if each.get("priority", "DEFAULT") == "DEFAULT"]
            if isinstance(limits, list)
            else []
        )
        for field in ("max_requests", "max_pending_requests"):
            most = min((int(each.get(field, 1024)) for each in of_all), default=1024)
            if most <= config.names:
                return f"{field} of cluster {cluster} is {most:,}, and each of {config.names:,} names on demand is one"
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
    if not config.quic():
        return "answers have alt-svc, and nothing listens on UDP"
    for one in config.secured():
        if one.quic and one.socket.get("enable_early_data") is not False:
            return f"listener {label(one.listener)} takes early data: such a request can be replayed"
    for listener in config.quic():
        port = at(listener, "address.socket_address.port_value")
        if port not in [at(each, "address.socket_address.port_value") for each in config.tcp()]:
            return f"listener {label(listener)} is on a port that no TCP listener has"
        limits = at(listener, "udp_listener_config.quic_options.quic_protocol_options")
        for key, most in _QUIC:
            value = limits.get(key) if isinstance(limits, dict) else None
            if not isinstance(value, int) or not 0 < value <= most:
                return f"{key} of listener {label(listener)} is {value or 'not set'}, not at most {most}"
    over_tcp = [one for each in config.tcp() for one in config.managers(each) if "route_config" not in one]
    if not any(_says(one, "alt-svc") for one in over_tcp):
        return "no answer over TCP has alt-svc: clients never learn of it"
    return ""


def _http3_limit(config: Config) -> str:
    for listener in config.quic():
        for chain in chains(listener):
            # What comes after the manager is never asked.
            before = takewhile(lambda one: not _manages(one), chain.get("filters", ()))
            limits = [int(one["typed_config"].get("max_connections", 0)) for one in before if _limits(one)]
            if not any(0 < most <= _HTTP3_MOST for most in limits):
                return f"a chain of listener {label(listener)} takes any number of connections"
    return ""


def _manages(one: Message) -> bool:
    return str(at(one, "typed_config.@type") or "").endswith("HttpConnectionManager")


def _limits(one: Message) -> bool:
    return str(at(one, "typed_config.@type") or "").endswith("ConnectionLimit")


def _no_http3(config: Config) -> str:
    said = [one for one in config.serving() if _says(one, "alt-svc")]
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
    Rule(
        "tls-versions",
        "TLS 1.2 at least, 1.3 too, AEAD with ECDHE only for 1.2",
        "set tls_params of every chain",
        _versions,
    ),
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

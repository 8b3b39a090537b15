"""The rows about who isn't known: a host that no table holds, a name that no certificate is for."""

from __future__ import annotations

from xds.lint.config import NOTHING, Config, Message, chains
from xds.lint.rule import Rule, at, label

_INSPECTOR = "TlsInspector"
_DEFAULT = (
    "common_tls_context.custom_tls_certificate_selector.typed_config.certificate_mapper.typed_config.default_value"
)
_NOBODY = "#nobody"


def _host(config: Config) -> str:
    for table in config.tables:
        for host in table.get("virtual_hosts", ()):
            led = [route for route in host.get("routes", ()) if "cluster" in route.get("route", NOTHING)]
            if led and "*" in host.get("domains", ()):
                return f"{label(host)} in {label(table)} takes every host that nobody has to a pod"
    answers = {
        label(listener): _answers(one)
        for listener in config.listeners
        for one in config.managers(listener)
        if one in config.serving()
    }
    if len({str(each) for each in answers.values()}) > 1:
        return f"an unknown host isn't answered alike by {', '.join(answers)}"
    return ""


def _answers(manager: Message) -> list[object]:
    """What a manager makes of a request without a route."""
    mappers = at(manager, "local_reply_config.mappers")
    return [each for each in mappers if "'NR'" in str(each)] if isinstance(mappers, list) else []


def _name(config: Config) -> str:
    refusing = {}
    for listener in config.listeners:
        secured = [chain for chain in chains(listener) if "transport_socket" in chain]
        if not secured:
            continue
        filters = str(listener.get("listener_filters", ""))
        if listener in config.tcp() and any(map(_names, secured)) and _INSPECTOR not in filters:
            return f"listener {label(listener)} chooses by a name that it doesn't read: no handshake gets through"
        refusing[label(listener)] = all(_refuses(chain) for chain in secured)
    if len(set(refusing.values())) > 1:
        open_, closed = ([name for name, each in refusing.items() if each is so] for so in (False, True))
        return f"{', '.join(closed)} refuses a name that {', '.join(open_)} shows the default certificate"
    return ""


def _names(chain: Message) -> object:
    return at(chain, "filter_chain_match.server_names")


def _refuses(chain: Message) -> bool:
    """Whether a client meets no certificate there whose SNI is nobody's."""
    return bool(_names(chain)) or at(chain, f"transport_socket.typed_config.{_DEFAULT}") == _NOBODY


RULES = (
    Rule(
        "unknown-host",
        "An unknown host leads to no pod, and has one answer",
        "take `*` out of pods' domains; edge.unknown_host makes the answer of all listeners",
        _host,
    ),
    Rule(
        "unknown-sni",
        "An unknown SNI is refused on all listeners, or on none",
        "set edge.tls.unknown_sni, and have tls_inspector read the name",
        _name,
    ),
)

"""The rows about an edge that asks for hosts it doesn't know: only for these, in a header that is ours, failing closed,
and so often for one client.

Where nothing is asked they aren't judged.
"""

from __future__ import annotations

from collections.abc import Iterator

from xds.lint.config import NOTHING, Config, Message, seconds
from xds.lint.rule import Rule, at, label

_ASK = "ExtAuthz"
_LIMIT = "LocalRateLimit"

LEAST_REMEMBERED = 1_000
"""Addresses that are counted for at a time. By Envoy's default 20: who asks from 21 in turn is never limited."""


def _asking(manager: Message) -> list[Message]:
    """The filters of a manager that ask."""
    return _filters(manager, _ASK)


def _filters(manager: Message, kind: str) -> list[Message]:
    filters = manager.get("http_filters", ())
    return [each for each in filters if each.get("typed_config", NOTHING).get("@type", "").endswith(kind)]


def _hosts(config: Config) -> Iterator[tuple[Message, Message]]:
    for table in config.tables:
        for host in table.get("virtual_hosts", ()):
            yield table, host


def _headers(host: Message) -> set[str]:
    """Those that name the cluster to which a virtual host's requests go."""
    named = {str(at(route, "route.cluster_header") or "").lower() for route in host.get("routes", ())}
    return named - {""}


def _only_unknown(config: Config) -> str:
    names = {label(each) for one in config.serving() for each in _filters(one, _LIMIT)}
    for one in config.serving():
        for each in _asking(one):
            names.add(label(each))
            if not each.get("disabled"):
                return f"{label(each)} of manager {label(one)} asks for known hosts too"
            if not at(each, "typed_config.filter_enabled_metadata"):
                return f"{label(each)} of manager {label(one)} asks for hosts that nothing marked as unknown"
    for table, host in _hosts(config):
        known = [] if host.get("domains") == ["*"] else [host]
        turning = [table, *known, *host.get("routes", ())]
        for each in turning:
            if names & each.get("typed_per_filter_config", NOTHING).keys():
                return f"{label(host)} in {label(table)} is known, and asked for or limited"
    return ""


def _header(config: Config) -> str:
    followed = set()
    for table, host in _hosts(config):
        for header in _headers(host):
            followed.add(header)
            removed = [*table.get("request_headers_to_remove", ()), *host.get("request_headers_to_remove", ())]
            if header not in [each.lower() for each in removed]:
                return f"{label(host)} in {label(table)} sends {header} to the pod"
    for header in sorted(followed):
        for one in config.serving():
            if not any(header.startswith(prefix) for prefix in _taken(one)):
                return f"manager {label(one)} lets a client say {header}, and so choose the pod"
    return ""


def _taken(manager: Message) -> list[str]:
    """The prefixes of headers that are taken away before a route is looked for."""
    found = []
    for each in manager.get("early_header_mutation_extensions", ()):
        for mutation in each.get("typed_config", NOTHING).get("mutations", ()):
            matcher = at(mutation, "remove_on_match.key_matcher")
            if isinstance(matcher, dict):
                found += [str(matcher[kind]).lower() for kind in ("prefix", "exact") if matcher.get(kind)]
    return found


def _closed(config: Config) -> str:
    for one in config.serving():
        if not _asking(one):
            return f"manager {label(one)} doesn't ask: who is new is answered as if nobody were there"
        for each in _asking(one):
            ask = each["typed_config"]
            if ask.get("failure_mode_allow"):
                return f"{label(each)} of manager {label(one)} lets requests through when nobody answers"
            if at(ask, "status_on_error.code") != "ServiceUnavailable":
                return f"{label(each)} of manager {label(one)} doesn't answer 503 when nobody answers it"
            if not seconds(at(ask, "grpc_service.timeout")):
                return f"{label(each)} of manager {label(one)} has no time-out"
    return ""


def _per_address(config: Config) -> str:
    for one in config.serving():
        limits = _filters(one, _LIMIT)
        if not limits:
            return f"manager {label(one)} has no limit"
        filters = list(one["http_filters"])
        for limit in limits:
            if any(filters.index(ask) < filters.index(limit) for ask in _asking(one)):
                return f"{label(limit)} of manager {label(one)} stands behind the filter that asks"
            if found := _limits(limit):
                return f"{label(limit)} of manager {label(one)} {found}"
    for table, host in _hosts(config):
        names = {label(each) for one in config.serving() for each in _filters(one, _LIMIT)}
        if _headers(host) and not names & host.get("typed_per_filter_config", NOTHING).keys():
            return f"{label(host)} in {label(table)} doesn't turn it on"
    return ""


def _limits(limit: Message) -> str:
    """What is wrong with a filter that is to limit each address."""
    made = limit["typed_config"]
    if not limit.get("disabled"):
        return "counts requests for known hosts, too"
    for share in ("filter_enabled", "filter_enforced"):
        if at(made, f"{share}.default_value.numerator") != 100:
            return f"isn't for all: {share}"
    if int(made.get("max_dynamic_descriptors") or 0) < LEAST_REMEMBERED:
        return f"counts for fewer than {LEAST_REMEMBERED:,} addresses: who has more is never limited"
    return ""


def _unlimited(config: Config) -> str:
    limited = any(_filters(one, _LIMIT) for one in config.serving())
    return _never(config) or ("" if limited else "addresses aren't limited (lookup.address_rate)")


def _never(config: Config) -> str:
    asks = any(map(_asking, config.serving())) or any(_headers(host) for _, host in _hosts(config))
    return "" if asks else "nothing is asked for unknown hosts (gds.mode)"


RULES = (
    Rule(
        "lookup-unknown-only",
        "Only unknown hosts are asked for",
        "keep the filter disabled, and turn it on in the catch-all virtual hosts only",
        _only_unknown,
        _never,
    ),
    Rule(
        "lookup-header",
        "The header that names the pod comes from no client, and goes to no pod",
        "remove it early, and in the virtual host that follows it",
        _header,
        _never,
    ),
    Rule(
        "lookup-fails-closed",
        "Who can't be asked for is answered 503",
        "leave failure_mode_allow off, set status_on_error and the time-out",
        _closed,
        _never,
    ),
    Rule(
        "lookup-per-address",
        "One client address asks for so many unknown hosts",
        "put the limit before the filter that asks, enforced, on for unknown hosts only, for thousands of addresses",
        _per_address,
        _unlimited,
    ),
)

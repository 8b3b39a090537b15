"""The rows about the host that a request names: which hosts a manager's filters let pass, tried with some.

Whatever is in a filter that isn't understood here counts as if it let the host pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from xds.lint.config import NOTHING, Config, Message, Secured, managers_of, secrets_of
from xds.lint.rule import Rule, at, label
from xds.resources.hosts import COVERED
from xds.resources.tls import covered

_NONE = ("", "a.example.com,b.example.com", "user@a.example.com", "a.example.com/path", "a b")
"""What is no one host; several Host headers come as one, with commas."""
_ANYBODY = "somebody.invalid"
_SELECTOR = "common_tls_context.custom_tls_certificate_selector"


def passes(manager: Message, host: str) -> bool:
    """Whether the filters before the router let a request for ``host`` by."""
    return all(_allows(each, host) for each in _filters(manager, ".RBAC"))


def _filters(manager: Message, kind: str) -> Iterator[Message]:
    """The configurations of those that are on for every request, and come before the router."""
    for each in manager.get("http_filters", ()):
        config = each.get("typed_config", NOTHING)
        if config.get("@type", "").endswith(".Router"):
            return
        if config.get("@type", "").endswith(kind) and not each.get("disabled"):
            yield config


def _allows(config: Message, host: str) -> bool:
    rules = config.get("rules")
    if not isinstance(rules, dict):
        return True
    policies = rules.get("policies", NOTHING).values()
    met = any(_permits(one, host) for policy in policies for one in policy.get("permissions", ()))
    return {"ALLOW": met, "DENY": not met}.get(rules.get("action", "ALLOW"), True)


def _permits(permission: Message, host: str) -> bool:
    if isinstance(both := at(permission, "and_rules.rules"), list):
        return all(_permits(one, host) for one in both)
    if isinstance(any_ := at(permission, "or_rules.rules"), list):
        return any(_permits(one, host) for one in any_)
    header = permission.get("header", NOTHING)
    matcher = header.get("string_match")
    if header.get("name") != ":authority" or not isinstance(matcher, dict):
        return True
    return _matches(matcher, host) is not bool(header.get("invert_match"))


def _matches(matcher: Message, host: str) -> bool:
    if regex := at(matcher, "safe_regex.regex"):
        return re.fullmatch(str(regex), host) is not None
    fold = str.lower if matcher.get("ignore_case") else str
    if "exact" in matcher:
        return fold(host) == fold(str(matcher["exact"]))
    return "suffix" not in matcher or fold(host).endswith(fold(str(matcher["suffix"])))


def _said(value: object) -> Iterator[str]:
    """The hosts that a filter names: exact, and what all of a suffix end with."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ("exact", "suffix") and isinstance(part, str):
                yield part.lower() if key == "exact" else f"*{part.lower()}"
            else:
                yield from _said(part)
    elif isinstance(value, list):
        for part in value:
            yield from _said(part)


def _mapped(manager: Message, status: int) -> int | None:
    """The place of what answers so among the mappers: the first that fits is taken."""
    mappers = at(manager, "local_reply_config.mappers")
    places = [
        n for n, each in enumerate(mappers if isinstance(mappers, list) else ()) if each.get("status_code") == status
    ]
    return places[0] if places else None


def _one_host(config: Config) -> str:
    for one in config.every_manager():
        if any(passes(one, host) for host in _NONE):
            return f"manager {label(one)} lets a request with several hosts, or none, look for a route"
        none, other = _mapped(one, 400), _mapped(one, 421)
        if none is None or (other is not None and other < none):
            return f"manager {label(one)} doesn't answer 400 to it"
    return ""


def _misdirected(config: Config) -> str:
    for secured in config.secured():
        for one in managers_of(secured.chain):
            if "route_config" not in one and (found := _elsewhere(config, secured, one)):
                return f"manager {label(one)} of listener {label(secured.listener)} {found}"
    return ""


def _elsewhere(config: Config, secured: Secured, manager: Message) -> str:
    """What lets a host pass that the connection's certificate isn't for."""
    if _mapped(manager, 421) is None:
        return "doesn't answer 421"
    if at(secured.context, _SELECTOR):
        codes = [at(each, "default_source_code.inline_string") for each in _filters(manager, ".Lua")]
        return "" if COVERED in codes else "has no filter of this version that looks at the certificate shown"
    if passes(manager, _ANYBODY):
        return "serves any host on any connection"
    known = [config.hosts[name] for name in secrets_of(secured.context) if name in config.hosts]
    if not known:
        return ""
    names = [name for some in known for name in some]
    for name in sorted({said for each in _filters(manager, ".RBAC") for said in _said(each)}):
        if not covered(name, names):
            return f"lets {name} pass, which the certificate isn't for"
    for name in names:
        if not passes(manager, f"a{name[1:]}" if name.startswith("*.") else name):
            return f"refuses {name}, which the certificate is for"
        deep = f"a.b{name[1:]}"
        if name.startswith("*.") and passes(manager, deep) and not covered(deep, names):
            return f"lets {deep} pass, which {name} isn't for"
    return ""


RULES = (
    Rule("one-host", "More than one Host, or none: 400", "put pointsman.hosts before the router", _one_host),
    Rule("misdirected", "421 when the certificate isn't for the Host", "set edge.misdirected", _misdirected),
)

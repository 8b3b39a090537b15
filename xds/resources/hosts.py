"""Which hosts a request may name on a connection: what is no host name at all, and what the certificate isn't for.

Both are found by filters of Envoy, before a route is looked for: several Host headers come as one value with commas,
which a wildcard domain would match. They refuse with 403, and `xds.resources.local_replies` makes of it 400 or 421.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.rbac.v3 import (
    Permission,
    PermissionSet,
    Policy,
    Principal,
    Rbac,
    RbacAction,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac as RbacFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from xds.resources.packed import packed

HOSTS = "pointsman.hosts"
SAME = "pointsman.same-host"

_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_LUA = "envoy.extensions.filters.http.lua.v3.Lua"

_PLAIN = re.compile(r"[a-z0-9.*_-]+")

# Port and trailing dot are gone by then. An underscore is in no host name, but in some of the DNS: it is a 404.
_HOST = r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]"


def is_host(*, invert: bool = False) -> HeaderMatcher:
    """Matches requests whose one Host looks like a host name or an address."""
    return HeaderMatcher(name=":authority", string_match=_matches(_HOST), invert_match=invert)


def host_filters(names: Iterable[str] | None) -> list[HttpFilter]:
    """For a filter chain whose certificate is for ``names``, exact or with a leading ``*.``; None lets every host
    pass that is one."""
    permissions = [Permission(header=is_host())] if names is None else [_named(name) for name in sorted(names)]
    policy = Policy(permissions=permissions, principals=[Principal(any=True)])
    rules = Rbac(action=RbacAction.ALLOW, policies={"hosts": policy})
    return [HttpFilter(name=HOSTS, typed_config=packed(_RBAC, RbacFilter(rules=rules)))]


def same_host_filters(names: Iterable[str]) -> list[HttpFilter]:
    """For a filter chain where each name has a certificate of its own: the Host must be the SNI. A matcher can't
    compare the two, so a script does (some microseconds). A client without SNI is shown the certificate for ``names``.
    """
    plain = sorted(name for name in names if _PLAIN.fullmatch(name))
    lua = Lua(default_source_code=DataSource(inline_string=_SAME.replace("NAMES", ", ".join(map(_entry, plain)))))
    return [*host_filters(None), HttpFilter(name=SAME, typed_config=packed(_LUA, lua))]


def _entry(name: str) -> str:
    return f'["{name}"] = true'


def _named(name: str) -> Permission:
    """What ``*`` stands for is one label (RFC 9525, 6.3)."""
    if not name.startswith("*."):
        return Permission(header=_authority(StringMatcher(exact=name, ignore_case=True)))
    labels = name.count(".")
    suffix = Permission(header=_authority(StringMatcher(suffix=name[1:], ignore_case=True)))
    depth = Permission(header=_authority(_matches(rf"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){{{labels}}}")))
    return Permission(and_rules=PermissionSet(rules=[suffix, depth]))


def _authority(matcher: StringMatcher) -> HeaderMatcher:
    return HeaderMatcher(name=":authority", string_match=matcher)


def _matches(regex: str) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(regex=regex))


_SAME = """\
local names = {NAMES}
function envoy_on_request(request_handle)
  local host = string.lower(request_handle:headers():get(":authority") or "")
  local sni = string.lower(request_handle:streamInfo():requestedServerName() or "")
  local same = host == sni
  if sni == "" then
    same = names[host] or names[(string.gsub(host, "^[^.]+", "*"))]
  end
  if not same then
    request_handle:respond({[":status"] = "421"}, "The connection is for another host.\\n")
  end
end
"""

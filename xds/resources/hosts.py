"""Which hosts a request may name on a connection: what is no host name at all, and what the certificate isn't for.

Both are found by filters of Envoy, before a route is looked for: several Host headers come as one value with commas,
which a wildcard domain would match. They refuse with 403, and `xds.resources.local_replies` makes of it 400 or 421.
"""

from __future__ import annotations

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
COVERED_HOST = "pointsman.covered-host"

_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_LUA = "envoy.extensions.filters.http.lua.v3.Lua"

COVERED = """\
local lower, find, sub = string.lower, string.find, string.sub
function envoy_on_request(request_handle)
  local host = lower(request_handle:headers():get(":authority") or "")
  local dot = find(host, ".", 1, true)
  local wildcard = dot and dot > 1 and "*" .. sub(host, dot)
  local tls = request_handle:streamInfo():downstreamSslConnection()
  for _, name in ipairs(tls and tls:dnsSansLocalCertificate() or {}) do
    name = lower(name)
    if name == host or name == wildcard then
      return
    end
  end
  request_handle:respond({[":status"] = "421"}, "The connection is for another host.\\n")
end
"""
"""What ``*`` stands for is one label (RFC 9525, 6.3). Envoy keeps a connection's names after the first request."""

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


def covered_host_filters() -> list[HttpFilter]:
    """For a filter chain whose certificates come on demand: the Host must be one that the certificate is for which
    this connection was shown. A matcher knows no more than the first of its names, so a script looks."""
    lua = Lua(default_source_code=DataSource(inline_string=COVERED))
    return [*host_filters(None), HttpFilter(name=COVERED_HOST, typed_config=packed(_LUA, lua))]


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

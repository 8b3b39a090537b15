"""How the hosts of a split pair find their table: a Lua filter hashes the whole host into a second scope key.

The scopes of a split pair lead to the re-scoping table. Its one virtual host enables the filter, which overwrites the
scope header with the key of the host's hash and has the route looked up again. The filter stands in the listener, and
no other virtual host enables it: splitting a pair or joining it again changes scopes and tables only.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua

from xds.resources.cold import enabled, turned_on
from xds.resources.routes import SCOPE_HEADER

RESCOPE = "rescope"
"""The name of the re-scoping table."""
FILTER = "pointsman.rescope"

ANCHOR = "#rescope"
"""The key of a scope that no request has: for it Envoy always has the re-scoping table, before a pair needs it."""


def hashed_key(number: int) -> str:
    """The scope key for hosts whose hash is ``number``. The early header mutation writes two bytes of what a client
    says, so that no host begins with it."""
    return f"#{number:04d}"


def lua(tables: int) -> str:
    """The filter's code: `xds.resources.routes.hashed_table_of`, as CRC-32 with a table of 256 remainders."""
    return _LUA.replace("TABLES", str(tables)).replace("HEADER", SCOPE_HEADER)


def rescoping_filter(tables: int) -> Lua:
    return Lua(default_source_code=DataSource(inline_string=lua(tables)))


def rescoping_table(*, asking: bool = False) -> RouteConfiguration:
    """Nothing is routed by it: without the filter's work a request is answered 503. ``asking``: unknown hosts are asked
    for, which the table decides that the filter leads to."""
    host = VirtualHost(
        name=RESCOPE,
        domains=["*"],
        routes=[Route(match=RouteMatch(prefix="/"), direct_response=DirectResponseAction(status=503))],
        typed_per_filter_config={FILTER: enabled(), **(turned_on() if asking else {})},
    )
    return RouteConfiguration(name=RESCOPE, virtual_hosts=[host], request_headers_to_remove=[SCOPE_HEADER])


_LUA = """\
local band, bxor, rshift = bit.band, bit.bxor, bit.rshift
local byte, lower = string.byte, string.lower
local remainders, keys = {}, {}
for n = 0, 255 do
  local rest = n
  for _ = 1, 8 do
    rest = band(rest, 1) == 1 and bxor(rshift(rest, 1), 0xEDB88320) or rshift(rest, 1)
  end
  remainders[n] = rest
end
for n = 0, TABLES - 1 do
  keys[n] = string.format("#%04d", n)
end
function envoy_on_request(request_handle)
  local headers = request_handle:headers()
  local host = lower(headers:get(":authority") or "")
  local sum = -1
  for at = 1, #host do
    sum = bxor(remainders[band(bxor(sum, byte(host, at)), 255)], rshift(sum, 8))
  end
  headers:replace("HEADER", keys[bxor(sum, -1) % 4294967296 % TABLES])
  request_handle:clearRouteCache()
end
"""

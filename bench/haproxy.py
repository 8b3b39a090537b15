"""What Pointsman replaces: HAProxy whose Lua asks GDS for the pod of a host and puts the answer into a map.

"published" is the script as it was published ("Dynamic Backends in HAProxy with Lua", Egnyte 2017): the action runs on
every request, asks GDS over a connection of its own and sets the map, which names the backend. "map" runs it only for a
host that the map doesn't have. Neither ever looks again at a host that moved: "map" stays wrong until it is restarted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.load import program
from demo.processes import Process

PUBLISHED = "published"
MAP_FIRST = "map"

_CIPHERS = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384"

_LUA = """\
function get_backend(txn)
  local host = txn.http:req_get_headers()["host"][0]
  local sock = core.tcp()
  sock:settimeout(10)
  if not sock:connect("127.0.0.1", {port}) then return end
  sock:send("GET {base}/backend/" .. host .. " HTTP/1.0\\r\\n\\r\\n")
  local result = sock:receive("*a")
  sock:close()
  local pod = result and result:match("^HTTP/1.[01] 200.-\\r\\n\\r\\n(.*)$")
  if pod then core.set_map("{map}", host, pod) end
end
core.register_action("get_backend", {{ "http-req" }}, get_backend)
"""

_CONFIG = """\
global
  nbthread {threads}
  maxconn {connections}
  lua-load {lua}{stats}
  ssl-default-bind-options ssl-min-ver TLSv1.2
  ssl-default-bind-ciphers {ciphers}
defaults
  mode http
  timeout connect 5s
  timeout http-request 10s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
frontend edge
  bind 127.0.0.1:{port} ssl crt {certificate} alpn h2,http/1.1 backlog 4096
  maxconn {connections}
  http-request lua.get_backend{condition}
  use_backend %[{lookup}]
{pods}
"""


@dataclass(frozen=True, slots=True)
class HAProxy:
    """``way``: PUBLISHED or MAP_FIRST; ``gds`` is the port that the Lua asks, ``base`` GDS's path."""

    way: str
    port: int
    gds: int
    base: str
    pods: Mapping[str, int]
    certificate: Path
    """Without its suffix."""
    threads: int = 2
    connections: int = 1_000
    socket: Path | None = None
    """Where it is asked for its map, if it is."""

    def start(self, folder: Path, known: Iterable[tuple[str, str]]) -> Process:
        """``known``: hosts that the map holds from the start."""
        folder.mkdir()
        hosts, lua, pem, config = (folder / name for name in ("backend.map", "lookup.lua", "edge.pem", "haproxy.cfg"))
        with hosts.open("w") as lines:
            lines.writelines(f"{host} {pod}\n" for host, pod in known)
        lua.write_text(_LUA.format(port=self.gds, base=self.base, map=hosts))
        pem.touch(mode=0o600)
        pem.write_text("".join(self.certificate.with_suffix(suffix).read_text() for suffix in (".crt", ".key")))
        lookup = f"req.hdr(host),lower,map({hosts})"
        config.write_text(
            _CONFIG.format(
                threads=self.threads,
                connections=self.connections,
                lua=lua,
                stats=f"\n  stats socket {self.socket} level admin" if self.socket else "",
                ciphers=_CIPHERS,
                port=self.port,
                certificate=pem,
                condition="" if self.way == PUBLISHED else f" if !{{ {lookup} -m found }}",
                lookup=lookup,
                pods="\n".join(f"backend {name}\n  server {name} 127.0.0.1:{port}" for name, port in self.pods.items()),
            )
        )
        return Process(f"haproxy-{self.way}", [program("haproxy"), "-db", "-f", config], folder / "log", folder)

"""nginx as what stands behind both proxies: fifty pods, a GDS that costs next to nothing, and a TLS port of its own.

A pod answers 200 only for hosts that live on it, 500 for others: a request that went astray is an error. The TLS port
shows what load generator and pods give without a proxy between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.load import program
from demo.processes import Process

_CONFIG = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
worker_processes 2;
worker_rlimit_nofile {files};
events {{ worker_connections {files}; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  map_hash_max_size {hash};
  map_hash_bucket_size 128;
  default_type text/plain;
  map $host $home {{ include {folder}/homes.map; }}
  map $uri $asked {{ include {folder}/asked.map; }}
  log_format hosts "$server_protocol $host";
{pods}
  server {{
    listen 127.0.0.1:{gds} backlog=4096;
    location / {{ if ($asked = "") {{ return 404; }} return 200 $asked; }}
  }}
  server {{
    listen 127.0.0.1:{tls} ssl http2 backlog=4096;
    access_log {log};
    ssl_certificate {certificate}.crt;
    ssl_certificate_key {certificate}.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{ return 200 "ok"; }}
  }}
}}
"""
_POD = """\
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ if ($home != {name}) {{ return 500; }} add_header x-pod {name}; return 200 "ok"; }}
  }}"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """Ports: ``pods`` by name, ``gds``, and ``tls``. ``homes``: the pod of each host that is asked for."""

    pods: Mapping[str, int]
    gds: int
    tls: int
    homes: Mapping[str, str]
    certificate: Path
    """Without its suffix."""

    def start(self, folder: Path, base: str, files: int = 20_000, *, logged: bool = False) -> Process:
        """``base``: GDS's path. ``logged``: what the TLS port is asked is written to hosts.log."""
        lines = [f"{host} {pod};" for host, pod in self.homes.items()]
        (folder / "homes.map").write_text("\n".join(lines))
        (folder / "asked.map").write_text("\n".join(f"{base}/backend/{line}" for line in lines))
        config = folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                folder=folder,
                files=files,
                hash=len(lines) * 8,
                pods="\n".join(_POD.format(name=name, port=port) for name, port in self.pods.items()),
                gds=self.gds,
                tls=self.tls,
                log=f"{folder}/hosts.log hosts" if logged else "off",
                certificate=self.certificate,
            )
        )
        return Process("nginx", [program("nginx"), "-p", folder, "-c", config], folder / "nginx.log", folder)

"""The command ``pointsman import haproxy-cfg``."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from xds.cli import exits
from xds.cli.hosts_file import STDIN
from xds.cli.output import plain, print_json
from xds.errors import MapError


def haproxy_cfg(
    file: Annotated[Path, typer.Argument(help="The old proxy's configuration, such as haproxy.cfg; - for stdin.")],
) -> None:
    """Prints the pods file (setting lookup.pods) that the backends of a HAProxy configuration are.

    Address, port and weight are taken; names are looked up now, since endpoints are addresses. What isn't taken over is
    said on stderr. Exit code 0: the pods lead where the backends did; 3: not all, the lines that begin with `!` must be
    seen to; 1: it can't be done. No control plane is asked.

    Examples:
        pointsman import haproxy-cfg /etc/haproxy/haproxy.cfg > pods.json
    """
    from xds.haproxy_cfg import pods_in

    try:
        text = sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    except OSError as error:
        raise MapError(f"{file} can't be read: {error.strerror}") from None
    found = pods_in(text.decode("utf-8", "replace").splitlines(), _addresses)
    for remark in found.remarks:
        print(f"{'! ' if remark.grave else ''}{file}:{remark.line}: {plain(remark.text)}", file=sys.stderr)
    if not found.pods:
        raise MapError(f"{file} has no backend with a server that can be taken")
    print_json(
        [
            {
                "name": pod.name,
                "endpoints": [{"address": e.address, "port": e.port, "weight": e.weight} for e in pod.endpoints],
            }
            for pod in found.pods
        ]
    )
    if any(remark.grave for remark in found.remarks):
        raise typer.Exit(exits.FOUND)


def _addresses(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [*dict.fromkeys(str(address[0]) for *_, address in found)]

"""The parts of the composed system that ``make demo`` does without: there each part has its own files and address.

``python -m demo.compose certificates FOLDER`` writes what `demo.certificates` does, unless it is there and lasts;
``seed FOLDER`` fills GDS's store, unless it holds something; ``pod NAME GDS`` runs a pod that tells GDS where it is;
``forward NAME PORT`` is one port before all that have that name.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import socket
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from demo.__main__ import PODS, customers
from demo.certificates import write_all
from demo.forward import forward
from demo.pod import serve
from demo.system import System

POD_PORT = 8000
LEFT = datetime.timedelta(days=7)
"""Certificates that are valid for less than this are made anew."""


def certificates(folder: Path) -> None:
    if _lasts(folder):
        print("certificates: kept")
    else:
        write_all(folder)
        print("certificates: made")
    # Envoy runs as somebody else; who starts us chooses the group.
    (folder / "envoy.key").chmod(0o640)


def seed(folder: Path) -> None:
    from gds_mock.opening import open_store

    with open_store(str(folder / "gds.sqlite")) as store:
        known = len(store.pods())
    if known:
        print(f"seed: GDS knows {known} pods, nothing to do")
        return
    # Where the pods are is for them to say.
    pods = [{"name": f"pod{number}", "datacenter": f"dc{2 - number % 2}"} for number in range(1, PODS + 1)]
    print("seed:", System(folder).load(customers(), pods))


def pod(name: str, gds: str) -> None:
    """Serves until SIGTERM or SIGINT. GDS hears of it once it listens, so that no request comes too early."""
    with socket.create_server(("0.0.0.0", POD_PORT)) as listening:
        register(name, gds, _own_address(gds))
        serve(name, listening)


def register(name: str, gds: str, address: str) -> None:
    """GDS's record of the pod gets one endpoint, ours, and is otherwise left as it is."""
    with httpx.Client(trust_env=False, timeout=10) as client:
        answer = client.get(f"{gds}/pods/{name}")
        record = {"name": name} if answer.status_code == 404 else answer.raise_for_status().json()
        record["endpoints"] = [{"address": address, "port": POD_PORT}]
        client.put(f"{gds}/pods/{name}", json=record, headers={"GDS-Actor": f"the demo's {name}"}).raise_for_status()
    print(f"{name}: GDS knows it at {address}:{POD_PORT}", flush=True)


def _own_address(gds: str) -> str:
    """The one by which we reach GDS."""
    url = httpx.URL(gds)
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        return str(connection.getsockname()[0])


def _lasts(folder: Path) -> bool:
    """Whether all certificates are there, of one CA, and valid for a while."""
    try:
        authority, *leaves = (
            x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())
            for name in ("ca", "xds-server", "envoy", "certificates/edge")
        )
        for leaf in leaves:
            leaf.verify_directly_issued_by(authority)
    except (OSError, ValueError, InvalidSignature):
        return False
    until = datetime.datetime.now(datetime.UTC) + LEFT
    return all(certificate.not_valid_after_utc > until for certificate in (authority, *leaves))


def main() -> None:
    parser = argparse.ArgumentParser("python -m demo.compose", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    for name in ("certificates", "seed"):
        parts.add_parser(name).add_argument("folder", type=Path)
    one = parts.add_parser("pod")
    one.add_argument("name")
    one.add_argument("gds", help="its base URL")
    before = parts.add_parser("forward")
    before.add_argument("name")
    before.add_argument("port", type=int)
    options = parser.parse_args()
    if options.part == "certificates":
        certificates(options.folder)
    elif options.part == "seed":
        seed(options.folder)
    elif options.part == "forward":
        asyncio.run(forward(options.name, options.port))
    else:
        pod(options.name, options.gds)


if __name__ == "__main__":
    main()

"""Customers' certificates on demand: start and memory with very many on disk, and a cold handshake beside a warm one.

``python -m bench.certificates [--certificates 100000] [--names 1500]``: that many certificates in a folder, as many
domains in GDS, a real control plane and Envoy. For each of ``--names`` hosts a first handshake (Envoy must ask for the
certificate), then a second one; both in turn, with all the rest alike.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import socket
import ssl
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx
import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bench.report import Report, quantile
from demo.system import LOOPBACK, Ports, System

_MB = 1e6


class Health:
    """Asks for /healthz a hundred times a second: how long the longest answer took tells how long the loop was busy."""

    def __init__(self, url: str) -> None:
        self.longest = 0.0
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Health:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(trust_env=False) as client:
            while not self._stop.wait(0.01):
                began = time.perf_counter()
                client.get(f"{self._url}/healthz", timeout=30)
                self.longest = max(self.longest, time.perf_counter() - began)


def make(folder: Path, count: int) -> None:
    """Flat; each run's with one key: what is measured doesn't depend on it. Those that are there are left."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark CA")])
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    now = datetime.datetime.now(datetime.UTC)
    for number in range(count):
        host = name(number)
        if (folder / f"{host}.crt").exists():
            continue
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), number + 1)
        builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=90))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        path = folder / f"{host}.key"
        path.touch(mode=0o600)
        path.write_bytes(private)
        made = builder.sign(authority, hashes.SHA256())
        (folder / f"{host}.crt").write_bytes(made.public_bytes(Encoding.PEM))


def name(number: int) -> str:
    return f"shop-{number}.customers.test"


def handshake(port: int, host: str) -> float:
    """Seconds from the TCP connection to the end of the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((LOOPBACK, port), timeout=30) as plain:
        began = time.perf_counter()
        with context.wrap_socket(plain, server_hostname=host):
            return time.perf_counter() - began


def memory(pid: int) -> float:
    """MB, resident."""
    return float(psutil.Process(pid).memory_info().rss) / _MB


def wait_known(system: System) -> None:
    """Until all certificates were looked at."""
    with httpx.Client(base_url=system.api_url, trust_env=False, timeout=30) as client:
        while not client.get("/api/v1/certificates?limit=1").json()["complete"]:
            time.sleep(0.5)


def allocated(system: System) -> float:
    """MB that Envoy has in use."""
    answer = httpx.get(f"{system.admin_url}/memory", trust_env=False).json()
    return int(answer["allocated"]) / _MB


def measure(folder: Path, certificates: int, names: int) -> Report:
    on_demand = {"enabled": True, "names": min(4000, names + 100)}
    system = System(folder, Ports.free(), {"edge.tls.on_demand": on_demand})
    system.prepare()
    began = time.perf_counter()
    make(folder / "certs" / "certificates", certificates)
    print(f"  {certificates:,} certificates made in {time.perf_counter() - began:.0f} s", flush=True)
    pod = {"name": "pod1", "datacenter": "dc1", "endpoints": [{"address": LOOPBACK, "port": 1}]}
    system.load(((name(number), "pod1") for number in range(certificates)), [pod])
    report = Report("customers' certificates on demand; times in ms where nothing else is said")
    try:
        system.start_gds()
        system.wait_gds()
        began = time.perf_counter()
        system.start_control_plane()
        system.wait_control_plane()
        ready = time.perf_counter() - began
        with Health(system.api_url) as health:
            wait_known(system)
            known = time.perf_counter() - began
            at_start = memory(system.parts["pointsman"].pid)
            time.sleep(5)  # the slow check goes on
        system.start_envoy()
        system.wait_envoy()
        pid, port = system.parts["pointsman"].pid, system.ports.edge_https
        empty, before = allocated(system), memory(pid)
        cold: list[float] = []
        warm: list[float] = []
        step = max(1, certificates // names)
        for number in range(0, step * names, step):
            cold.append(handshake(port, name(number)))
            warm.append(handshake(port, name(number)))
        used = allocated(system)
        report.add(
            certificates=certificates,
            ready_s=ready,
            all_known_s=known,
            pointsman_mb=at_start,
            longest_answer=health.longest * 1000,
            names=names,
            cold_median=statistics.median(cold) * 1000,
            warm_median=statistics.median(warm) * 1000,
            cold_p99=quantile(cold, 0.99) * 1000,
            warm_p99=quantile(warm, 0.99) * 1000,
            envoy_mb_before=empty,
            envoy_mb_after=used,
            envoy_kb_a_name=(used - empty) * 1000 / names,
            pointsman_kb_a_name=(memory(pid) - before) * 1000 / names,
        )
    finally:
        system.stop()
    return report


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.certificates", description=__doc__)
    parser.add_argument("--certificates", type=int, default=100_000)
    parser.add_argument("--names", type=int, default=1_500)
    parser.add_argument("--folder", type=Path, help="where the certificates are kept, to be used again")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if options.folder is None:
            options.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certificates-")))
        measure(options.folder, options.certificates, options.names).show(options.json)


if __name__ == "__main__":
    main()

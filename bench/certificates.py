"""Customers' certificates on demand: start and memory with very many on disk, and a cold handshake beside a warm one.

``python -m bench.certificates [--certificates 100000] [--names 1500]``: that many certificates in a folder, as many
domains in GDS, a real control plane and Envoy. For each of ``--names`` hosts a first handshake (Envoy must ask for the
certificate), then a second one; both in turn, with all the rest alike. Then ``--renewals`` of these are renewed one by
one, each timed from its last file to the handshake that shows it.

``--layout cert-manager``: a folder for each certificate, with its two files in it, which a process of its own watches.
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
from collections.abc import Iterable
from pathlib import Path

import httpx
import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bench.report import Report, quantile
from demo.issuer import replace
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


LAYOUTS = {"flat": ("{}.crt", "{}.key"), "cert-manager": ("{}/tls.crt", "{}/tls.key")}
"""Where the chain and the key are."""


def make(folder: Path, numbers: Iterable[int], layout: str, *, anew: bool = False) -> None:
    """Each call's with one key: what is measured doesn't depend on it. Those that are there stay, unless ``anew``."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark CA")])
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    now = datetime.datetime.now(datetime.UTC)
    for number in numbers:
        host = name(number)
        chain, path = (folder / each.format(host) for each in LAYOUTS[layout])
        if chain.exists() and not anew:
            continue
        chain.parent.mkdir(exist_ok=True)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=90))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        made = builder.sign(authority, hashes.SHA256())
        replace(path, private, 0o600)
        replace(chain, made.public_bytes(Encoding.PEM))


def name(number: int) -> str:
    return f"shop-{number}.customers.test"


def handshake(port: int, host: str) -> tuple[float, bytes]:
    """Seconds from the TCP connection to the end of the handshake, and the certificate that was shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((LOOPBACK, port), timeout=30) as plain:
        began = time.perf_counter()
        with context.wrap_socket(plain, server_hostname=host) as tls:
            return time.perf_counter() - began, tls.getpeercert(binary_form=True) or b""


def renewal(folder: Path, layout: str, port: int, number: int) -> float:
    """Seconds from a renewed certificate's last file to the first handshake that shows it."""
    _, before = handshake(port, name(number))
    make(folder, [number], layout, anew=True)
    began = time.perf_counter()
    while handshake(port, name(number))[1] == before:
        pass
    return time.perf_counter() - began


def watcher_memory(pid: int) -> float:
    """MB of the process that watches, as far as there is one."""
    return sum(memory(child.pid) for child in psutil.Process(pid).children())


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


def measure(folder: Path, certificates: int, names: int, layout: str, renewals: int) -> Report:
    on_demand = {"enabled": True, "names": min(4000, names + 100)}
    system = System(folder, Ports.free(), {"edge.tls.on_demand": on_demand})
    system.prepare()
    began = time.perf_counter()
    where = folder / "certs" / "certificates"
    make(where, range(certificates), layout)
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
            cold.append(handshake(port, name(number))[0])
            warm.append(handshake(port, name(number))[0])
        used = allocated(system)
        held = memory(pid)
        renewed = [renewal(where, layout, port, step * number) for number in range(min(renewals, names))]
        report.add(
            layout=layout,
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
            pointsman_kb_a_name=(held - before) * 1000 / names,
            watcher_mb=watcher_memory(pid),
            renewal_median=statistics.median(renewed) * 1000,
            renewal_longest=max(renewed) * 1000,
        )
    finally:
        system.stop()
    return report


def main() -> None:
    parser = argparse.ArgumentParser("python -m bench.certificates", description=__doc__)
    parser.add_argument("--certificates", type=int, default=100_000)
    parser.add_argument("--names", type=int, default=1_500)
    parser.add_argument("--layout", choices=LAYOUTS, default="flat")
    parser.add_argument("--renewals", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the certificates are kept, to be used again")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if options.folder is None:
            options.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certificates-")))
        measure(options.folder, options.certificates, options.names, options.layout, options.renewals).show(
            options.json
        )


if __name__ == "__main__":
    main()

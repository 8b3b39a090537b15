"""``make demo``: starts every part, says so line by line, and ends them all on Ctrl-C.

``python -m demo --free-ports --folder FOLDER`` runs beside another one.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

from demo.processes import DemoError
from demo.system import LOOPBACK, Ports, System, check_free, envoy_binary, free_ports

FOLDER = Path(".demo")
MARKER = ".pointsman-demo"
"""Lies in a folder that the demo made, and may remove."""
CUSTOMERS = 10_000
RUNNING = 3
PODS = 5
POD_PORT = 20_000  # pod1 is on the next one
WORDS = [
    *("acme", "birch", "cobalt", "delta", "ember", "fjord", "granite", "harbor", "indigo", "juniper"),
    *("kestrel", "lumen", "maple", "nimbus", "onyx", "prairie", "quartz", "raven", "summit", "tundra"),
]


class Ended(Exception):
    """Somebody pressed Ctrl-C, or sent SIGTERM."""


def customers(count: int = CUSTOMERS) -> Iterator[tuple[str, str]]:
    """(domain, pod): acme.example.com on pod1 first, then acme-1.example.com and so on."""
    for number in range(count):
        word, turn = WORDS[number % len(WORDS)], number // len(WORDS)
        yield f"{word}{f'-{turn}' if turn else ''}.example.com", f"pod{number % PODS + 1}"


def pods(ports: Mapping[str, int]) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "datacenter": f"dc{number % 2 + 1}",
            "endpoints": [{"address": LOOPBACK, "port": port}],
        }
        for number, (name, port) in enumerate(ports.items())
    ]


def main() -> int:
    parser = argparse.ArgumentParser("python -m demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="made anew, and removed at the end")
    parser.add_argument("--free-ports", action="store_true", help="any free ports, not the documented ones")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    folder = options.folder.resolve()
    taken = Ports.free() if options.free_ports else Ports()
    system = System(folder, taken, _looks_at_envoy(taken))
    numbers = free_ports(PODS) if options.free_ports else range(POD_PORT + 1, POD_PORT + 1 + PODS)
    ports = {f"pod{number}": port for number, port in enumerate(numbers, 1)}
    try:
        with _cleared(folder), contextlib.closing(_Stopping(system)):
            _run(system, ports)
    except Ended:
        print("\nended; nothing is left running")
        return 0
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def _looks_at_envoy(ports: Ports) -> dict[str, dict[str, object]]:
    """What lets ``explain`` say what Envoy routes by now, and probe it."""
    return {
        "http": {"probe": f"{LOOPBACK}:{ports.edge_https}"},
        "http.envoy_admins": {"edge-1": f"http://{LOOPBACK}:{ports.admin}"},
    }


def _run(system: System, ports: Mapping[str, int]) -> None:
    began = time.monotonic()
    running = dict(itertools.islice(ports.items(), RUNNING))
    envoy_binary()
    check_free({**_named(system.ports), **running})
    system.prepare()
    _say("certificates", "a local CA, mTLS for xDS, *.example.com at the edge")
    loaded = system.load(customers(), pods(ports))
    # All start at once; each waits by itself for what it needs.
    system.start_gds()
    system.start_control_plane()
    for name, port in running.items():
        system.start_pod(name, port)
    system.start_envoy()
    system.wait_gds()
    _say("gds", f"{system.gds_url} · {loaded} on {PODS} pods")
    for name, port in running.items():
        system.wait_pod(name, port)
    _say("pods", ", ".join(f"{name} :{port}" for name, port in running.items()) + " (pod4, pod5 are not running)")
    system.wait_control_plane()
    _say("pointsman", f"xDS :{system.ports.xds} · {system.api_url}")
    system.wait_envoy()
    _say("envoy", f"https :{system.ports.edge_https}, http :{system.ports.edge_http}, admin :{system.ports.admin}")
    for name, part in system.parts.items():
        (system.folder / f"{name}.pid").write_text(f"{part.pid}\n")
    print(f"\nready in {time.monotonic() - began:.1f} s. Try, in another terminal:\n\n{_lines(system)}\n\nCtrl-C ends.")
    sys.stdout.flush()
    _watch(system)


def _watch(system: System) -> NoReturn:
    """Says which parts end. Raises DemoError when Envoy does: without any other it goes on."""
    running = dict(system.parts)
    while True:
        for name in [name for name, part in running.items() if part.ended]:
            part = running.pop(name)
            if name == "envoy":
                raise DemoError(f"{name} ended: {part.last_words()}")
            _say(name, "ended; Envoy goes on with what it has")
        time.sleep(0.2)


def _lines(system: System) -> str:
    port, folder = system.ports.edge_https, system.folder
    with contextlib.suppress(ValueError):
        folder = folder.relative_to(Path.cwd())
    host = "acme.example.com"
    curl = f"curl -s --cacert {folder}/certs/ca.crt --resolve {host}:{port}:{LOOPBACK} https://{host}:{port}/"
    return "\n".join(
        [
            f"  {curl}",
            f'  curl -X PUT {system.gds_url}/backend/{host} -d \'{{"pod": "pod2"}}\'',
            f"  {curl}",
            f"  curl -s {system.api_url}/api/v1/domains/{host}",
            f"  curl -s {system.api_url}/api/v1/nodes",
            f"  curl -sI -H 'Host: {host}' http://{LOOPBACK}:{system.ports.edge_http}/hello",
        ]
    )


def _named(ports: Ports) -> dict[str, int]:
    return {name.replace("_", " "): port for name, port in asdict(ports).items()}


def _say(part: str, what: str) -> None:
    print(f"  {part:<13} {what}", flush=True)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is under way; a second Ctrl-C must not cut it short
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Ended


@contextlib.contextmanager
def _cleared(folder: Path) -> Iterator[None]:
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise DemoError(f"{folder} holds something that isn't the demo's: choose another with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / MARKER).touch()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Stopping:
    def __init__(self, system: System) -> None:
        self._system = system

    def close(self) -> None:
        self._system.stop()


if __name__ == "__main__":
    sys.exit(main())

"""What can't be used: one clear line and an exit code at start; at run time what was running stays."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from edge_harness import Edge, until
from nursery import shared

from demo.certificates import write_all
from demo.system import LOOPBACK, WITHOUT_TLS, Ports, System


@pytest.fixture
def system(tmp_path: Path) -> System:
    """A folder in which the control plane could start."""
    made = System(tmp_path, Ports.free())
    made.prepare()
    return made


def serve(system: System, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """To its end; without ``env``, from the nursery, and what it says on stdout is on stderr."""
    if env is None:
        return served(system.folder)
    command = [sys.executable, "-m", "xds.cli", "serve", "-c", str(system.folder / "pointsman.toml")]
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        command,
        cwd=root,
        env={**_environment(), **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def served(folder: Path) -> subprocess.CompletedProcess[str]:
    part = shared().start("served", folder, "xds.cli", "serve", "-c", folder / "pointsman.toml")
    try:
        until(lambda: part.ended, "it ends by itself", 120)
    finally:
        part.stop()
    assert part.code is not None
    return subprocess.CompletedProcess([], part.code, "", part.log.read_text())


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on stderr that begins with the program's name and holds the words; exit code 1."""
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("pointsman: ")
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[xds]\n", "[xds]\nports = 1\n", ["xds.ports", "not permitted"]),
        ("[xds]\nport = ", "[xds]\nport = 7", ["xds.port", "65535"]),
        ("[xds]\n", "[xds]\naddress = 'here'\n", ["xds.address", "'here'"]),
        ("[edge]\n", "[edge]\ntables = 0\n", ["edge.tables"]),
        ("[gds]\nurl = ", "[gds]\nurl = 7 # ", ["gds.url"]),
        ("[gds]\n", "[gds\n", ["not TOML"]),
        ("client_ca", "plaintext = false\n# client_ca", ["mTLS needs client_ca"]),
        ("[xds]\n", "[xds]\nplaintext = true\naddress = '0.0.0.0'\n", ["plaintext is for loopback only"]),
    ],
)
def test_a_broken_setting_is_named(system: System, old: str, new: str, words: list[str]) -> None:
    path = system.folder / "pointsman.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    refused(serve(system), str(path), *words)


def test_a_broken_setting_of_the_environment_is_named(system: System) -> None:
    refused(serve(system, {"POINTSMAN_HTTP__PORT": "many"}), "http.port", "'many'")


def test_a_settings_file_that_is_not_there_is_named(system: System) -> None:
    (system.folder / "pointsman.toml").unlink()
    refused(serve(system), "pointsman.toml", "No such file")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("certificates/edge.crt", b"nonsense", ["edge.crt", "not PEM"]),
        ("certificates/edge.key", b"nonsense", ["edge.key", "not a PEM private key"]),
        ("certificates/edge.key", None, ["edge.key", "No such file"]),
        ("certificates/edge.crt", None, ["no edge.crt"]),
        ("xds-server.crt", None, ["xds-server.crt", "No such file"]),
        ("xds-server.key", b"nonsense", ["xds-server.key"]),
        ("ca.crt", None, ["ca.crt", "No such file"]),
        ("ca.crt", b"nonsense", ["ca.crt", "not PEM"]),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named(
    system: System, file: str, content: bytes | None, words: list[str]
) -> None:
    path = system.folder / "certs" / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    refused(serve(system), *words)


def test_a_key_of_another_certificate_is_named(system: System, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_all(other)
    key = system.folder / "certs" / "certificates" / "edge.key"
    key.write_bytes((other / "certificates" / "edge.key").read_bytes())
    refused(serve(system), "does not belong")


@pytest.mark.parametrize("part", ["xds", "http"])
def test_a_busy_port_is_named(system: System, part: str) -> None:
    port = getattr(system.ports, part)
    with socket.create_server((LOOPBACK, port)):
        refused(serve(system), part, str(port))


@contextmanager
def nonsense(port: int, body: bytes, kind: str) -> Iterator[None]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer((LOOPBACK, port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


HEAD = {"epoch": "another", "revision": 1, "domains": 2, "pods": []}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>Please log in</html>", "text/html"),
        (b"<html>Please log in</html>", "application/x-ndjson"),
        (b"", "application/x-ndjson"),
        (json.dumps(HEAD).encode() + b'\n{"domain": "\xff\xfe.test", "pod": "pod1"}\n', "application/x-ndjson"),
        (b"[" * 100_000, "application/x-ndjson"),
        (json.dumps(HEAD).encode() + b"\n", "application/x-ndjson"),
        (b'event: change\ndata: {"revision": "x"}\n\n', "text/event-stream"),
    ],
    ids=["login", "html-as-ndjson", "empty", "not-utf8", "nested", "cut-short", "bad-event"],
)
def test_a_gds_that_answers_nonsense_changes_nothing_and_is_shown(edge: Edge, body: bytes, kind: str) -> None:
    edge.system.kill("gds")
    with nonsense(edge.system.ports.gds, body, kind):
        until(
            lambda: bool(_status(edge)["gds_error"]) and _status(edge)["gds"] == "reconnecting",
            "GDS is said to be lost",
        )
        time.sleep(0.5)
        assert _status(edge)["domains"] >= 200
        assert edge.ask("t0.example.com").pod == "pod1"
        log = (edge.system.folder / "pointsman.log").read_text()
        assert "gds.lost" in log
    edge.system.start_gds()
    edge.system.wait_gds()
    edge.put("sane.example.com", "pod2")
    edge.becomes("sane.example.com", "pod2")
    edge.delete("sane.example.com")
    edge.becomes("sane.example.com", "")
    assert WITHOUT_TLS.get(f"{edge.system.api_url}/readyz").status_code == 200


def test_an_envoy_without_a_certificate_gets_nothing(edge: Edge) -> None:
    context = ssl.create_default_context(cafile=str(edge.system.ca))
    context.set_alpn_protocols(["h2"])

    def answer() -> bytes:
        with (
            socket.create_connection((LOOPBACK, edge.system.ports.xds), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="pointsman") as tls,
        ):
            tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            first = tls.recv(4096)  # in TLS 1.3 the refusal comes with a read
            return first and tls.recv(4096)

    said = b""
    with contextlib.suppress(ssl.SSLError, ConnectionError):  # an alert or a reset is as good as the end
        said = answer()
    assert said == b""


def _status(edge: Edge) -> dict[str, object]:
    answer: dict[str, object] = WITHOUT_TLS.get(f"{edge.system.api_url}/readyz").json()
    return answer


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}

"""The edge's other settings, each by what a client sees: redirect of unknown hosts, ACME, HTTP/3, HTTP/2 pods."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_harness import Edge, running
from edge_http3 import over_http3
from edge_wire import GOOD, exchange, first_answer, plain, status

from demo.system import LOOPBACK

CHALLENGES = ".well-known/acme-challenge"


class AcmeClient:
    """What certbot's webroot or standalone mode serves, by Python's own HTTP server; it notes what it was asked."""

    def __init__(self, root: Path) -> None:
        self.asked: list[str] = []
        (root / CHALLENGES).mkdir(parents=True)
        (root / CHALLENGES / "token_-1").write_text("token_-1.thumbprint")
        (root / "secret").write_text("secret")
        asked = self.asked

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(root))

            def log_message(self, format: str, *args: Any) -> None:
                asked.append(f"{self.headers['host']} {self.requestline}")

        self.server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeClient]:
    client = AcmeClient(tmp_path_factory.mktemp("acme"))
    yield client
    client.server.shutdown()
    client.server.server_close()


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory, acme: AcmeClient) -> Iterator[Edge]:
    settings: dict[str, dict[str, object]] = {
        "edge": {"tables": 16, "acme": f"{LOOPBACK}:{acme.port}"},
        "edge.unknown_host": {"redirect": "https://signup.example.com/new?for={host}&a=100%25"},
    }
    with running(tmp_path_factory.mktemp("settings"), settings, domains=60) as edge:
        yield edge


def test_an_unknown_host_is_redirected_with_its_name(edge: Edge) -> None:
    for h2 in (False, True):
        answer = edge.ask("Nobody.example.com", "/path", h2=h2)
        assert answer.status == 302
        assert answer.headers["location"] == "https://signup.example.com/new?for=Nobody.example.com&a=100%25"
    assert edge.ask(GOOD).status == 200


def test_nothing_can_be_put_into_the_redirect_but_a_host(edge: Edge) -> None:
    for host in (b"nobody.example.com&evil=1", b"nobody.example.com#x", b"a/b.example.com"):
        assert status(exchange(edge, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")) == 400


def test_challenges_go_to_the_acme_client_and_nothing_else_does(edge: Edge, acme: AcmeClient) -> None:
    url = f"http://{LOOPBACK}:{edge.system.ports.edge_http}"
    answer = edge.http[False].get(f"{url}/{CHALLENGES}/token_-1", headers={"host": "new.example.org"})
    assert (answer.status_code, answer.text) == (200, "token_-1.thumbprint")
    assert acme.asked[-1].startswith(f"new.example.org GET /{CHALLENGES}/token_-1 ")
    asked = len(acme.asked)
    for path in (
        "/",
        "/secret",
        f"/{CHALLENGES}/",
        f"/{CHALLENGES}/../../secret",
        f"/{CHALLENGES}/a/b",
        f"/{CHALLENGES}",
        f"/X{CHALLENGES[1:]}/token_-1",
    ):
        with contextlib.closing(plain(edge)) as one:
            one.sendall(f"GET {path} HTTP/1.1\r\nHost: new.example.org\r\n\r\n".encode())
            assert status(first_answer(one)) == 308, path
    with contextlib.closing(plain(edge)) as one:
        one.sendall(
            f"POST /{CHALLENGES}/token_-1 HTTP/1.1\r\nHost: a.example.org\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert status(first_answer(one)) == 308
    assert len(acme.asked) == asked
    missing = edge.http[False].get(f"{url}/{CHALLENGES}/none", headers={"host": "new.example.org"})
    assert missing.status_code == 404
    # Over https it is a customer's path like any other.
    assert edge.ask(GOOD, f"/{CHALLENGES}/token_-1").pod == "pod1"


async def test_http3_serves_the_wildcards_names_like_http2(edge: Edge) -> None:
    known, other, unknown, elsewhere, forged = await over_http3(
        edge,
        lambda client: client.get(GOOD),
        lambda client: client.get("B1.example.com:443"),
        lambda client: client.get("nobody.example.com"),
        lambda client: client.get("customer.example.org"),
        lambda client: client.get(GOOD, [(b"x-pointsman-scope", b"zz"), (b"x-pointsman-pod", b"p")]),
    )
    assert (known[0][":status"], known[0]["x-pod"]) == ("200", "pod1")
    assert (other[0][":status"], other[0]["x-pod"]) == ("200", "pod2")
    assert unknown[0][":status"] == "302"
    assert elsewhere[0][":status"] == "421"
    assert b"x-pointsman" not in forged[1]


def test_https_answers_tell_of_http3_and_http_answers_do_not(edge: Edge) -> None:
    assert edge.ask(GOOD).headers["alt-svc"] == f'h3=":{edge.system.ports.edge_https}"; ma=86400'
    assert edge.ask(GOOD, h2=True).headers["alt-svc"].startswith("h3=")
    assert "alt-svc" not in edge.ask_plain(GOOD).headers


@pytest.mark.skipif(not shutil.which("curl"), reason="curl isn't installed")
def test_curl_speaks_http2_with_it(edge: Edge) -> None:
    port = edge.system.ports.edge_https
    command = ["curl", "-sS", "--http2", "--cacert", str(edge.system.ca), "--resolve", f"{GOOD}:{port}:{LOOPBACK}"]
    command += ["-o", "/dev/null", "-w", "%{http_version} %{http_code}", f"https://{GOOD}:{port}/"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (said.stdout, said.stderr) == ("2 200", "")


@pytest.mark.skipif(not shutil.which("h2load"), reason="h2load isn't installed (Debian: nghttp2-client)")
def test_h2load_loses_no_request_to_the_limits(edge: Edge) -> None:
    port = edge.system.ports.edge_https
    command = ["h2load", "-n", "2000", "-c", "10", "-m", "20", f"--connect-to={LOOPBACK}:{port}"]
    said = subprocess.run([*command, f"https://{GOOD}:{port}/"], capture_output=True, text=True, timeout=120)
    assert "2000 succeeded, 0 failed, 0 errored" in said.stdout, said.stdout + said.stderr

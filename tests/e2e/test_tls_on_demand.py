"""Customers' own certificates, by SNI, at a real Envoy: who is shown which, changes, refusals, caps, idleness."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from edge_harness import VARIANT, Edge, envoy_is, running, until
from tls_harness import connected, refused, shown
from wire_envoy import WireEnvoy

from demo.issuer import Issuer, write_certbot, write_flat, write_mounted
from demo.system import WITHOUT_TLS
from xds.resources.types import LISTENER
from xds.server.on_demand import STRANGERS

CAP = 20
REMOVALS = 3
"""Of each layout's certificate: together they are no more than may go within a minute."""
IDLE = 4.0
HANDSHAKE = 3.0


pytestmark = pytest.mark.skipif(envoy_is("1.36"), reason="certificates on demand need Envoy 1.37 or newer")

CA = Issuer()


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    on_demand: dict[str, object] = {"enabled": True, "names": CAP, "idle": IDLE, "handshake_timeout": HANDSHAKE}
    on_demand |= {"prefetch": ["c59.test"], "prefetch_busiest": 0}
    settings: dict[str, dict[str, object]] = {
        "log": {"level": "debug"},
        "edge": {"tables": 16},
        "edge.tls": {"unknown_sni": "refuse"},
        "edge.tls.on_demand": on_demand,
    }
    with running(tmp_path_factory.mktemp("on-demand"), settings) as edge:
        edge.load(*({"op": "put", "domain": f"c{number}.test", "pod": "pod1"} for number in range(60)))
        edge.load({"op": "put", "domain": "*.wild.test", "pod": "pod2"})
        yield edge


def folder(edge: Edge) -> Path:
    return edge.system.folder / "certs" / "certificates"


def port(edge: Edge) -> int:
    return edge.system.ports.edge_https


def metric(edge: Edge, name: str) -> float:
    text = WITHOUT_TLS.get(f"{edge.system.api_url}/metrics").text
    return float(next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name)))


def shows(edge: Edge, host: str, serial: int) -> bool:
    try:
        return shown(port(edge), host).serial_number == serial
    except (ssl.SSLError, ConnectionError):
        return False


def test_a_customers_name_is_shown_its_own_certificate_and_is_routed(edge: Edge) -> None:
    made = CA.issue("c0.test")
    write_flat(folder(edge), "c0.test", made)
    until(lambda: shows(edge, "c0.test", made.certificate.serial_number), "its certificate")
    with httpx.Client(verify=False, http2=True, trust_env=False) as client:
        url = f"https://127.0.0.1:{port(edge)}/"
        answer = client.get(url, headers={"host": "c0.test"}, extensions={"sni_hostname": "c0.test"})
    assert (answer.status_code, answer.headers["x-pod"], answer.http_version) == (200, "pod1", "HTTP/2")


def test_the_services_names_are_shown_its_own_certificate(edge: Edge) -> None:
    names = shown(port(edge), "any.example.com").subject.rfc4514_string()
    assert names == shown(port(edge), "localhost").subject.rfc4514_string()


@pytest.mark.alone
@pytest.mark.parametrize("write", [write_flat, write_certbot, write_mounted])
def test_a_certificate_comes_is_renewed_and_goes_in_each_layout_and_is_live_within_a_second(
    edge: Edge, write: Callable[..., None]
) -> None:
    host = f"c{10 + [write_flat, write_certbot, write_mounted].index(write)}.test"
    renewed: list[float] = []
    removed: list[float] = []
    for version in range(1, 9):
        made = CA.issue(host)
        write(folder(edge), host, made, *(() if write is write_flat else (version,)))
        began = time.monotonic()
        until(lambda made=made: shows(edge, host, made.certificate.serial_number), "the next")  # type: ignore[misc]
        if version > REMOVALS:
            renewed.append(time.monotonic() - began)
        else:
            began = time.monotonic()
            for path in (f"{host}.crt", f"live/{host}/fullchain.pem", f"{host}/tls.crt"):
                (folder(edge) / path).unlink(missing_ok=True)
            until(lambda: refused(port(edge), host), "gone")
            removed.append(time.monotonic() - began)
    assert median(renewed) < 1
    assert median(removed) < 1


def test_a_wildcard_certificate_serves_each_of_its_names_that_the_directory_knows(edge: Edge) -> None:
    made = CA.issue("*.wild.test")
    write_flat(folder(edge), "anything", made)
    for host in ("a.wild.test", "b.wild.test", "UPPER.wild.test"):
        until(lambda host=host: shows(edge, host, made.certificate.serial_number), host)  # type: ignore[misc]
    assert refused(port(edge), "a.b.wild.test")


def test_a_name_outside_the_directory_is_refused_at_once_even_with_a_certificate(edge: Edge) -> None:
    write_flat(folder(edge), "stranger.test", CA.issue("stranger.test"))
    until(lambda: read(edge, "stranger.test"), "it is read")
    for host in ("stranger.test", "nobody.test", "#session-tickets"):
        began = time.monotonic()
        assert refused(port(edge), host)
        assert time.monotonic() - began < HANDSHAKE, f"{host} was left waiting"


def test_the_name_of_the_services_certificate_is_no_host_to_ask_for(edge: Edge) -> None:
    assert refused(port(edge), "edge")


def test_a_client_without_sni_is_refused(edge: Edge) -> None:
    assert refused(port(edge), None)


def test_a_name_that_leaves_the_directory_is_shown_no_certificate_any_more(edge: Edge) -> None:
    made = CA.issue("c20.test")
    write_flat(folder(edge), "c20.test", made)
    until(lambda: shows(edge, "c20.test", made.certificate.serial_number), "its certificate")
    edge.delete("c20.test")
    until(lambda: refused(port(edge), "c20.test"), "refused")


def test_what_replaces_a_certificate_in_use_and_is_bad_is_set_aside(edge: Edge) -> None:
    made, other = CA.issue("c21.test"), CA.issue("c21.test")
    write_flat(folder(edge), "c21.test", made)
    until(lambda: shows(edge, "c21.test", made.certificate.serial_number), "its certificate")
    (folder(edge) / "c21.test.key").write_bytes(other.private)

    def aside() -> dict[str, object]:
        url = f"{edge.system.api_url}/api/v1/certificates/set-aside"
        records = WITHOUT_TLS.get(url).json()["items"]
        return next((record for record in records if record["certificate"] == "c21.test"), {})

    until(lambda: aside().get("kind") == "key", "set aside")
    assert "does not belong" in str(aside()["reason"])
    assert shows(edge, "c21.test", made.certificate.serial_number)
    write_flat(folder(edge), "c21.test", other)
    until(lambda: shows(edge, "c21.test", other.certificate.serial_number), "the next one")
    assert aside() == {}


def test_envoy_holds_no_more_names_than_the_cap_and_all_are_served(edge: Edge) -> None:
    hosts = [f"c{number}.test" for number in range(22, 58)]
    made = {host: CA.issue(host) for host in hosts}
    for host in hosts:
        write_flat(folder(edge), host, made[host])
    for host in hosts:
        until(lambda host=host: shows(edge, host, made[host].certificate.serial_number), host)  # type: ignore[misc]
    until(lambda: held(edge) <= CAP, "no more than the cap")
    assert shows(edge, hosts[0], made[hosts[0]].certificate.serial_number), "a withdrawn name comes again"


def held(edge: Edge) -> int:
    (count,) = edge.stats(r"on_demand_secret\.cert_active").values()
    return count


def test_what_is_idle_is_withdrawn(edge: Edge) -> None:
    assert shown(port(edge), "c22.test")
    until(lambda: held(edge) == 0, "none is held", patience=60)
    assert metric(edge, "pointsman_on_demand_held") == 0
    assert shown(port(edge), "c22.test")


def test_with_the_control_plane_away_warm_names_go_on_and_cold_ones_fail_in_time(edge: Edge) -> None:
    made = {host: CA.issue(host) for host in ("c23.test", "c24.test")}
    for host, issued in made.items():
        write_flat(folder(edge), host, issued)
    until(lambda: read(edge, "c24.test"), "the cold one is read")
    until(lambda: held(edge) == 0, "none is held", patience=60)
    until(lambda: shows(edge, "c23.test", made["c23.test"].certificate.serial_number), "the warm one is shown")
    edge.system.kill("pointsman")
    try:
        for _ in range(5):
            assert shows(edge, "c23.test", made["c23.test"].certificate.serial_number)
        began = time.monotonic()
        assert refused(port(edge), "c24.test")
        assert time.monotonic() - began < 8
    finally:
        edge.system.start_control_plane()
        edge.system.wait_control_plane()
    until(lambda: not refused(port(edge), "c24.test"), "served again")


def read(edge: Edge, certificate: str) -> bool:
    """Whether the control plane has read it."""
    url = f"{edge.system.api_url}/api/v1/certificates/{certificate}"
    return WITHOUT_TLS.get(url).status_code == 200


def traces(private: bytes) -> set[str]:
    """Of a key in PEM: what shows it, however it is written down."""
    key = load_pem_private_key(private, None)
    assert isinstance(key, EllipticCurvePrivateKey)
    secret = key.private_numbers().private_value
    body = "".join(private.decode().splitlines()[1:-1])
    # PKCS 8 begins alike for all keys of a kind; what follows is the key.
    return {body[start : start + 24] for start in range(56, len(body) - 24)} | {str(secret), f"{secret:064x}"}


def test_no_key_is_in_a_log_or_in_what_the_control_plane_answers(edge: Edge) -> None:
    good, cut = CA.issue("c25.test"), CA.issue("c26.test")
    write_flat(folder(edge), "c25.test", good)
    write_flat(folder(edge), "c26.test", cut)
    lines = cut.private.splitlines(keepends=True)
    (folder(edge) / "c26.test.key").write_bytes(b"".join([*lines[:2], b"!" + lines[2], *lines[3:]]))
    until(lambda: shows(edge, "c25.test", good.certificate.serial_number), "its certificate")
    api, url = edge.system.api_url, f"{edge.system.api_url}/api/v1/certificates"
    until(lambda: "c26.test" in WITHOUT_TLS.get(f"{url}/set-aside").text, "the other is set aside")
    asked = [f"{url}{path}" for path in ("", "/set-aside", "/c25.test", "/c26.test", "/hosts/c25.test")]
    said = {each: WITHOUT_TLS.get(each).text for each in (*asked, f"{api}/metrics")}
    said |= {part: (edge.system.folder / f"{part}.log").read_text() for part in ("pointsman", "envoy")}
    assert "c25.test" in said[f"{url}/c25.test"]
    assert "c26.test" in said["pointsman"], "the log tells of the broken key, but not what is in it"
    for where, text in said.items():
        plain = text.replace("\\n", "").replace("\n", "")
        for made in (good, cut):
            assert not [trace for trace in traces(made.private) if trace in plain], where


def test_a_key_that_others_may_read_is_said(edge: Edge) -> None:
    write_flat(folder(edge), "c58.test", CA.issue("c58.test"))
    os.chmod(folder(edge) / "c58.test.key", 0o644)
    url = f"{edge.system.api_url}/api/v1/certificates/c58.test"
    until(lambda: WITHOUT_TLS.get(url).json().get("key_readable_by_others") is True, "it is said")
    assert metric(edge, "pointsman_certificates_readable") >= 1


def test_names_to_prefetch_are_there_before_a_client_comes(edge: Edge) -> None:
    made = CA.issue("c59.test")
    write_flat(folder(edge), "c59.test", made)
    until(lambda: shows(edge, "c59.test", made.certificate.serial_number), "its certificate")
    edge.system.kill("envoy")
    edge.system.start_envoy()
    edge.system.wait_envoy()
    until(lambda: held(edge) == 1, "it is held")
    assert edge.stats("downstream_cx_total").get("http.https.downstream_cx_total", 0) == 0
    assert shows(edge, "c59.test", made.certificate.serial_number)


@contextlib.contextmanager
def with_a_busiest_name(tmp_path: Path, variant: str) -> Iterator[Edge]:
    """``busy.test`` was asked for most, ``a.test`` once; an Envoy that starts is told of one such name."""
    settings: dict[str, dict[str, object]] = {
        "edge": {"tables": 16},
        "edge.tls": {"unknown_sni": "refuse"},
        "edge.tls.on_demand": {"enabled": True, "idle": 1.0, "prefetch_busiest": 1},
    }
    with running(tmp_path, settings, variant=variant) as edge:
        made = {host: CA.issue(host) for host in ("a.test", "busy.test")}
        for host, issued in made.items():
            edge.load({"op": "put", "domain": host, "pod": "pod1"})
            write_flat(folder(edge), host, issued)
            until(lambda host=host: shows(edge, host, made[host].certificate.serial_number), host)  # type: ignore[misc]
        for _ in range(3):
            until(lambda: held(edge) == 0, "it is withdrawn")
            assert shows(edge, "busy.test", made["busy.test"].certificate.serial_number)
        until(lambda: busiest(edge)[:1] == ["busy.test"], "it is the busiest")
        until(lambda: is_told(edge, b"busy.test"), "it is in what an Envoy is told that starts")
        yield edge


class Newcomer(WireEnvoy):
    """Keeps what it is sent, as it stands."""

    came = b""

    def _take(self, message: bytes) -> None:
        self.came += message
        super()._take(message)


def is_told(edge: Edge, name: bytes) -> bool:
    """Whether the name is in what an Envoy is told that starts now."""
    where = "127.0.0.1", edge.system.ports.xds
    with Newcomer(edge.system.folder, where, "newcomer", tables=16) as envoy:
        until(lambda: bool(envoy.versions[LISTENER.url]), "it has its listeners")
        return name in envoy.came


def busiest(edge: Edge) -> list[str]:
    answer = WITHOUT_TLS.get(f"{edge.system.api_url}/api/v1/certificates").json()
    return list(answer["on_demand"]["busiest"])


def modified(edge: Edge) -> int:
    """How often a listener was sent to this Envoy in another form than it has."""
    return edge.stats("listener_manager.listener_modified")["listener_manager.listener_modified"]


def restart_envoy(edge: Edge) -> None:
    edge.system.kill("envoy")
    edge.system.start_envoy()
    edge.system.wait_envoy()


def answered(sock: socket.socket) -> bool:
    """Whether one more request on this connection is answered, and the connection stays."""
    came = b""
    try:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        while b"\n}\n" not in came and (part := sock.recv(65536)):  # the end of what the pod says
            came += part
    except OSError:
        return False
    return came.startswith(b"HTTP/1.1 200 ") and b"connection: close" not in came.lower()


@pytest.mark.skipif(VARIANT == "sotw", reason="an Envoy that asks for the state of the world isn't told the busiest")
def test_a_new_envoy_holds_the_busiest_name_before_a_client_comes(tmp_path: Path) -> None:
    with with_a_busiest_name(tmp_path, VARIANT) as edge:
        restart_envoy(edge)
        until(lambda: held(edge) == 1, "it is held", patience=4)
        assert edge.stats("downstream_cx_total").get("http.https.downstream_cx_total", 0) == 0
        assert '"prefetch_secret_names": ["busy.test"]' in json.dumps(edge.config_dump("dynamic_listeners"))


def comes_back(edge: Edge, variant: str, meanwhile: Callable[[], None]) -> None:
    """Returns when Envoy lost its control plane, has one again, and had the time to drain what was changed."""

    def told() -> int:
        return edge.stats("listener_manager.lds.update_success")["listener_manager.lds.update_success"]

    def has_one() -> bool:
        return edge.stats("control_plane.connected_state")["control_plane.connected_state"] == 1

    before = told()
    meanwhile()
    until(has_one, "Envoy has a control plane again")
    if variant == "sotw":  # which sends all listeners to whoever comes
        until(lambda: told() > before, "it is sent its listeners")
    time.sleep(3)


def freeze_control_plane(edge: Edge) -> None:
    """For as long as Envoy takes to leave it."""
    pid = edge.system.parts["pointsman"].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        until(
            lambda: edge.stats("control_plane.connected_state")["control_plane.connected_state"] == 0, "Envoy leaves it"
        )
    finally:
        os.kill(pid, signal.SIGCONT)


def restart_control_plane(edge: Edge) -> None:
    edge.system.kill("pointsman")
    edge.system.start_control_plane()
    edge.system.wait_control_plane()


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_an_envoy_that_comes_back_keeps_its_connections_though_other_names_are_the_busiest(
    tmp_path: Path, variant: str
) -> None:
    with with_a_busiest_name(tmp_path, variant) as edge:
        with connected(port(edge), "a.test") as kept:
            assert answered(kept)
            comes_back(edge, variant, lambda: freeze_control_plane(edge))  # none was busy when Envoy started
            assert answered(kept)
        assert modified(edge) == 0
        restart_envoy(edge)
        with connected(port(edge), "a.test") as kept:
            assert answered(kept)
            comes_back(edge, variant, lambda: restart_control_plane(edge))  # which knows no busiest yet
            assert answered(kept)
        assert modified(edge) == 0


def test_where_it_is_set_unknown_names_are_shown_the_services_certificate_and_fill_no_memory(tmp_path: Path) -> None:
    settings = {"edge": {"tables": 16}, "edge.tls.on_demand": {"enabled": True}}
    with running(tmp_path, settings, domains=10) as edge:
        service = shown(port(edge), "t0.example.com").serial_number
        for name in (None, *(f"stranger-{number}.test" for number in range(100))):
            assert shown(port(edge), name).serial_number == service
        until(lambda: held(edge) <= STRANGERS + 1, "most of them are withdrawn")
        made = CA.issue("late.test")
        edge.load({"op": "put", "domain": "late.test", "pod": "pod1"})
        assert shown(port(edge), "late.test").serial_number == service
        write_flat(folder(edge), "late.test", made)
        until(lambda: shows(edge, "late.test", made.certificate.serial_number), "its own, as soon as there is one")

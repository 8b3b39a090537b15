"""A control plane that speaks HTTPS is asked by its settings alone: it must show the certificate that they name."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import httpx
import pytest
from command import failed, said

from demo.system import LOOPBACK, Ports, System, free_ports

POD = {"name": "pod1", "datacenter": "dc1", "endpoints": [{"address": LOOPBACK, "port": 20001}]}


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """GDS, and a control plane with a certificate that isn't for its address. No Envoy."""
    settings: dict[str, dict[str, object]] = {
        "edge": {"tables": 8},
        "http": {
            "certificate": "certs/xds-server.crt",
            "key": "certs/xds-server.key",
            "client_ca": "certs/ca.crt",
        },
    }
    made = System(tmp_path_factory.mktemp("https"), Ports.free(), settings)
    made.prepare()
    made.load([("a.example.com", "pod1")], [POD])
    trusted = ssl.create_default_context(cafile=str(made.ca))
    trusted.check_hostname = False

    def ready() -> bool:
        try:
            url = f"https://{LOOPBACK}:{made.ports.http}/readyz"
            return httpx.get(url, verify=trusted, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        made.start_gds()
        made.wait_gds()
        made.start_control_plane().wait_until(ready)
        yield made
    finally:
        made.stop()


def test_it_is_trusted_by_its_settings_and_at_an_address_by_what_is_told(system: System) -> None:
    config = system.folder / "pointsman.toml"
    assert said("pods", "-c", config)[0]["domains"] == 1
    assert said("hold", "show", "-c", config) == {"state": "none"}
    there = ["--url", f"https://localhost:{system.ports.http}"]
    assert "certificate verify failed" in failed("pods", *there)
    assert said("pods", *there, env={"SSL_CERT_FILE": str(system.ca)})[0]["name"] == "pod1"


def test_another_certificate_there_is_not_trusted(system: System) -> None:
    config = system.folder / "pointsman.toml"
    other = {"POINTSMAN_HTTP__CERTIFICATE": str(system.folder / "certs" / "envoy.crt")}
    assert "certificate verify failed" in failed("pods", "-c", config, env=other)
    assert "doesn't answer" in failed("pods", "--url", f"http://{LOOPBACK}:{free_ports(1)[0]}")


def test_a_client_certificate_is_shown_where_there_is_no_token(system: System) -> None:
    certs = system.folder / "certs"
    there = ["--url", f"https://localhost:{system.ports.http}"]
    trust = {"SSL_CERT_FILE": str(system.ca)}
    shown = {"POINTSMAN_CLIENT_CERTIFICATE": str(certs / "envoy.crt"), "POINTSMAN_CLIENT_KEY": str(certs / "envoy.key")}
    assert "says 401" in failed("audit", *there, env=trust)
    assert said("audit", *there, env={**trust, **shown}) == []
    line = failed("hold", "release", *there, env={**trust, **shown})
    assert "says 409" in line, "it may order, and there is nothing to be released"
    (entry,) = [one for one in said("audit", *there, env={**trust, **shown}) if one["outcome"] == "refused"]
    assert entry["order"] == "hold.release"
    wrong = {**shown, "POINTSMAN_CLIENT_KEY": str(certs / "xds-server.key")}
    assert "the client certificate" in failed("audit", *there, env={**trust, **wrong})


def test_the_wrong_scheme_is_said_to_be_it(system: System) -> None:
    assert "does it speak HTTPS?" in failed("pods", "--url", f"http://{LOOPBACK}:{system.ports.http}")
    gds = f"https://{LOOPBACK}:{system.ports.gds}"
    assert "does it speak HTTP, not HTTPS?" in failed("pods", "--url", gds)

"""``docker-compose.yml`` as it is written: what can be said of it without an engine."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from engine import compose_command, run

from demo.system import ROOT

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_compose_accepts_the_file() -> None:
    command = compose_command(os.environ)
    if command is None:
        pytest.skip("neither `docker compose` nor `docker-compose` is installed")
    run([*command, "config", "--quiet"], os.environ, folder=ROOT)


@pytest.mark.skipif(not shutil.which("docker-compose"), reason="the old `docker-compose` is not installed")
def test_the_old_compose_accepts_the_file_too() -> None:
    run(["docker-compose", "config", "--quiet"], os.environ, folder=ROOT)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(service: str) -> None:
    said = SERVICES[service]
    assert said["read_only"] is True
    assert said["cap_drop"] == ["ALL"]
    assert said["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_published_on_loopback_alone(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", []))


def test_the_ports_are_those_of_make_demo() -> None:
    published = [port for said in SERVICES.values() for port in said.get("ports", [])]
    assert {int(port) for port in re.findall(r":-(\d+)}", " ".join(published))} == {6280, 10080, 10443, 18080}


def test_the_base_images_are_official_unless_told_otherwise() -> None:
    assert SERVICES["envoy"]["image"] == "${ENVOY_IMAGE:-envoyproxy/envoy:v1.40-latest}"
    built = {said["build"]["args"]["PYTHON_IMAGE"] for said in SERVICES.values() if "build" in said}
    assert built == {"${PYTHON_IMAGE:-python:3.12-slim}"}
    assert "ARG PYTHON_IMAGE=python:3.12-slim\n" in (ROOT / "Dockerfile").read_text()


def test_what_the_images_are_made_of_is_let_into_the_build() -> None:
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for words in re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        for source in words.split()[:-1]:
            assert source.rstrip("/") in let_in, source


def test_the_control_plane_can_be_scaled() -> None:
    said = SERVICES["pointsman"]
    assert not {"container_name", "network_mode", "ports"} & said.keys()

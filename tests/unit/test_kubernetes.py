"""The Kubernetes example: Kubernetes's own schemas take it, its parts fit each other, and its settings can be used."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from demo.system import ROOT
from xds.http.access import OPEN
from xds.settings import Settings, load

MANIFEST = ROOT / "ops" / "kubernetes" / "pointsman.yaml"
ALL: list[dict[str, Any]] = [*yaml.safe_load_all(MANIFEST.read_text())]
DOCUMENTS: dict[str, dict[str, Any]] = {one["kind"]: one for one in reversed(ALL)}
"""By kind; of the Services the first one."""
EACH = next(one for one in ALL if one["metadata"]["name"] == "pointsman-each")
LABELS = {"app.kubernetes.io/name": "pointsman"}
POD: dict[str, Any] = DOCUMENTS["Deployment"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
@pytest.mark.parametrize("document", ALL, ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_the_schemas_of_kubernetes_take_it_and_know_every_field(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_an_order_reaches_each_control_plane_through_the_headless_service() -> None:
    replicas = tomllib.loads(DOCUMENTS["ConfigMap"]["data"]["pointsman.toml"])["http"]["replicas"]
    (port,) = EACH["spec"]["ports"]
    assert replicas == [f"http://{EACH['metadata']['name']}:{port['port']}"]
    assert (EACH["spec"]["clusterIP"], EACH["spec"]["publishNotReadyAddresses"]) == ("None", True)
    assert EACH["spec"]["selector"] == LABELS
    peer = {"podSelector": {"matchLabels": LABELS}}
    policy = DOCUMENTS["NetworkPolicy"]["spec"]
    assert any(
        peer in rule["from"] and {"protocol": "TCP", "port": "http"} in rule["ports"] for rule in policy["ingress"]
    )
    assert any(peer in rule["to"] and {"protocol": "TCP", "port": "http"} in rule["ports"] for rule in policy["egress"])


def test_what_selects_the_control_planes_selects_these() -> None:
    assert POD["metadata"]["labels"] == LABELS
    assert DOCUMENTS["Deployment"]["spec"]["selector"]["matchLabels"] == LABELS
    assert DOCUMENTS["Service"]["spec"]["selector"] == LABELS
    assert DOCUMENTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == LABELS
    assert DOCUMENTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == LABELS


def test_one_of_two_is_always_there() -> None:
    assert DOCUMENTS["Deployment"]["spec"]["replicas"] == 2
    assert DOCUMENTS["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert DOCUMENTS["PodDisruptionBudget"]["spec"]["minAvailable"] == 1


def test_it_has_the_time_to_send_its_envoys_away(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    assert settings.xds.announce >= 2  # until the Service's addresses are without it, everywhere
    assert POD["spec"]["terminationGracePeriodSeconds"] >= settings.xds.announce + settings.xds.drain + 10


def test_it_runs_as_nobody_and_writes_its_state_alone() -> None:
    assert POD["spec"]["securityContext"]["runAsNonRoot"] is True
    assert POD["spec"]["securityContext"]["runAsUser"] == 10001  # the image's: see Dockerfile
    assert "USER 10001:10001" in (ROOT / "Dockerfile").read_text()
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert CONTAINER["securityContext"]["allowPrivilegeEscalation"] is False
    assert CONTAINER["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert POD["spec"]["automountServiceAccountToken"] is False
    writable = {mount["name"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"state", "tmp"}


def test_its_settings_can_be_read_and_every_path_in_them_is_mounted(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    assert (settings.xds.port, settings.http.port) == (PORTS["xds"], PORTS["http"])
    assert not settings.xds.plaintext
    mounts = [Path(mount["mountPath"]) for mount in CONTAINER["volumeMounts"]]
    needed = [
        settings.xds.certificate,
        settings.xds.key,
        settings.xds.client_ca,
        settings.http.token_file,
        settings.state.folder,
        settings.edge.certificates / settings.edge.certificate,
        settings.edge.tls.tickets.secret,
    ]
    for path in needed:
        assert path is not None
        assert any(path == mount or mount in path.parents for mount in mounts), path
    assert CONTAINER["args"][-1] == "/etc/pointsman/pointsman.toml"


def test_envoys_bootstrap_finds_the_service() -> None:
    bootstrap = yaml.safe_load((ROOT / "envoy" / "envoy.yaml").read_text())
    text = str(bootstrap)
    service = DOCUMENTS["Service"]
    (port,) = [one["port"] for one in service["spec"]["ports"] if one["targetPort"] == "xds"]
    assert f"'address': '{service['metadata']['name']}', 'port_value': {port}" in text


def test_probes_ask_for_what_there_is_without_a_token() -> None:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert CONTAINER[probe]["httpGet"]["path"] in OPEN
        assert CONTAINER[probe]["httpGet"]["port"] == "http"


def _settings(folder: Path) -> Settings:
    file = folder / "pointsman.toml"
    file.write_text(DOCUMENTS["ConfigMap"]["data"]["pointsman.toml"])
    return load(file)

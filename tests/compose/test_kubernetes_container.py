"""The container of `ops/kubernetes`, run as Kubernetes would: its image, words, rights, mounts and probes, twice."""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]
from engine import CommandFailed
from stack import Stack, eventually

from demo.certificates import write_all
from demo.system import LOOPBACK, ROOT, free_ports

ALL: list[dict[str, Any]] = [*yaml.safe_load_all((ROOT / "ops" / "kubernetes" / "pointsman.yaml").read_text())]
DOCUMENTS = {one["kind"]: one for one in reversed(ALL)}
POD = DOCUMENTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
VOLUMES = {volume["name"]: volume for volume in POD["volumes"]}
PORT = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
SETTINGS = "/etc/pointsman/pointsman.toml"


@dataclass(frozen=True)
class Replicas:
    stack: Stack
    folder: Path
    names: tuple[str, ...]
    ports: tuple[int, ...]
    """Of each one's HTTP, on the host."""

    def get(self, number: int, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"http://{LOOPBACK}:{self.ports[number]}{path}", headers=headers, trust_env=False, timeout=10)

    def passes(self, probe: str) -> bool:
        asked = CONTAINER[probe]["httpGet"]
        assert PORT[asked["port"]] == PORT["http"]
        try:
            return all(self.get(number, asked["path"]).status_code == 200 for number in range(len(self.names)))
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def replicas(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    folder = tmp_path_factory.mktemp("kubernetes")
    folder.chmod(0o755)
    stack.up()  # other tests may have ended a part of it
    image = stack.containers()["pointsman"].inspected["Image"]
    network = f"{stack.project}-kubernetes"
    names = (f"{network}-1", f"{network}-2")
    docker = stack.engine.docker
    made = Replicas(stack, folder, names, tuple(free_ports(2)))
    _fill(folder)
    docker("network", "create", network)
    try:
        docker("network", "connect", "--alias", "gds.gds.svc", network, stack.containers()["gds"].id)
        for name, port in zip(names, made.ports, strict=True):
            docker(
                "run",
                "--detach",
                "--name",
                name,
                "--network",
                network,
                *_as_kubernetes(folder, name, port),
                image,
                *CONTAINER["args"],
            )
        yield made
    finally:
        for words in (
            ["rm", "--force", "--volumes", *names],
            ["network", "disconnect", "--force", network, stack.containers()["gds"].id],
            ["network", "rm", network],
        ):
            try:
                docker(*words)
            except CommandFailed:
                continue


def test_every_probe_of_both_is_answered(replicas: Replicas) -> None:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        eventually(lambda probe=probe: replicas.passes(probe), probe)  # type: ignore[misc]
    assert replicas.get(0, "/readyz").json()["domains"] > 9_000


def test_prometheus_may_scrape_and_nobody_reads_without_the_token(replicas: Replicas) -> None:
    assert "pointsman_domains" in replicas.get(0, "/metrics").text
    assert replicas.get(0, "/api/v1/nodes").status_code == 401
    token = (replicas.folder / "token" / "token").read_text()
    assert replicas.get(0, "/api/v1/nodes", authorization=f"Bearer {token}").status_code == 200


def test_an_operator_in_one_of_them_is_told_of_both(replicas: Replicas) -> None:
    status = f"pointsman status --json -c {SETTINGS} || test $? = 3"  # no Envoy is connected, which isn't well
    said = json.loads(replicas.stack.engine.docker("exec", replicas.names[0], "sh", "-c", status))
    assert [each["status"]["ready"] for each in said["control_planes"]] == [True, True]


def test_it_writes_nowhere_but_in_its_state_and_tmp(replicas: Replicas) -> None:
    docker = replicas.stack.engine.docker
    for place in ("/state/pointsman/x", "/tmp/x"):
        docker("exec", replicas.names[0], "touch", place)
    for place in ("/x", "/opt/pointsman/x", "/certs/xds/x", "/etc/pointsman/x", "/home/x"):
        with pytest.raises(CommandFailed):
            docker("exec", replicas.names[0], "touch", place)


def test_a_certificate_that_is_renewed_in_its_secret_is_taken(replicas: Replicas) -> None:
    token = (replicas.folder / "token" / "token").read_text()

    def ends() -> str:
        answer = replicas.get(0, "/api/v1/certificates/edge", authorization=f"Bearer {token}")
        return str(answer.json()["not_before"]) + str(answer.json()["not_after"])

    before = ends()
    time.sleep(1.1)  # a certificate's times are whole seconds
    write_all(replicas.folder / "made")
    _secret(replicas.folder / "edge", {"tls.crt": "certificates/edge.crt", "tls.key": "certificates/edge.key"}, "newer")
    eventually(lambda: ends() != before, "the renewed certificate is in use")


def test_it_ends_by_itself_within_its_grace(replicas: Replicas) -> None:
    docker = replicas.stack.engine.docker
    began = time.monotonic()
    docker("stop", "--time", str(POD["terminationGracePeriodSeconds"]), replicas.names[1])
    assert time.monotonic() - began < POD["terminationGracePeriodSeconds"]
    assert docker("inspect", "--format", "{{.State.ExitCode}}", replicas.names[1]).strip() == "0"


def _as_kubernetes(folder: Path, name: str, port: int) -> list[str]:
    pod, own = POD["securityContext"], CONTAINER["securityContext"]
    assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
    words = ["--read-only", "--security-opt", "no-new-privileges", "--user", f"{pod['runAsUser']}:{pod['runAsGroup']}"]
    words += ["--group-add", str(pod["fsGroup"])]
    words += [f"--cap-drop={one}" for one in own["capabilities"]["drop"]]
    words += ["--memory", CONTAINER["resources"]["limits"]["memory"].replace("Gi", "g")]
    words += [
        "--network-alias",
        "pointsman",
        "--network-alias",
        "pointsman-each",
        "--publish",
        f"{LOOPBACK}:{port}:{PORT['http']}",
    ]
    for mount in CONTAINER["volumeMounts"]:
        volume = VOLUMES[mount["name"]]
        if volume.get("emptyDir", {}).get("medium") == "Memory":
            words += [
                "--tmpfs",
                f"{mount['mountPath']}:size={volume['emptyDir']['sizeLimit'].replace('Mi', 'm')},mode=1777",
            ]
        elif "emptyDir" in volume:
            place = folder / name
            place.mkdir()
            shutil.chown(place, 0, pod["fsGroup"])
            place.chmod(0o2777)
            words += ["--volume", f"{place}:{mount['mountPath']}"]
        else:
            words += ["--volume", f"{folder / mount['name']}:{mount['mountPath']}:ro"]
    return words


def _fill(folder: Path) -> None:
    """The secrets and the settings, as the kubelet lays them."""
    write_all(folder / "made")
    for name in ("token", "tickets"):
        (folder / "made" / name).write_text(secrets.token_hex(32))
    (folder / "made" / "pointsman.toml").write_text(DOCUMENTS["ConfigMap"]["data"]["pointsman.toml"])
    _secret(folder / "settings", {"pointsman.toml": "pointsman.toml"}, mode=0o644)
    _secret(folder / "xds", {"tls.crt": "xds-server.crt", "tls.key": "xds-server.key", "ca.crt": "ca.crt"})
    _secret(folder / "edge", {"tls.crt": "certificates/edge.crt", "tls.key": "certificates/edge.key"})
    _secret(folder / "token", {"token": "token", "tickets": "tickets"})


def _secret(place: Path, files: dict[str, str], version: str = "first", mode: int | None = None) -> None:
    """Files behind a link that is replaced at once."""
    made = place / f"..{version}"
    made.mkdir(parents=True)
    for name, source in files.items():
        shutil.copy(place.parent / "made" / source, made / name)
        shutil.chown(made / name, 0, POD["securityContext"]["fsGroup"])
        (made / name).chmod(VOLUMES["xds"]["secret"]["defaultMode"] if mode is None else mode)
        if not (place / name).is_symlink():
            (place / name).symlink_to(f"..data/{name}")
    (place / "..next").symlink_to(made.name)
    (place / "..next").rename(place / "..data")

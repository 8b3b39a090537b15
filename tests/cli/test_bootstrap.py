"""``pointsman bootstrap``: what it prints is the file that is shipped, and a real Envoy takes it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from command import ROOT, failed, pointsman, said

from demo.certificates import write_all
from demo.system import envoy_binary
from xds.bootstrap import Bootstrap, document


def test_the_default_is_the_file_that_is_shipped() -> None:
    assert document(Bootstrap()) == yaml.safe_load((ROOT / "envoy" / "envoy.yaml").read_text())


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--xds", "10.0.0.5:18000", "--xds", "[2001:db8::1]:18001", "--admin", "127.0.0.1:9902", "--heap", "512MiB"],
        ["--sotw", "--plaintext", "--cluster", "here", "--connections", "7"],
        ["--json", "--xds", "xds.example.com:443"],
    ],
)
def test_envoy_takes_it(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "certs").mkdir()
    write_all(tmp_path / "certs")
    done = pointsman("bootstrap", "edge-7", *words)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "envoy.yaml").write_text(done.stdout)
    envoy = subprocess.run(
        [envoy_binary(), "--mode", "validate", "-c", "envoy.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert envoy.returncode == 0, envoy.stderr[-2_000:]
    assert f"configuration '{'envoy.yaml'}' OK" in envoy.stdout + envoy.stderr


def test_it_holds_the_edges_checklist(tmp_path: Path) -> None:
    (tmp_path / "envoy.yaml").write_text(pointsman("bootstrap", "edge-7").stdout)
    (tmp_path / "pointsman.toml").write_text("[xds]\nplaintext = true\n")
    lint = pointsman("edge-lint", "--bootstrap", tmp_path / "envoy.yaml", "-c", tmp_path / "pointsman.toml")
    assert lint.returncode == 0, lint.stdout


def test_it_says_what_it_was_told(tmp_path: Path) -> None:
    (tmp_path / "pointsman.toml").write_text("[xds]\nplaintext = true\nport = 18123\n")
    made = said("bootstrap", "edge-7", "-c", tmp_path / "pointsman.toml", "--cluster", "here", "--heap", "2GiB")
    cluster, _ = made["static_resources"]["clusters"]
    assert made["node"] == {"id": "edge-7", "cluster": "here"}
    assert "transport_socket" not in cluster
    first, second = cluster["load_assignment"]["endpoints"]
    assert first["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["port_value"] == 18123
    assert second["priority"] == 1
    assert made["overload_manager"]["resource_monitors"][0]["typed_config"]["max_heap_size_bytes"] == 2 << 30


def test_what_is_no_address_or_size_is_a_wrong_command_line() -> None:
    assert "'nowhere' is not HOST:PORT" in failed("bootstrap", "edge-1", "--xds", "nowhere", code=2)
    assert "'much' is not a size" in failed("bootstrap", "edge-1", "--heap", "much", code=2)

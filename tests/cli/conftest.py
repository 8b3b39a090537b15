"""One running edge that the tests of the commands share; each leaves it as it found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from edge_harness import LOOPBACK, Edge, running

from demo.system import Ports


def settings(ports: Ports) -> dict[str, dict[str, object]]:
    """The control plane may read the Envoy's admin, and probe the edge."""
    return {
        "edge": {"misdirected": False, "tables": 8, "pod_header": "x-edge-pod"},
        "http": {"probe": f"{LOOPBACK}:{ports.edge_https}"},
        "http.envoy_admins": {"edge-1": f"http://{LOOPBACK}:{ports.admin}"},
    }


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("cli"), settings, domains=30) as edge:
        yield edge

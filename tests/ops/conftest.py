"""One edge, whose metrics are scraped: what Prometheus would see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from edge_harness import Edge, running


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    settings = {"edge": {"misdirected": False}, "edge.unknown_host": {"count": True}, "guard": {"minimum": 100}}
    with running(tmp_path_factory.mktemp("ops"), settings) as edge:
        yield edge

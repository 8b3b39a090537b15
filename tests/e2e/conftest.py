"""The whole system from its real parts, on ports of its own: one that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from edge_harness import Edge, running


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    # Hosts are asked for that the certificate isn't for, and large changes are made: it is about routes here.
    settings = {"edge": {"misdirected": False}, "guard": {"enabled": False}}
    with running(tmp_path_factory.mktemp("edge"), settings) as edge:
        yield edge

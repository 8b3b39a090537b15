"""The whole system from its real parts, with proxies before GDS and the control plane: one for a module's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faulty_edge import FaultyEdge, running_faulty


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyEdge]:
    with running_faulty(tmp_path_factory.mktemp("faulty"), proxied=("gds", "xds")) as edge:
        yield edge

"""An edge whose control plane knows a GDS of one call: no host is known when it begins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from edge_harness import Edge
from looking_up import Looked, looking_up


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    # Longer than a test waits for anything: GDS may hold an answer back until the test lets it go.
    with looking_up(tmp_path_factory.mktemp("lookup"), {"timeout": 30.0, "patience": 40.0}) as looked:
        yield looked


@pytest.fixture
def edge(looked: Looked) -> Edge:
    return looked.edge

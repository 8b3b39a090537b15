"""A GDS for each test: in this process for single calls, as a real server process for what streams or dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from gds_harness import Gds, serving

from gds_mock.api import BASE, create_app
from gds_mock.store import Store


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gds]:
    """A server process that the tests of a module share; each watches from where it finds it."""
    with serving(tmp_path_factory.mktemp("gds") / "gds.sqlite", "--heartbeat", "0.2") as gds:
        gds.pod("pod1")
        gds.pod("pod2")
        yield gds


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "gds.sqlite")) as store:
        yield store


@pytest.fixture
def gds(store: Store) -> Iterator[Gds]:
    """A GDS of the test's own, in this process, with two pods."""
    base = f"http://gds{BASE}"
    with TestClient(create_app(store), base_url=base, raise_server_exceptions=False) as client:
        gds = Gds(client)
        gds.pod("pod1")
        gds.pod("pod2")
        yield gds

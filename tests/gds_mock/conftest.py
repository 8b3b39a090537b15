"""A GDS for each test: in this process for single calls, as a real server process for what streams or dies.

What the contract says is tested over each store that there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from gds_harness import Gds, serving
from postgres_cluster import Cluster, cluster, programs

from gds_mock.api import BASE, create_app
from gds_mock.opening import open_store
from gds_mock.store import Store

STORES = ["sqlite", "postgres"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL that the tests share; each has a database of its own."""
    if programs() is None:
        pytest.skip("no PostgreSQL is installed here: apt-get install postgresql")
    with cluster() as running:
        yield running


def _a_place(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if kind == "sqlite":
        yield str(folder / "gds.sqlite")
    else:
        with request.getfixturevalue("postgres").place() as url:
            yield url


@pytest.fixture(params=STORES)
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a store that is not made yet."""
    yield from _a_place(request.param, tmp_path, request)


@pytest.fixture
def pg(postgres: Cluster) -> Iterator[str]:
    """The address of a store in PostgreSQL that is not made yet."""
    with postgres.place() as url:
        yield url


@pytest.fixture(scope="module", params=STORES)
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gds]:
    """A server process that the tests of a module share; each watches from where it finds it."""
    for place in _a_place(request.param, tmp_path_factory.mktemp("gds"), request):
        with serving(place, "--heartbeat", "0.2") as gds:
            gds.pod("pod1")
            gds.pod("pod2")
            yield gds


@pytest.fixture
def store(db: str) -> Iterator[Store]:
    with open_store(db) as store:
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

"""A server of its own for each test, all in the event loop of one thread, and a client that is connected to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest
from conformance_mtls import Certificates
from conformance_server import LoopThread, Server, serving
from xds_client import Client


@pytest.fixture(scope="session")
def loop_thread() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.stop()


@pytest.fixture
def serve(loop_thread: LoopThread) -> Callable[..., AbstractContextManager[Server]]:
    """For tests that need a server with limits of its own, or more than one."""
    return partial(serving, loop_thread)


@pytest.fixture
def server(loop_thread: LoopThread) -> Iterator[Server]:
    with serving(loop_thread) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.port) as client:
        yield client


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("mtls"))


@pytest.fixture(params=["delta", "sotw"])
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)

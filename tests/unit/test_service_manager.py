"""What the service manager is told, over a socket that it names."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from xds import service_manager


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield heard


def test_it_is_told_when_it_listens_and_where(manager: socket.socket) -> None:
    service_manager.listening("xDS on 127.0.0.1:18000")
    assert manager.recv(4096).decode().splitlines() == ["READY=1", "STATUS=xDS on 127.0.0.1:18000"]


def test_an_end_that_takes_longer_than_it_allows_is_announced(manager: socket.socket) -> None:
    service_manager.ending(60)
    assert manager.recv(4096).decode().splitlines()[0] == "STOPPING=1"
    service_manager.ending(60)
    assert f"EXTEND_TIMEOUT_USEC={70 * 1_000_000}" in manager.recv(4096).decode().splitlines()


async def test_a_watchdog_hears_twice_as_often_as_it_must(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    alive = asyncio.create_task(service_manager.alive())
    for _ in range(3):
        assert await asyncio.to_thread(manager.recv, 4096) == b"WATCHDOG=1"
    await _ended(alive)


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
async def test_nobody_who_does_not_ask_hears_that_it_lives(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    alive = asyncio.create_task(service_manager.alive())
    await asyncio.sleep(0.1)
    assert not alive.done()
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)
    await _ended(alive)


@pytest.mark.parametrize("where", ["", "relative", "/nowhere/at/all"])
def test_where_there_is_no_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", where)
    service_manager.listening("here")


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

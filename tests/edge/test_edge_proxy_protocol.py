"""Behind an L4 balancer: the PROXY protocol says who the client is; and the edge's end, which loses no request."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import httpx
import pytest
from edge_harness import Edge, running, until
from edge_wire import connect, exchange, first_answer, status

from demo.system import ROOT, WITHOUT_TLS, envoy_binary

PREFACE = b"PROXY TCP4 203.0.113.9 203.0.113.1 4711 443\r\n"
ASK = b"GET / HTTP/1.1\r\nHost: t0.example.com\r\n\r\n"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    settings: dict[str, dict[str, object]] = {"edge": {"tables": 8, "proxy_protocol": True, "pods_http2": False}}
    folder = tmp_path_factory.mktemp("proxied")
    with running(
        folder, settings, 30, answers=lambda edge: status(exchange(edge, ASK, preface=PREFACE)) == 200
    ) as edge:
        yield edge


def test_the_client_is_who_the_balancer_says(edge: Edge) -> None:
    answer = exchange(edge, ASK, preface=PREFACE)
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]
    assert seen["x-forwarded-for"] == seen["x-envoy-external-address"] == "203.0.113.9"


def test_a_connection_without_it_is_refused(edge: Edge) -> None:
    assert exchange(edge, ASK) == b""


def test_http3_is_off_then(edge: Edge) -> None:
    answer = exchange(edge, ASK, preface=PREFACE)
    assert b"alt-svc" not in answer.lower()
    (dump,) = [part for part in edge.config_dump("dynamic_listeners") if part["name"] == "https"]
    assert dump["active_state"]["listener"]["listener_filters"][0]["name"] == "envoy.filters.listener.proxy_protocol"
    assert "http3" not in [part["name"] for part in edge.config_dump("dynamic_listeners")]


def test_the_end_is_announced_drained_and_then_comes(edge: Edge) -> None:
    """With `envoy/run.sh`, as in compose. The last test: Envoy is started anew by it."""
    edge.system.kill("envoy")
    folder, admin = edge.system.folder, edge.system.ports.admin
    command = [ROOT / "envoy" / "run.sh", envoy_binary(), "-c", folder / "envoy.yaml", "--disable-hot-restart"]
    command += ["--service-cluster", "edge", "--service-node", "edge-1", "-l", "warning", "--drain-time-s", "2"]
    environment = {**os.environ, "ADMIN_PORT": str(admin), "UNHEALTHY_SECONDS": "1", "DRAIN_SECONDS": "5"}
    with (folder / "run.log").open("wb") as log:
        running_ = subprocess.Popen(list(map(str, command)), cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 30
        while status(exchange_or_nothing(edge)) != 200:
            assert time.monotonic() < end
            time.sleep(0.1)
        with connect(edge, preface=PREFACE) as upload:
            upload.sendall(b"POST / HTTP/1.1\r\nHost: t0.example.com\r\nContent-Length: 4\r\n\r\nab")
            running_.send_signal(signal.SIGTERM)
            ready = f"{edge.system.admin_url}/ready"
            until(lambda: WITHOUT_TLS.get(ready).status_code == 503, "a balancer sees that it ends")
            assert status(exchange_or_nothing(edge)) == 200  # whoever still comes is served
            time.sleep(1.0)
            upload.sendall(b"cd")
            answer = first_answer(upload)
            assert status(answer) == 200
            assert b"connection: close" in answer.lower()
        stopped = 0
        while running_.poll() is None and not stopped:
            with contextlib.suppress(httpx.TransportError):
                stopped = edge.stats("listener_manager.listener_stopped")["listener_manager.listener_stopped"]
            time.sleep(0.05)
        assert stopped  # nobody new comes in before it goes
        assert running_.wait(20) == 0
    finally:
        if running_.poll() is None:
            running_.kill()
            running_.wait(10)


def exchange_or_nothing(edge: Edge) -> bytes:
    with contextlib.suppress(OSError):
        return exchange(edge, ASK, preface=PREFACE)
    return b""

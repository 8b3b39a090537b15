"""Pods that are well but busy: what waits for them is answered."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from edge_harness import Edge

from demo.system import LOOPBACK


class Pod(ThreadingHTTPServer):
    """Takes a while for each answer."""

    daemon_threads = True
    request_queue_size = 1
    wait = 0.05
    closes = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        time.sleep(Pod.wait)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.send_header("x-pod", "busy")
        assert isinstance(self.server, Pod)
        if self.server.closes:
            self.send_header("connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pod(edge: Edge) -> Iterator[Pod]:
    """It listens; who starts it is the test."""
    with Pod(("127.0.0.1", 0), Handler) as made:
        yield made
        edge.delete("busy.example.com")
        assert edge.gds.delete("/pods/busy").status_code == 204


@contextlib.contextmanager
def answering(pod: Pod, *, closes: bool = False) -> Iterator[None]:
    """``closes``: no connection outlives its answer."""
    pod.closes = closes
    thread = threading.Thread(target=pod.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        pod.shutdown()
        thread.join()


def ask_alone(edge: Edge, host: str) -> int:
    """The status, over a connection that no other thread uses."""
    url = f"https://{LOOPBACK}:{edge.system.ports.edge_https}/"
    with edge.client(h2=True) as client:
        return client.get(url, headers={"host": host}, extensions={"sni_hostname": "edge.example.com"}).status_code


def test_requests_over_a_pods_connections_wait_for_their_turn(edge: Edge, pod: Pod) -> None:
    edge.put_pod("busy", pod.server_port, max_connections=1)
    edge.put("busy.example.com", "busy")
    with answering(pod):
        edge.becomes("busy.example.com", "busy")
        with ThreadPoolExecutor(12) as clients:
            answers = list(clients.map(lambda _: ask_alone(edge, "busy.example.com"), range(24)))
    assert answers == [200] * 24


def test_a_connection_that_a_full_queue_lost_once_is_waited_for(edge: Edge, pod: Pod) -> None:
    edge.put_pod("busy", pod.server_port)
    edge.put("busy.example.com", "busy")
    with answering(pod, closes=True):
        edge.becomes("busy.example.com", "busy")
    with contextlib.ExitStack() as held:
        for _ in range(2):  # as many as the queue holds: what comes then is lost, and sent again after a second
            held.enter_context(socket.create_connection(("127.0.0.1", pod.server_port)))
        with ThreadPoolExecutor(1) as client:
            asked = client.submit(edge.ask, "busy.example.com")
            time.sleep(1.5)
            with answering(pod):
                assert asked.result().status == 200

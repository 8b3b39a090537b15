"""What the tests of gds_mock talk to: a server, its client, its command line and its watches."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Event:
    """One server-sent event."""

    name: str = ""
    id: str | None = None
    data: Any = None


class Watch:
    """An open watch, read event by event."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def event(self) -> Event:
        """The next event; StopIteration when the server ended the watch."""
        event = Event()
        while line := next(self._lines):
            key, _, value = line.partition(": ")
            match key:
                case "event":
                    event.name = value
                case "id":
                    event.id = value
                case "data":
                    event.data = json.loads(value)
        return event

    def change(self) -> Event:
        """The next event that is not a heartbeat."""
        while (event := self.event()).name == "heartbeat":
            pass
        return event


@dataclass
class Gds:
    """A running server and a client of it."""

    client: httpx.Client
    process: subprocess.Popen[str] | None = None

    def pod(self, name: str) -> None:
        pod = {"datacenter": "dc1", "endpoints": [{"address": "127.0.0.1", "port": 20001}]}
        assert self.client.put(f"/pods/{name}", json=pod).status_code in (200, 201)

    def put(self, domain: str, pod: str) -> int:
        answer = self.client.put(f"/backend/{domain}", json={"pod": pod})
        assert answer.status_code in (200, 201), answer.text
        return int(answer.json()["revision"])

    def load(self, *lines: dict[str, str]) -> httpx.Response:
        return self.client.post("/backends", content="".join(json.dumps(line) + "\n" for line in lines))

    def position(self) -> tuple[str, int]:
        health = self.client.get("/healthz").json()
        return health["epoch"], health["revision"]

    @contextlib.contextmanager
    def watch(
        self, epoch: str | None = None, after: int | None = None, last_event_id: str | None = None
    ) -> Iterator[Watch]:
        query = {"epoch": epoch, "after": after} if epoch is not None else {}
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        with self.client.stream("GET", "/watch", params=query, headers=headers) as response:
            assert response.status_code == 200, response.read()
            yield Watch(response)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(20)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """``python -m gds_mock`` to its end."""
    command = [sys.executable, "-m", "gds_mock", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@contextlib.contextmanager
def serving(db: str | Path, *arguments: object) -> Iterator[Gds]:
    command = [sys.executable, "-m", "gds_mock", "--db", str(db), "--port", "0", *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            said = re.search(r"http://\S+", line)
            assert said, f"the server said {line!r}"
            with httpx.Client(base_url=said[0], timeout=20, verify=False) as client:
                yield Gds(client, process)
        finally:
            process.kill()

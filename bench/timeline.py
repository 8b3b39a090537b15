"""What the probes of `bench.probed` noted, put together: when each revision was committed, published and ACKed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class ProbeFile:
    """Reads on from where it stopped."""

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = []
        self._path = path
        self._at = 0

    def read(self) -> list[Event]:
        """All events so far, those that are new since the last call among them."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._at)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._at += len(whole)
            self.events.extend(json.loads(line) for line in whole.splitlines())
        return self.events

    def wait(self, found: Callable[[list[Event]], bool], patience: float) -> bool:
        """Reads until ``found`` holds of all events; False when it didn't in so many seconds."""
        end = time.monotonic() + patience
        while not found(self.read()):
            if time.monotonic() > end:
                return False
            time.sleep(0.003)
        return True


@dataclass(slots=True)
class Lag:
    """Of one revision; seconds of the monotonic clock. ``acked``: by whom it was ACKed when."""

    revision: int
    committed: float
    published: float
    acked: dict[str, float] = field(default_factory=dict)

    def last_ack(self, nodes: int = 1) -> float | None:
        """From the commit to the ACK of the last of ``nodes``; None when not all of them ACKed it."""
        return max(self.acked.values()) - self.committed if len(self.acked) >= nodes else None


def lags(commits: list[Event], events: list[Event], *, every_node: bool = False) -> dict[int, Lag]:
    """For each revision that was published: when a node had ACKed all tables that it changed, at its content or a
    later one. Without ``every_node`` only the real Envoy counts."""
    committed = {event["revision"]: event["t"] for event in commits if event["e"] == "commit"}
    found: dict[int, Lag] = {}
    history: dict[str, list[tuple[int, str]]] = {}
    owed: dict[str, list[tuple[int, int]]] = {}
    needed: dict[int, set[str]] = {}
    ahead: dict[tuple[str, str], int] = {}
    open_: dict[tuple[str, int], set[str]] = {}
    before = 0
    for number, event in enumerate(events):
        match event["e"]:
            case "ready":
                before = max(before, event["revision"])
            case "publish":
                for table, version in event["tables"].items():
                    history.setdefault(table, []).append((number, version))
                for revision in range(before + 1, event["revision"] + 1):
                    if revision in committed:
                        found[revision] = Lag(revision, committed[revision], event["t"])
                        needed[revision] = {*event["tables"], *event["later"]}
                        for table in needed[revision]:
                            owed.setdefault(table, []).append((number, revision))
                before = max(before, event["revision"])
            case "ack" if event["error"] is None and (every_node or event["node"] == "edge-1"):
                node = event["node"]
                for table, version in event["tables"].items():
                    upto = max((at for at, held in history.get(table, ()) if held == version), default=-1)
                    waiting = owed.get(table, [])
                    while (at := ahead.get((node, table), 0)) < len(waiting) and waiting[at][0] <= upto:
                        ahead[node, table] = at + 1
                        revision = waiting[at][1]
                        left = open_.setdefault((node, revision), set(needed[revision]))
                        left.discard(table)
                        if not left:
                            del open_[node, revision]
                            found[revision].acked.setdefault(node, event["t"])
    return found


def longest_stall(events: list[Event], since: float) -> dict[str, float]:
    """From ``since`` on: how long the control plane's event loop was held up, how much CPU it used meanwhile (the rest
    was others'), and how much of it was the garbage collector's. Milliseconds; 0 stands for less than was noted."""
    found = [event for event in events if event["e"] == "stall" and event["t"] >= since]
    longest = max(found, key=lambda event: float(event["late"]), default={"late": 0.0, "cpu": 0.0, "gc": 0.0})
    for event in events:
        if event["e"] == "where" and event["t"] >= since:
            print(f"  held up for {event['late'] * 1000:.0f} ms: {' > '.join(event['stack'])}", file=sys.stderr)
    return {f"stall_{name}ms": longest[what] * 1000 for name, what in (("", "late"), ("cpu_", "cpu"), ("gc_", "gc"))}

"""What may happen in a soak: each fault goes its whole way, to where everything is right again but for the moves."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from edge_harness import LOOPBACK, customers, until
from faulty_edge import KNOWN, FaultyEdge
from operator_desk import store_replaced
from wire_envoy import WireEnvoy, held_by_all

from demo.system import WITHOUT_TLS

REPLICAS = 2
DOMAINS = 2_000
SMALL_DISK = "2m"
PATIENCE = 60.0


class Happenings:
    """``calm`` is a context in which the load pauses: an Envoy that is started anew answers nobody meanwhile. ``clock``
    is the file that says how far the control planes' wall clocks are off; None where that can't be had."""

    def __init__(
        self,
        edge: FaultyEdge,
        chance: random.Random,
        calm: Callable[[], contextlib.AbstractContextManager[None]],
        clock: Path | None,
    ) -> None:
        self._edge = edge
        self._chance = chance
        self._calm = calm
        self._clock = clock
        self._others = [domain for domain, _ in customers(DOMAINS)[KNOWN:]]
        self.slowest_move = 0.0
        self.moved = 0

    def all(self) -> dict[str, Callable[[], None]]:
        found = {
            "control plane killed": lambda: self._restart(signal.SIGKILL),
            "control plane ended": lambda: self._restart(signal.SIGTERM),
            "control plane frozen": self._frozen,
            "control plane started without GDS": self._started_without_gds,
            "GDS killed": self._gds_killed,
            "GDS cut off": self._gds_cut_off,
            "GDS half-open": self._gds_silent,
            "GDS slow": self._gds_slow,
            "GDS halved": self._gds_halved,
            "GDS restored from a backup": self._gds_restored,
            "GDS replaced by another epoch": self._gds_replaced,
            "a state rolled back": self._rolled_back,
            "disk full": self._disk_full,
            "an Envoy that rejects everything": lambda: self._bad_envoy(answer="nack"),
            "an Envoy that doesn't read": lambda: self._bad_envoy(reads=False),
            "a new Envoy while GDS is away": self._new_envoy,
            "Envoy started anew": self._envoy_restarted,
            "Envoy started anew while GDS is away": self._envoy_restarted_without_gds,
            "nothing": lambda: time.sleep(1.0),
        }
        if self._clock is not None:
            found["clock jumps"] = self._clock_jumps
        return found

    def moves(self, count: int) -> None:
        """Domains move, and each arrives."""
        for domain in self._chance.sample(self._edge.where.domains, count):
            began = self._edge.move(domain, self._edge.elsewhere(domain))
            self._edge.arrives(domain, PATIENCE)
            self.slowest_move = max(self.slowest_move, time.monotonic() - began)
            self.moved += 1

    def settled(self) -> None:
        """Both control planes are ready, hold nothing back, and use every record."""
        for replica in range(REPLICAS):
            until(partial(self._is_well, replica), f"replica {replica} is well", PATIENCE)

    def _is_well(self, replica: int) -> bool:
        said = self._edge.ready(replica)
        # Of a control plane whose one Envoy rejects everything, records are tried for a while; none may stay set aside.
        as_it_should_be = {"ready": True, "hold": "none", "gds": "following", "state_error": "", "set_aside": 0}
        return said | as_it_should_be == said

    def _replica(self) -> int:
        return self._chance.randrange(REPLICAS)

    # Control planes.

    def _restart(self, how: signal.Signals) -> None:
        replica = self._replica()
        self._edge.kill_replica(replica, how)
        time.sleep(self._chance.random())
        self._start(replica)

    def _start(self, replica: int) -> None:
        """With more patience than a test has: a soak shares its machine for long."""
        self._edge.start_replica(replica, wait=False)
        self._edge.wait_replica(replica)

    def _frozen(self) -> None:
        pid = self._edge.replica(self._replica()).pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.5, 8.0))
        os.kill(pid, signal.SIGCONT)

    def _started_without_gds(self) -> None:
        with self._gds_away():
            for replica in range(REPLICAS):
                self._edge.kill_replica(replica)
                self._start(replica)
                assert self._edge.ready(replica)["from_disk"]

    def _clock_jumps(self) -> None:
        assert self._clock is not None
        self._clock.write_text(f"{self._chance.choice([-3_500, 0, 3_500]):+d}\n")
        time.sleep(2.5)

    def _disk_full(self) -> None:
        replica = self._replica()
        folder = self._edge.system.folder / f"state-{replica}"
        if not folder.is_mount():
            self._disk_read_only(replica, folder)
            return
        filler = folder / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 512):
                pass
        try:
            until(lambda: self._moved_and_failing(replica), "the full disk is noticed", PATIENCE)
        finally:
            filler.unlink()
        until(lambda: not self._edge.metrics(replica)["state_failing"], "it is written again", PATIENCE)

    def _disk_read_only(self, replica: int, folder: Path) -> None:
        beside = folder.rename(folder.with_name(f"{folder.name}-away"))
        folder.write_text("this is no folder")
        try:
            until(lambda: self._moved_and_failing(replica), "the lost folder is noticed", PATIENCE)
        finally:
            folder.unlink()
            beside.rename(folder)
        until(lambda: not self._edge.metrics(replica)["state_failing"], "it is written again", PATIENCE)

    def _moved_and_failing(self, replica: int) -> bool:
        self.moves(1)
        return bool(self._edge.metrics(replica)["state_failing"])

    # GDS.

    @contextlib.contextmanager
    def _gds_away(self) -> Iterator[None]:
        self._edge.system.kill("gds", signal.SIGKILL)
        try:
            yield
        finally:
            self._edge.system.start_gds()
            self._edge.system.wait_gds()

    def _gds_killed(self) -> None:
        with self._gds_away():
            time.sleep(self._chance.random() * 3)

    def _gds_cut_off(self) -> None:
        self._edge.proxies["gds"].refuse()
        time.sleep(self._chance.random() * 3)
        self._edge.proxies["gds"].accept()

    def _gds_silent(self) -> None:
        proxy = self._edge.proxies["gds"]
        proxy.silent = True
        time.sleep(self._chance.uniform(0.5, 6.0))
        proxy.silent = False
        proxy.cut()

    def _gds_slow(self) -> None:
        self._edge.proxies["gds"].delay = 0.3
        time.sleep(self._chance.uniform(0.5, 3.0))
        self._edge.proxies["gds"].delay = 0.0

    def _gds_halved(self) -> None:
        """Held; and then put right, or refused and put right, or released and put right."""
        lost = self._others[: DOMAINS // 2]
        home = dict(customers(DOMAINS))
        self._edge.load(*[{"op": "delete", "domain": domain} for domain in lost])
        for replica in range(REPLICAS):
            until(partial(self._holds, replica), "it is held", PATIENCE)
        assert all(self._edge.ask(domain).status == 200 for domain in lost[:3]), "what is held is at the edge"
        self.moves(3)
        what = self._chance.choice(["", "release", "refuse"])
        for replica in range(REPLICAS):
            if what:
                self._order(replica, f"hold/{what}")
        if what == "release":
            until(lambda: self._edge.ask(lost[0]).status == 404, "what was released is at the edge", PATIENCE)
        self._edge.load(*[{"op": "put", "domain": domain, "pod": home[domain]} for domain in lost])
        until(lambda: self._edge.ask(lost[-1]).status == 200, "GDS was put right", PATIENCE)

    def _gds_restored(self) -> None:
        """Moves that were made since the backup are undone."""
        where, system = self._edge.where, self._edge.system
        system.kill("gds")
        backup = {file: file.read_bytes() for file in system.folder.glob("gds.sqlite*")}
        system.start_gds()
        system.wait_gds()
        self.settled()
        domains = self._chance.sample(where.domains, 5)
        before = {domain: where.pod(domain) for domain in domains}
        for domain in domains:
            self._edge.move(domain, self._edge.elsewhere(domain))
            self._edge.arrives(domain, PATIENCE)
        system.kill("gds", signal.SIGKILL)
        for file in system.folder.glob("gds.sqlite*"):
            file.unlink()
        for file, content in backup.items():
            file.write_bytes(content)
        for domain, pod in before.items():
            where.moves(domain, pod, time.monotonic())
        system.start_gds()
        system.wait_gds()
        for domain in domains:
            self._edge.arrives(domain, PATIENCE)
        # A store with its old epoch is known by its lower revision alone: by both, before moves have made up for it.
        for replica in range(REPLICAS):
            until(partial(self._has, replica, before), f"replica {replica} has what GDS has", PATIENCE)

    def _has(self, replica: int, where: Mapping[str, str]) -> bool:
        return all(self._asked(replica, "GET", f"domains/{domain}")["pod"] == pod for domain, pod in where.items())

    def _gds_replaced(self) -> None:
        """Another store that says the same."""
        where = self._edge.where
        domains = {**dict(customers(DOMAINS)), **{domain: where.pod(domain) for domain in where.domains}}
        store_replaced(self._edge, [*domains.items()])

    def _rolled_back(self) -> None:
        """A domain is put on a wrong pod, both control planes are taken back, and then GDS is right again."""
        where = self._edge.where
        (domain,) = self._chance.sample(where.domains, 1)
        right, wrong = self._edge.elsewhere(domain), where.pod(domain)
        revisions = []
        for pod in (right, wrong):
            where.moves(domain, pod, time.monotonic())
            revisions.append(self._edge.put(domain, pod))
            self._edge.arrives(domain, PATIENCE)
            for replica in range(REPLICAS):
                until(partial(self._kept, replica, revisions[-1]), "the state is on disk", PATIENCE)
        where.moves(domain, right, time.monotonic())
        for replica in range(REPLICAS):
            self._order(replica, "rollback", revision=revisions[0])
        self._edge.arrives(domain, PATIENCE)
        where.moves(domain, wrong, time.monotonic())
        for replica in range(REPLICAS):
            self._order(replica, "hold/release")
        self._edge.arrives(domain, PATIENCE)

    def _holds(self, replica: int) -> bool:
        return bool(self._edge.ready(replica)["hold"] == "held")

    def _kept(self, replica: int, revision: int) -> bool:
        states = self._asked(replica, "GET", "states?limit=5")
        return any(one["revision"] == revision for one in states["items"])

    # Envoys.

    def _bad_envoy(self, **how: Any) -> None:
        replica = self._replica()
        with WireEnvoy(self._edge.system.folder, self._xds(replica), f"bad-{self._chance.random()}", **how):
            self.moves(3)
            time.sleep(self._chance.uniform(0.5, 3.0))

    def _new_envoy(self) -> None:
        with self._gds_away():
            held = []
            for replica in range(REPLICAS):
                with held_by_all(self._edge.system.folder, self._xds(replica), "new-1") as client:
                    held.append(client.versions)
            assert held[0] == held[1], "the control planes disagree"

    def _envoy_restarted(self) -> None:
        with self._calm():
            self._edge.system.kill("envoy", self._chance.choice([signal.SIGTERM, signal.SIGKILL]))
            self._edge.system.start_envoy()
            self._edge.system.wait_envoy()
            until(lambda: all(self._is_right(domain) for domain in self._edge.where.domains), "all is served", PATIENCE)

    def _envoy_restarted_without_gds(self) -> None:
        with self._gds_away():
            self._envoy_restarted()

    def _is_right(self, domain: str) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self._edge.ask(domain).pod == self._edge.where.pod(domain)
        return False

    def _xds(self, replica: int) -> tuple[str, int]:
        return f"127.0.0.{2 + replica}", self._edge.system.ports.xds

    def _order(self, replica: int, what: str, **order: object) -> None:
        self._asked(replica, "POST", what, {"by": "the soak", **order})

    def _asked(self, replica: int, method: str, path: str, body: dict[str, object] | None = None) -> Any:
        token = (self._edge.system.folder / f"state-{replica}" / "token").read_text().strip()
        url = f"http://{LOOPBACK}:{self._edge.apis[replica]}/api/v1/{path}"
        headers = {"authorization": f"Bearer {token}"}
        answer = WITHOUT_TLS.request(method, url, json=body, headers=headers, timeout=PATIENCE)
        assert answer.status_code == 200, f"{method} {path} at replica {replica}: {answer.text}"
        return answer.json()


@contextlib.contextmanager
def small_disks(folder: Path) -> Iterator[bool]:
    """The control planes' state folders are disks that can be filled, where we may mount such ones: for root."""
    mounted: list[Path] = []
    try:
        for replica in range(REPLICAS):
            state = folder / f"state-{replica}"
            state.mkdir(mode=0o700)
            options = f"size={SMALL_DISK},mode=700"
            done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", state], capture_output=True)
            if done.returncode:
                break
            mounted.append(state)
        yield len(mounted) == REPLICAS
    finally:
        for state in mounted:
            subprocess.run(["umount", "-l", state], check=True)

"""What is changed in GDS is seen at a real Envoy, without a restart."""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise

import httpx
import pytest
from edge_harness import Edge, until

from demo.certificates import write_all
from demo.system import LOOPBACK


@pytest.fixture(autouse=True)
def no_restart(edge: Edge) -> Iterator[None]:
    pids = {name: part.pid for name, part in edge.system.parts.items()}
    yield
    assert {name: part.pid for name, part in edge.system.parts.items() if name in pids} == pids


def test_a_new_domain_is_routed_a_moved_one_follows_and_a_deleted_one_is_gone(edge: Edge) -> None:
    edge.put("new.example.com", "pod1")
    edge.becomes("new.example.com", "pod1")
    edge.put("new.example.com", "pod2")
    edge.becomes("new.example.com", "pod2")
    edge.delete("new.example.com")
    edge.becomes("new.example.com", "")


def test_a_wildcard_answers_for_what_has_no_entry_of_its_own(edge: Edge) -> None:
    edge.put("*.wild.example.com", "pod3")
    edge.put("own.wild.example.com", "pod1")
    edge.becomes("own.wild.example.com", "pod1")
    for host in ("any.wild.example.com", "a.b.wild.example.com", "9-x.wild.example.com", "QQ.WILD.example.com"):
        edge.becomes(host, "pod3")
    assert edge.ask("wild.example.com").status == 404
    edge.delete("*.wild.example.com")
    edge.becomes("any.wild.example.com", "")
    assert edge.ask("own.wild.example.com").pod == "pod1"


def test_ten_thousand_domains_come_in_one_transaction(edge: Edge) -> None:
    domains = [f"{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}-bulk{n}.example.com" for n in range(10_000)]
    edge.load(*({"op": "put", "domain": domain, "pod": f"pod{n % 3 + 1}"} for n, domain in enumerate(domains)))
    for number in (0, 1, 2, 4_999, 9_998, 9_999):
        edge.becomes(domains[number], f"pod{number % 3 + 1}")
    # All of a transaction comes in one publish: once the last table is there, so is every domain.
    sample = range(0, 10_000, 97)
    until(lambda: all(edge.ask(domains[n]).pod == f"pod{n % 3 + 1}" for n in sample), "every sampled domain")
    edge.load(*({"op": "delete", "domain": domain} for domain in domains))
    edge.becomes(domains[0], "")
    edge.becomes(domains[9_999], "")


def test_a_new_pod_takes_a_domain_and_no_request_meets_a_cold_cluster(edge: Edge) -> None:
    edge.put("cold.example.com", "pod1")
    edge.becomes("cold.example.com", "pod1")
    for turn in range(5):
        name = f"fresh{turn}"
        edge.put_pod(name, edge.pods["pod2"])
        edge.put("cold.example.com", name)
        seen = set()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            answer = edge.ask("cold.example.com")
            seen.add(answer.status)
            if answer.pod == "pod2":
                break
        assert seen == {200}
        assert answer.pod == "pod2"
        edge.put("cold.example.com", "pod1")
        edge.becomes("cold.example.com", "pod1")
        assert edge.gds.delete(f"/pods/{name}").status_code == 204


def test_a_pods_endpoints_change_under_its_domains(edge: Edge) -> None:
    edge.put_pod("moving", edge.pods["pod1"])
    edge.put("ends.example.com", "moving")
    edge.becomes("ends.example.com", "pod1")
    edge.put_pod("moving", edge.pods["pod3"])
    edge.becomes("ends.example.com", "pod3")
    edge.put_pod("moving", edge.pods["pod2"], max_connections=77)
    edge.becomes("ends.example.com", "pod2")

    def most() -> list[int]:
        clusters = [each["cluster"] for each in edge.config_dump("dynamic_active_clusters")]
        return [
            one["circuit_breakers"]["thresholds"][0]["max_connections"] for one in clusters if one["name"] == "moving"
        ]

    until(lambda: most() == [77], "its cluster takes as many connections")  # it warms beside the one before


def test_a_removed_pods_cluster_goes(edge: Edge) -> None:
    edge.put_pod("leaving", edge.pods["pod1"])
    edge.put("leave.example.com", "leaving")
    edge.becomes("leave.example.com", "pod1")
    edge.put("leave.example.com", "pod2")
    assert edge.gds.delete("/pods/leaving").status_code == 204
    edge.becomes("leave.example.com", "pod2")

    def clusters() -> set[str]:
        return {c["cluster"]["name"] for c in edge.config_dump("dynamic_active_clusters")}

    until(lambda: "leaving" not in clusters(), "the cluster is gone")
    assert edge.ask("leave.example.com").pod == "pod2"


def test_a_pod_without_endpoints_is_a_503_and_harms_nobody(edge: Edge) -> None:
    edge.put_pod("empty")
    edge.put("empty.example.com", "empty")
    until(lambda: edge.ask("empty.example.com").status == 503, "the pod without endpoints answers 503")
    assert edge.ask("t0.example.com").status == 200


def test_a_pod_that_is_called_like_the_control_plane_is_only_a_pod(edge: Edge) -> None:
    """Else whoever asks for its domains would speak to the xDS port with Envoy's own certificate."""
    for name in ("xds", "pointsman"):
        edge.put_pod(name, edge.pods["pod3"])
        edge.put(f"{name}.example.com", name)
        edge.becomes(f"{name}.example.com", "pod3")
    assert edge.gds.put("/pods/pointsman:xds", json={"endpoints": []}).status_code == 400


def test_a_renewed_certificate_is_shown_without_a_restart(edge: Edge) -> None:
    def shown() -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", edge.system.ports.edge_https), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="edge.example.com") as tls,
        ):
            return tls.getpeercert(binary_form=True) or b""

    before = shown()
    other = edge.system.folder / "renewed"
    write_all(other)
    folder = edge.system.folder / "certs" / "certificates"
    kept = {name: (folder / name).read_bytes() for name in ("edge.key", "edge.crt")}
    (folder / "edge.crt").write_bytes(b"broken")
    time.sleep(0.5)
    assert shown() == before
    for name in ("edge.key", "edge.crt"):
        (folder / name).write_bytes((other / "certificates" / name).read_bytes())
    until(lambda: shown() != before, "the renewed certificate")
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    until(lambda: shown() == before, "the first certificate again")


@pytest.mark.alone
def test_a_thousand_moves_under_load_lose_no_request_and_leave_none_behind(edge: Edge) -> None:
    """No request fails, and none is answered by a pod that its domain had left more than a second before.

    Each domain goes from pod1 to pod2 to pod3 and never back, so that any answer out of its time is seen.
    """
    domains = [f"{chr(97 + n % 26)}{chr(97 + n // 26)}-load{n}.example.com" for n in range(500)]
    edge.load(*({"op": "put", "domain": domain, "pod": "pod1"} for domain in domains))
    for domain in domains:
        edge.becomes(domain, "pod1")
    moves: dict[str, list[tuple[float, str]]] = {domain: [(0.0, "pod1")] for domain in domains}
    load = Load(edge, moves)
    with load:
        for pod in ("pod2", "pod3"):
            for domain in domains:
                edge.put(domain, pod)
                moves[domain].append((time.monotonic(), pod))
        until(lambda: all(edge.ask(domain).pod == "pod3" for domain in domains), "the last moves")
        time.sleep(1.5)
    assert not load.failures, f"{len(load.failures)} of {load.asked}: {load.failures[:5]}"
    assert load.asked > 500
    assert load.strict > 200, "too few requests came more than a second after a move to prove anything"
    (node,) = edge.nodes()
    assert [kind["nacked"] for kind in node["types"]] == [0] * len(node["types"])


class Load:
    """Four clients that ask for one domain after the other, each answer held against where the domain was."""

    def __init__(self, edge: Edge, moves: Mapping[str, list[tuple[float, str]]]) -> None:
        self.asked = self.strict = 0
        self.failures: list[str] = []
        self._edge = edge
        self._moves = moves
        self._stop = threading.Event()
        self._workers = [threading.Thread(target=self._ask, args=(n,)) for n in range(4)]

    def __enter__(self) -> None:
        for worker in self._workers:
            worker.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for worker in self._workers:
            worker.join()

    def _ask(self, number: int) -> None:
        turns = random.Random(number)
        domains = list(self._moves)
        with self._edge.client(h2=number % 2 == 0) as client:
            while not self._stop.is_set():
                domain = turns.choice(domains)
                began = time.monotonic()
                try:
                    response = client.get(
                        f"https://{LOOPBACK}:{self._edge.system.ports.edge_https}/",
                        headers={"host": domain},
                        extensions={"sni_hostname": "edge.example.com"},
                    )
                except httpx.HTTPError as error:
                    self.failures.append(f"{domain}: {error!r}")
                else:
                    self._judge(domain, response, began)

    def _judge(self, domain: str, response: httpx.Response, began: float) -> None:
        self.asked += 1
        moves = list(self._moves[domain])
        left = [pod for (_, pod), (when, _) in pairwise(moves) if when + 1.0 < began]
        self.strict += bool(left)
        if response.status_code != 200:
            self.failures.append(f"{domain}: {response.status_code} {response.text[:80]}")
        elif response.headers["x-pod"] in left:
            self.failures.append(f"{domain}: answered by {response.headers['x-pod']}, left more than a second before")

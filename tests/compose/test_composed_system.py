"""The composed system, really brought up, as a newcomer sees it from the host.

The tests stand in the order of a life: started, used, parts lost, taken down, brought back, removed.
"""

from __future__ import annotations

import ssl
import threading
import time

import httpx
import pytest
from engine import CommandFailed
from stack import HOST, ONE_SHOTS, PARTS, Stack, eventually

from demo.system import LOOPBACK

pytestmark = pytest.mark.timeout(1500)  # the first one makes the images


def test_every_part_is_healthy_at_the_first_try(stack: Stack) -> None:
    containers = stack.containers()
    assert containers.keys() == PARTS | ONE_SHOTS
    assert {name: containers[name].exit_code for name in ONE_SHOTS} == dict.fromkeys(ONE_SHOTS, 0)
    assert {name: containers[name].health for name in PARTS} == dict.fromkeys(PARTS, "healthy")
    assert {name: container.restarts for name, container in containers.items() if container.restarts} == {}


def test_the_parts_started_in_order(stack: Stack) -> None:
    began = {name: container.inspected["State"]["StartedAt"] for name, container in stack.containers().items()}
    assert began["seed"] < began["gds"] < began["pointsman"] < began["envoy"]
    assert began["certificates"] < began["pointsman"]
    assert all(began["gds"] < began[pod] for pod in ("pod1", "pod2", "pod3"))


def test_containers_run_unprivileged_and_read_only(stack: Stack) -> None:
    for name, container in stack.containers().items():
        host = container.inspected["HostConfig"]
        user = container.inspected["Config"]["User"].partition(":")[0]
        assert int(user) > 0, name
        assert host["ReadonlyRootfs"], name
        assert not host["Privileged"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert any("no-new-privileges" in option for option in host["SecurityOpt"]), name


def test_the_api_answers_on_the_host(stack: Stack) -> None:
    ready = httpx.get(f"http://{LOOPBACK}:{stack.api_port}/readyz", trust_env=False).json()
    assert (ready["ready"], ready["domains"], ready["pods"]) == (True, 10_000, 5)


def test_a_request_reaches_its_customers_pod(stack: Stack, tls: ssl.SSLContext) -> None:
    assert stack.pod(tls) == "pod1"


def test_a_change_in_gds_is_routed(stack: Stack, tls: ssl.SSLContext) -> None:
    stack.put(HOST, "pod2")
    stack.wait_pod(tls, "pod2")
    assert {stack.pod(tls) for _ in range(5)} == {"pod2"}


def test_plain_http_is_sent_to_the_port_that_the_host_has(stack: Stack) -> None:
    url = f"http://{LOOPBACK}:{stack.http_port}/hello"
    answer = httpx.get(url, headers={"host": HOST}, trust_env=False)
    assert answer.status_code == 308
    assert answer.headers["location"] == f"https://{HOST}:{stack.https_port}/hello"


def test_envoy_can_read_no_key_but_its_own(stack: Stack) -> None:
    stack.compose("exec", "-T", "envoy", "cat", "/etc/envoy/certs/envoy.key")
    for other in ("xds-server.key", "certificates/edge.key"):
        with pytest.raises(CommandFailed, match="Permission denied"):
            stack.compose("exec", "-T", "envoy", "cat", f"/etc/envoy/certs/{other}")


def test_traffic_goes_on_without_the_control_plane_and_a_change_made_meanwhile_arrives(
    stack: Stack, tls: ssl.SSLContext
) -> None:
    stack.put(HOST, "pod1")
    stack.wait_pod(tls, "pod1")
    seen: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                seen.append(stack.pod(tls))
            except httpx.HTTPError as error:
                seen.append(repr(error))
            time.sleep(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        stack.compose("stop", "pointsman")
        stack.put(HOST, "pod3")
        asked = len(seen)
        time.sleep(1)
        assert set(seen[asked:]) == {"pod1"}
        stack.compose("start", "pointsman")
        eventually(lambda: seen[-1] == "pod3", "acme is on pod3")
    finally:
        ended.set()
        asking.join(20)
    assert set(seen) == {"pod1", "pod3"}
    assert seen == sorted(seen)  # once moved, it stays moved
    stack.wait_healthy()


def test_pods_that_come_back_at_other_addresses_are_found(stack: Stack, tls: ssl.SSLContext) -> None:
    hosts = {"acme-1.example.com": "pod1", "birch.example.com": "pod2"}
    assert {host: stack.pod(tls, host) for host in hosts} == hosts
    stack.compose("stop", "pod1", "pod2")
    stack.compose("start", "pod2")  # the other way round: an engine gives the lowest free address
    stack.compose("start", "pod1")
    for host, pod in hosts.items():
        stack.wait_pod(tls, pod, host)
    stack.wait_healthy()


def test_each_of_three_control_planes_is_enough(stack: Stack, tls: ssl.SSLContext) -> None:
    stack.compose("up", "--detach", "--scale", "pointsman=3")
    stack.wait_healthy()
    planes = [one.id for one in stack.inspected() if one.service == "pointsman"]
    assert len(planes) == 3
    for number, left in enumerate(planes):
        lost = [one for one in planes if one != left]
        for one in lost:
            stack.engine.docker("stop", one)
        pod = f"pod{number + 1}"
        stack.put(HOST, pod)
        stack.wait_pod(tls, pod)
        eventually(lambda: stack.known_pod() in ("pod1", "pod2", "pod3"), "whoever is left answers at the API's port")
        assert stack.known_pod() == pod
        for one in lost:
            stack.engine.docker("start", one)
        stack.wait_healthy()
    stack.compose("up", "--detach", "--scale", "pointsman=1")


def test_what_gds_and_the_ca_know_survives_a_down(stack: Stack, tls: ssl.SSLContext) -> None:
    stack.put(HOST, "pod2")
    stack.down()
    assert stack.containers() == {}
    stack.up()
    assert stack.pod(tls) == "pod2"  # with the CA from before


def test_nothing_is_left_when_it_is_removed(stack: Stack) -> None:
    stack.down("--volumes", "--rmi", "local")
    assert stack.left() == {}

"""The pods of a HAProxy configuration: servers become endpoints, and whatever isn't taken over is said."""

from __future__ import annotations

import pytest

from xds.gds.model import Endpoint, Pod
from xds.haproxy_cfg import Remark, pods_in

CONFIGURATION = """
global
    server-state-base /var/lib/haproxy
defaults
    default-server inter 2s
frontend https
    bind :443 ssl crt /etc/haproxy/certs
    use_backend %[var(txn.pod)]
backend pod1   # the first
    balance roundrobin
    server a 10.0.3.7:8080
    server b "10.0.3.8:8080" weight 3
backend pod2
    server a [2001:db8::7]:80
listen stats
    server none 10.9.9.9:1
"""
NAMES = {"pod.internal": ["10.0.4.1", "10.0.4.2"]}


def look_up(name: str) -> list[str]:
    if name not in NAMES:
        raise OSError(-2, "Name or service not known")
    return NAMES[name]


def server(line: str) -> tuple[tuple[Endpoint, ...], list[Remark]]:
    """Of a backend that has this line, its second, and one more server."""
    found = pods_in(["backend pod1", line, "server last 10.0.0.9:9"], look_up)
    return found.pods[0].endpoints[:-1], found.remarks


def test_backends_become_pods_with_address_port_and_weight() -> None:
    found = pods_in(CONFIGURATION.splitlines(), look_up)
    assert found.pods == [
        Pod("pod1", endpoints=(Endpoint("10.0.3.7", 8080), Endpoint("10.0.3.8", 8080, weight=3))),
        Pod("pod2", endpoints=(Endpoint("2001:db8::7", 80),)),
    ]
    assert found.remarks == []


def test_a_name_is_looked_up_and_that_is_said() -> None:
    ends, (remark,) = server("server a pod.internal:8080")
    assert ends == (Endpoint("10.0.4.1", 8080), Endpoint("10.0.4.2", 8080))
    assert (remark.line, remark.grave) == (2, False)
    assert "pod.internal is 10.0.4.1, 10.0.4.2 now" in remark.text


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("server a gone.internal:80", "gone.internal can't be looked up: Name or service not known"),
        ("server a 10.0.0.1", "'10.0.0.1' is no address with a port"),
        ("server a", "'' is no address with a port"),
        ("server a 10.0.0.1:80 weight 0", "weight 0"),
        ("server a 10.0.0.1:80 check backup", "as a backup"),
        ("server a 10.0.0.1:80 disabled", "it is disabled"),
        ("server a unix@/run/pod:0x", "is no address with a port"),
    ],
)
def test_a_server_that_can_not_be_taken_is_left_out_by_name(line: str, why: str) -> None:
    ends, (remark,) = server(line)
    assert (ends, remark.line, remark.grave) == ((), 2, True)
    assert "server a is left out" in remark.text
    assert why in remark.text


def test_what_else_a_server_says_is_not_taken_over_and_tls_to_pods_is_grave() -> None:
    assert server("server a 10.0.0.1:80 check inter 2s maxconn 9") == (
        (Endpoint("10.0.0.1", 80),),
        [Remark(2, "server a: not taken over: check inter 2s maxconn 9")],
    )
    ends, (remark,) = server("server a 10.0.0.1:443 ssl verify required ca-file ca.crt weight 2")
    assert (ends, remark.grave) == ((Endpoint("10.0.0.1", 443, weight=2),), True)
    assert "ssl verify required ca-file ca.crt: the edge speaks plain HTTP" in remark.text


def test_servers_that_stand_elsewhere_are_said_not_to_be_taken() -> None:
    lines = ["backend pod1", "default-server ssl verify none", "server-template web 3 pod.internal:80", "backend pod/2"]
    found = pods_in(lines, look_up)
    assert found.pods == []
    assert [(remark.line, remark.grave) for remark in found.remarks] == [(1, True), (2, True), (3, True), (4, True)]

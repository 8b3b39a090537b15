"""Who connected and never got to a call; what of it is counted and what is logged."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from xds.server.connections import Address, Connections, _listed, peer_address
from xds.server.files import Files
from xds.server.handshakes import Attempts, Handshakes
from xds.server.refusals import Refusals

A, B = Address("10.0.0.1", 40001), Address("10.0.0.2", 40002)
NOBODY: tuple[list[Address], list[Address]] = ([], [])


class TestAttempts:
    def test_one_that_vanishes_without_a_call_is_refused_once(self) -> None:
        attempts = Attempts()
        attempts.seen({A}, 0)
        assert attempts.refused(0.1) == NOBODY
        attempts.seen(set(), 1)
        assert attempts.refused(1.5) == NOBODY
        assert attempts.refused(2) == ([A], [])
        assert attempts.refused(9) == NOBODY
        assert not attempts.open

    def test_one_that_called_is_not(self) -> None:
        attempts = Attempts()
        attempts.seen({A}, 0)
        attempts.accepted(A, 0.1)
        assert not attempts.open
        attempts.seen({A}, 20)
        attempts.seen(set(), 30)
        assert attempts.refused(40) == NOBODY

    def test_one_whose_call_is_heard_of_after_its_end_is_not(self) -> None:
        attempts = Attempts()
        attempts.seen({A}, 0)
        attempts.seen(set(), 1)
        attempts.accepted(A, 1.5)
        assert attempts.refused(9) == NOBODY

    def test_one_that_called_before_it_was_seen_is_not(self) -> None:
        attempts = Attempts()
        attempts.accepted(A, 1)
        attempts.seen(set(), 0.9)  # looked up before it came
        attempts.seen({A}, 2)
        assert not attempts.open

    def test_one_that_stays_silent_is_refused_once_and_may_still_call(self) -> None:
        attempts = Attempts(patience=10)
        attempts.seen({A}, 0)
        attempts.seen({A}, 9)
        assert attempts.refused(9) == NOBODY
        assert attempts.refused(10) == ([], [A])
        assert attempts.refused(11) == NOBODY
        attempts.accepted(A, 12)
        attempts.seen(set(), 13)
        assert attempts.refused(20) == NOBODY

    def test_an_old_look_that_does_not_have_it_yet_does_not_make_it_vanish(self) -> None:
        attempts = Attempts()
        attempts.seen({A, B}, 5)
        attempts.seen({A}, 4)
        attempts.seen({A, B}, 6)
        assert attempts.refused(7) == NOBODY

    def test_the_same_address_in_a_later_connection_is_judged_anew(self) -> None:
        attempts = Attempts()
        attempts.accepted(A, 0)
        attempts.seen(set(), 1)
        attempts.seen({A}, 2)
        attempts.seen(set(), 3)
        assert attempts.refused(4) == ([A], [])


class TestHandshakes:
    async def test_on_plaintext_callers_are_not_kept_in_mind(self) -> None:
        handshakes = Handshakes(Refusals())
        async with handshakes.watching("127.0.0.1", 1):
            handshakes.accepted("ipv4:10.0.0.1:40001")
            assert handshakes.remembered == 0
            handshakes.begun()
            handshakes.accepted("ipv4:10.0.0.1:40001")
            assert handshakes.remembered == 1
            handshakes.begun()  # a look: nobody is connected
            assert handshakes.remembered == 0

    async def test_when_connections_cannot_be_listed_it_is_said_once_and_nobody_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = [{A}]

        def connections(self: Connections) -> set[Address]:
            if not found:
                raise PermissionError("no")
            return found.pop()

        monkeypatch.setattr(Connections, "__call__", connections)
        refusals = Refusals()
        handshakes = Handshakes(refusals)
        with capture_logs() as logs:
            async with handshakes.watching("127.0.0.1", 1):
                for _ in range(3):
                    handshakes.begun()
        assert [each["event"] for each in logs] == ["xds.handshakes"]
        assert handshakes.remembered == 0
        assert handshakes.begun_total == 3


class TestRefusals:
    def test_all_are_counted_and_one_a_minute_of_a_host_is_logged(self) -> None:
        now = 0.0
        refusals = Refusals(lambda: now)
        with capture_logs() as logs:
            for port in range(5):
                refusals.note("handshake", f"ipv4:10.0.0.1:{4000 + port}", "no")
            now = 61
            refusals.note("handshake", "ipv4:10.0.0.1:5000", "no")
        assert refusals.counts == {"handshake": 6, "revoked": 0, "claim": 0, "limit": 0, "protocol": 0}
        assert [(each["event"], each["peer"], each.get("more")) for each in logs] == [
            ("xds.refused", "ipv4:10.0.0.1:4000", None),
            ("xds.refused", "ipv4:10.0.0.1:5000", 4),
        ]

    def test_another_host_kind_or_identity_is_another_line(self) -> None:
        refusals = Refusals(lambda: 0.0)
        with capture_logs() as logs:
            refusals.note("claim", "ipv4:10.0.0.1:1", "no", identity="a", node="n")
            refusals.note("claim", "ipv4:10.0.0.1:2", "no", identity="b")
            refusals.note("claim", "ipv4:10.0.0.2:2", "no", identity="a")
            refusals.note("revoked", "ipv4:10.0.0.1:1", "no", identity="a")
        assert len(logs) == 4
        assert logs[0]["identity"] == "a"
        assert logs[0]["node"] == "n"

    def test_hosts_of_one_ipv6_network_are_one(self) -> None:
        refusals = Refusals(lambda: 0.0)
        with capture_logs() as logs:
            refusals.note("handshake", str(Address("2001:db8::1", 4000)), "no")
            refusals.note("handshake", "ipv6:%5B2001:db8::2%5D:4001", "no")
        assert len(logs) == 1

    def test_many_hosts_do_not_fill_the_log(self) -> None:
        refusals = Refusals(lambda: 0.0)
        with capture_logs() as logs:
            for number in range(10_000):
                refusals.note("handshake", f"ipv4:10.0.{number >> 8}.{number & 255}:4000", "no")
        assert len(logs) == 60
        assert refusals.counts["handshake"] == 10_000


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:43210", Address("127.0.0.1", 43210)),
        ("ipv6:%5B::1%5D:4321", Address("::1", 4321)),
        ("ipv6:[2001:db8:0:0::1]:4321", Address("2001:db8::1", 4321)),
        ("ipv6:%5Bfe80::1%25eth0%5D:4321", Address("fe80::1", 4321)),
        ("ipv6:%5B::ffff:10.0.0.1%5D:4321", Address("10.0.0.1", 4321)),
        ("unix:/run/pointsman", None),
        ("ipv4:localhost:1", None),
        ("", None),
    ],
)
def test_a_peer_of_grpc_is_an_address(peer: str, address: Address | None) -> None:
    assert peer_address(peer) == address


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_is_connected_is_seen_until_it_is_gone(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server((host, 0), family=family))
        port = server.getsockname()[1]
        connections = Connections(host, port)
        assert connections() == set()
        clients = [stack.enter_context(socket.create_connection((host, port))) for _ in range(3)]
        taken = [stack.enter_context(server.accept()[0]) for _ in clients]
        present = {Address(*client.getsockname()[:2]) for client in clients}
        assert connections() == present
        assert {peer for _, peer in _listed(port)} == present
        assert Connections("127.0.0.9", port)() == set()
        taken[0].close()
        clients[0].close()
        assert connections() == {Address(*client.getsockname()[:2]) for client in clients[1:]}


def test_who_connects_by_ipv4_to_a_socket_of_both_is_seen_with_its_ipv4_address() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0]:
            assert Connections("::", port)() == {Address(*client.getsockname())}
            assert {peer for _, peer in _listed(port)} == {Address(*client.getsockname())}


def test_a_change_of_a_file_is_noticed_once(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("1")
    files = Files(path)
    assert files.changed()
    assert not files.changed()
    other.write_text("2")
    os.replace(other, path)
    assert files.changed()
    assert not files.changed()
    path.unlink()
    assert files.changed()
    assert not files.changed()

"""One question for all who wait, in bounded time; and what becomes of it at the authorization service."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

import grpc
import pytest
from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.service.auth.v3 import (
    AttributeContext,
    AttributeContextHttpRequest,
    AttributeContextPeer,
    AttributeContextRequest,
    CheckRequest,
    CheckResponse,
)
from structlog.testing import capture_logs

from xds.errors import GdsError
from xds.lookup.asking import NotAnswered, Refused
from xds.lookup.resolver import CROWD, ONLY_NO, Limits, Resolver
from xds.resources.cold import POD_HEADER
from xds.server.authorization import SERVICE, Authorization, client_of, host_of
from xds.server.paced import Paced


class Gds:
    """Answers with ``pods``, or after ``gate`` is opened, or fails."""

    shown = "http://gds.test"

    def __init__(self, **pods: str) -> None:
        self.pods = {f"{name}.test": pod for name, pod in pods.items()}
        self.asked: Counter[str] = Counter()
        self.gate: asyncio.Event | None = None
        self.fails = False

    async def ask(self, host: str) -> str | None:
        self.asked[host] += 1
        if self.gate:
            await self.gate.wait()
        if self.fails:
            raise GdsError("GDS answered 500")
        return self.pods.get(host)


def resolver(gds: Gds, said: list[tuple[str, str | None]] | None = None, **limits: float) -> Resolver:
    heard: list[tuple[str, str | None]] = [] if said is None else said
    return Resolver(gds, Limits(**limits), lambda host, pod: heard.append((host, pod)))  # type: ignore[arg-type]


async def test_any_number_who_wait_for_a_host_ask_once() -> None:
    gds, said = Gds(acme="pod1"), []  # type: ignore[var-annotated]
    gds.gate = asyncio.Event()
    asked = resolver(gds, said)
    waiting = [asyncio.create_task(asked.where("acme.test")) for _ in range(500)]
    await asyncio.sleep(0)
    assert asked.waiting == 1
    gds.gate.set()
    assert await asyncio.gather(*waiting) == ["pod1"] * 500
    assert (gds.asked["acme.test"], said, asked.waiting) == (1, [("acme.test", "pod1")], 0)


async def test_nobody_is_remembered() -> None:
    gds = Gds()
    asked = resolver(gds)
    assert [await asked.where("x.test") for _ in range(3)] == [None] * 3
    assert gds.asked["x.test"] == 1


async def test_a_gds_that_says_no_each_time_is_warned_of_until_it_knows_somebody() -> None:
    gds = Gds(acme="pod1")
    asked = resolver(gds)
    with capture_logs() as logs:
        for number in range(ONLY_NO):
            assert not asked.counted.only_no
            await asked.where(f"h{number}.test")
        assert asked.counted.only_no
        await asked.where("another.test")
        await asked.where("acme.test")
    assert not asked.counted.only_no
    assert [one["event"] for one in logs] == ["gds.knows_nobody", "gds.knows_somebody"]


async def test_who_leaves_does_not_take_the_question_away_from_the_others() -> None:
    gds = Gds(acme="pod1")
    gds.gate = asyncio.Event()
    asked = resolver(gds)
    first, second = (asyncio.create_task(asked.where("acme.test")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    gds.gate.set()
    assert await second == "pod1"
    assert gds.asked["acme.test"] == 1


@pytest.mark.parametrize("limits", [{"timeout": 0.05, "patience": 5.0}, {"timeout": 5.0, "patience": 0.05}])
async def test_a_slow_gds_keeps_nobody_waiting_for_longer_than_is_set(limits: dict[str, float]) -> None:
    gds = Gds()
    gds.gate = asyncio.Event()
    asked = resolver(gds, **limits)
    with pytest.raises(NotAnswered) as late:
        await asyncio.wait_for(asked.where("acme.test"), 3)
    assert late.value.why == ("failed" if limits["timeout"] < 1 else "slow")
    await asked.close()


async def test_more_hosts_than_may_wait_are_turned_away_at_once() -> None:
    gds = Gds()
    gds.gate = asyncio.Event()
    asked = resolver(gds, waiting=10)
    waiting = [asyncio.create_task(asked.where(f"h{number}.test")) for number in range(25)]
    await asyncio.sleep(0.05)
    assert sum(one.done() for one in waiting) == 15
    assert asked.counted.turned_away["busy"] == 15
    gds.gate.set()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_never_more_questions_are_under_way_than_are_set() -> None:
    gds = Gds()
    gds.gate = asyncio.Event()
    asked = resolver(gds, concurrency=3)
    waiting = [asyncio.create_task(asked.where(f"h{number}.test")) for number in range(20)]
    await asyncio.sleep(0.05)
    assert gds.asked.total() == 3
    gds.gate.set()
    await asyncio.gather(*waiting)
    assert gds.asked.total() == 20


def asking(asked: Resolver, hosts: Iterable[str], client: str) -> list[asyncio.Task[str | None]]:
    """A request for each."""
    return [asyncio.create_task(asked.where(host, client)) for host in hosts]


async def test_clients_who_wait_take_turns_and_who_comes_first_last_waits_for_one_of_each() -> None:
    gds = Gds()
    gds.gate = asyncio.Event()
    asked = resolver(gds, concurrency=1)
    waiting = [
        one
        for scanner in range(3)
        for one in asking(asked, (f"s{scanner}x{number}.test" for number in range(50)), f"scanner{scanner}")
    ]
    await asyncio.sleep(0.01)
    waiting += asking(asked, ["visit.test", "visit2.test"], "visitor")
    await asyncio.sleep(0.01)
    gds.gate.set()
    await asyncio.gather(*waiting)
    order = list(gds.asked)
    assert order.index("visit.test") <= 4
    assert order.index("visit2.test") <= 8
    assert len(order) == 152


async def test_a_host_that_a_scan_named_before_has_the_turn_of_who_comes_for_it() -> None:
    gds = Gds(acme="pod1")
    gds.gate = asyncio.Event()
    asked = resolver(gds, concurrency=1)
    waiting = asking(asked, [*(f"s{number}.test" for number in range(100)), "acme.test"], "scanner")
    await asyncio.sleep(0.01)
    waiting += asking(asked, ["acme.test"], "visitor")
    await asyncio.sleep(0.01)
    gds.gate.set()
    assert (await asyncio.gather(*waiting))[-1] == "pod1"
    assert list(gds.asked).index("acme.test") <= 2
    assert gds.asked["acme.test"] == 1


async def test_in_a_crowd_who_has_most_makes_room_and_who_has_none_is_let_in() -> None:
    gds = Gds()
    gds.gate = asyncio.Event()
    asked = resolver(gds, concurrency=1)
    scan = asking(asked, (f"s{number}.test" for number in range(CROWD + 50)), "scanner")
    await asyncio.sleep(0.05)
    assert sum(one.done() for one in scan) == asked.counted.turned_away["busy"] == 50 - 1  # one is under way
    visits = [one for number in range(40) for one in asking(asked, [f"v{number}.test"], f"visitor{number}")]
    await asyncio.sleep(0.05)
    assert not any(one.done() for one in visits)
    assert sum(one.done() for one in scan) == 50 - 1 + 40
    gds.gate.set()
    assert await asyncio.gather(*visits) == [None] * 40
    await asyncio.gather(*scan, return_exceptions=True)


async def test_a_crowd_of_clients_with_one_host_each_waits_as_long_as_there_is_room() -> None:
    gds = Gds()
    gds.gate = asyncio.Event()
    asked = resolver(gds, waiting=2 * CROWD)
    visits = [one for number in range(2 * CROWD + 3) for one in asking(asked, [f"v{number}.test"], f"visitor{number}")]
    await asyncio.sleep(0.05)
    assert sum(one.done() for one in visits) == 3
    await asked.close()
    await asyncio.gather(*visits, return_exceptions=True)


async def test_gds_is_not_asked_for_whom_nobody_waits_any_more() -> None:
    gds = Gds()
    gds.gate = asyncio.Event()
    asked = resolver(gds, concurrency=1, timeout=0.5, patience=0.5)
    waiting = asking(asked, [f"s{number}.test" for number in range(5)], "scanner")
    await asyncio.sleep(0.6)
    gds.gate.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await asked.where("acme.test") is None
    assert list(gds.asked) == ["s0.test", "acme.test"]


async def test_after_failures_in_a_row_gds_is_left_alone_and_then_tried() -> None:
    gds = Gds(acme="pod1")
    gds.fails = True
    asked = resolver(gds, failures=3, pause=0.2)
    for number in range(10):
        with pytest.raises(NotAnswered):
            await asked.where(f"h{number}.test")
    assert gds.asked.total() == 3
    assert asked.counted.turned_away == Counter(busy=0, away=7, failed=3, slow=0, pod=0)
    gds.fails = False
    await asyncio.sleep(0.25)
    assert await asked.where("acme.test") == "pod1"
    assert asked.breaker.state == "closed"


async def test_a_host_is_asked_again_whatever_is_remembered() -> None:
    gds = Gds(acme="pod1")
    asked = resolver(gds)
    assert await asked.where("acme.test") == "pod1"
    gds.pods["acme.test"] = "pod2"
    assert await asked.where("acme.test") == "pod1"
    assert await asked.again("acme.test", "order") == "pod2"
    assert await asked.where("acme.test") == "pod2"


async def test_one_host_that_gds_cannot_answer_for_shuts_it_for_nobody_and_is_not_asked_for_at_each_request() -> None:
    gds = Gds(acme="pod1")
    gds.fails = True
    asked = resolver(gds, failures=3, pause=5.0)
    for _ in range(10):
        with pytest.raises(NotAnswered, match="500"):
            await asked.where("odd.test")
        with pytest.raises(NotAnswered, match="500"):
            await asked.again("odd.test", "refresh")
    assert (gds.asked.total(), asked.breaker.state) == (11, "closed")
    gds.fails = False
    assert await asked.where("acme.test") == "pod1"
    assert await asked.again("odd.test", "order") is None
    assert await asked.where("odd.test") is None


async def test_hosts_that_gds_refuses_one_by_one_are_no_sign_that_it_is_away() -> None:
    class Choosy(Gds):
        async def ask(self, host: str) -> str | None:
            if host.startswith("odd"):
                raise Refused("GDS answers 400")
            return await super().ask(host)

    asked = resolver(Choosy(acme="pod1"), failures=3)
    for number in range(20):
        with pytest.raises(NotAnswered, match="400"):
            await asked.where(f"odd{number}.test")
    assert asked.breaker.state == "closed"
    assert await asked.where("acme.test") == "pod1"


async def test_hosts_whom_nobody_waits_for_any_more_are_not_asked_for() -> None:
    gds = Gds()
    gds.gate = asyncio.Event()
    asked = resolver(gds, concurrency=2)
    waiting = [asyncio.create_task(asked.where(f"h{number}.test")) for number in range(20)]
    await asyncio.sleep(0.01)
    for one in waiting[2:19]:
        one.cancel()
    await asyncio.sleep(0.01)
    assert asked.waiting == 3
    again = asyncio.create_task(asked.where("h5.test"))
    await asyncio.sleep(0.01)
    gds.gate.set()
    await asyncio.gather(*waiting, again, return_exceptions=True)
    assert sorted(gds.asked) == ["h0.test", "h1.test", "h19.test", "h5.test"]


async def test_of_more_new_hosts_than_a_slow_gds_has_answers_for_as_many_are_answered_as_it_has() -> None:
    class Sluggish(Gds):
        async def ask(self, host: str) -> str | None:
            self.asked[host] += 1
            await asyncio.sleep(0.2)
            return "pod1"

    gds = Sluggish()
    asked = resolver(gds, rate=1_000, concurrency=8, timeout=0.5, patience=0.6)
    waiting = []
    for number in range(300):  # in three seconds, in which GDS can answer 120
        waiting.append(asyncio.create_task(asked.where(f"h{number}.test")))
        await asyncio.sleep(0.01)
    got = await asyncio.gather(*waiting, return_exceptions=True)
    last = got[150:]
    assert sum(one == "pod1" for one in last) >= 0.25 * len(last)
    assert asked.counted.turned_away["busy"] > asked.counted.turned_away["slow"]
    assert len(gds.asked) <= 1.25 * sum(one == "pod1" for one in got)


async def test_whose_turn_comes_too_late_for_what_gds_takes_by_then_is_not_asked_for() -> None:
    gds = Gds()
    gds.gate = asyncio.Event()
    asked = resolver(gds, concurrency=1, timeout=2.0, patience=2.0)
    waiting = [asyncio.create_task(asked.where(f"h{number}.test")) for number in range(4)]
    await asyncio.sleep(0.01)
    for _ in range(100):
        asked._usual.took(5.0)
    gds.gate.set()
    assert await waiting[0] is None
    got = await asyncio.gather(*waiting[1:], return_exceptions=True)
    assert {one.why for one in got if isinstance(one, NotAnswered)} == {"busy"}
    assert list(gds.asked) == ["h0.test"]


async def test_a_crowd_of_orders_waits_its_turn_and_is_no_failure_of_gds() -> None:
    gds = Gds(acme="pod1")
    gds.gate = asyncio.Event()
    asked = resolver(gds, ordering=4, timeout=3.0, patience=5.0, failures=3)
    orders = [asyncio.create_task(asked.again(f"h{number}.test", "order")) for number in range(50)]
    await asyncio.sleep(0.05)
    assert gds.asked.total() == 4
    cold = asyncio.create_task(asked.where("acme.test"))
    await asyncio.sleep(0.05)
    assert gds.asked["acme.test"] == 1
    gds.gate.set()
    assert await asyncio.gather(*orders) == [None] * 50
    assert (await cold, asked.breaker.state) == ("pod1", "closed")


async def test_orders_that_a_slow_gds_has_no_time_for_are_refused_and_it_is_not_shut() -> None:
    class Sluggish(Gds):
        async def ask(self, host: str) -> str | None:
            await asyncio.sleep(0.2)
            return await super().ask(host)

    gds = Sluggish(acme="pod1")
    asked = resolver(gds, ordering=2, timeout=0.5, patience=1.0, failures=3)
    got = await asyncio.gather(
        *(asked.again(f"h{number}.test", "order") for number in range(40)), return_exceptions=True
    )
    assert 4 <= sum(one is None for one in got) <= 10
    assert {one.why for one in got if isinstance(one, NotAnswered)} <= {"slow", "busy"}
    assert asked.breaker.state == "closed"
    assert await asked.where("acme.test") == "pod1"


async def test_an_order_is_what_gds_is_tried_with_while_it_has_its_pause() -> None:
    gds = Gds(acme="pod1", other="pod2")
    gds.fails = True
    asked = resolver(gds, failures=1, pause=30.0)
    with pytest.raises(NotAnswered):
        await asked.where("x.test")
    with pytest.raises(NotAnswered, match="500"):
        await asked.again("acme.test", "order")
    gds.fails, gds.gate = False, asyncio.Event()
    orders = [asyncio.create_task(asked.again(f"{name}.test", "order")) for name in ("acme", "other")]
    await asyncio.sleep(0.01)
    assert gds.asked["other.test"] == 0
    gds.gate.set()
    assert await asyncio.gather(*orders) == ["pod1", "pod2"]
    assert asked.breaker.state == "closed"


async def test_of_a_crowd_of_orders_one_tries_a_gds_that_is_away() -> None:
    gds = Gds()
    gds.fails = True
    asked = resolver(gds, failures=1, pause=30.0)
    with pytest.raises(NotAnswered):
        await asked.where("x.test")
    gds.gate = asyncio.Event()
    orders = [asyncio.create_task(asked.again(f"h{number}.test", "order")) for number in range(10)]
    await asyncio.sleep(0.01)
    gds.gate.set()
    assert all(isinstance(one, NotAnswered) for one in await asyncio.gather(*orders, return_exceptions=True))
    assert gds.asked.total() == 2
    assert asked.breaker.rest(asyncio.get_running_loop().time()) <= 30


def check(host: str, client: str = "192.0.2.7") -> bytes:
    http = AttributeContextHttpRequest(id="1", method="POST", path="/?q=1", host=host, headers={":authority": host})
    address = Address(socket_address=SocketAddress(address=client, port_value=4711))
    source = AttributeContextPeer(address=address)
    request = AttributeContextRequest(http=http)
    return bytes(CheckRequest(attributes=AttributeContext(source=source, request=request)))


def test_the_host_of_a_request_is_read() -> None:
    assert host_of(check("ACME.Example.com:8443")) == "acme.example.com"
    assert host_of(b"") == ""
    with pytest.raises(ValueError, match="longer"):
        host_of(b"\x0a\xff\x01")


def test_the_client_of_a_request_is_an_address_or_a_network_of_ipv6() -> None:
    assert client_of(check("acme.test", "192.0.2.7")) == "192.0.2.7"
    networks = [client_of(check("acme.test", f"2001:db8:0:{net}::{host}")) for net in (1, 2) for host in (1, 2)]
    assert len(set(networks)) == 2
    assert networks[0] == networks[1]
    assert client_of(b"") == ""
    with pytest.raises(ValueError, match="longer"):
        client_of(b"\x0a\xff\x01")


async def answered(host: str, pod: str | GdsError | None, known: bool = True) -> CheckResponse:
    async def where(asked: str, client: str) -> str | None:
        assert (asked, client) == (host.lower(), "192.0.2.7")
        if isinstance(pod, GdsError):
            raise pod
        return pod

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Authorization(where, lambda context: known, Paced(1_000, 1)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            return CheckResponse.parse(await channel.unary_unary(f"/{SERVICE}/Check")(check(host)))
    finally:
        await server.stop(0)


async def test_the_pod_is_told_in_a_header_that_replaces_any_other() -> None:
    answer = await answered("Acme.test", "pod7")
    assert answer.ok_response is not None
    (header,) = answer.ok_response.headers
    assert header.header is not None
    assert (header.header.key, header.header.value, header.append_action.name) == (
        POD_HEADER,
        "pod7",
        "OVERWRITE_IF_EXISTS_OR_ADD",
    )


@pytest.mark.parametrize(
    ("host", "pod", "status"),
    [
        ("acme.test", None, 404),
        ("acme.test", NotAnswered("GDS is away", "away"), 503),
        ("*.acme.test", "pod1", 404),
        ("192.0.2.1", "pod1", 404),
        ("a_b.test", "pod1", 404),
        ("", "pod1", 404),
    ],
)
async def test_what_has_no_pod_is_refused(host: str, pod: str | GdsError | None, status: int) -> None:
    answer = await answered(host, pod)
    assert answer.denied_response is not None
    assert answer.denied_response.status is not None
    assert answer.denied_response.status.code == status


async def test_whoever_no_rule_is_for_may_not_ask() -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await answered("acme.test", "pod1", known=False)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


class Slow(Gds):
    """What it says is what it had when it was asked."""

    async def ask(self, host: str) -> str | None:
        pod = self.pods.get(host)
        await super().ask(host)
        return pod


async def test_an_order_is_not_answered_by_a_question_that_was_asked_before_it() -> None:
    gds = Slow(acme="pod1")
    gds.gate = asyncio.Event()
    asked = resolver(gds)
    before = asyncio.create_task(asked.again("acme.test", "refresh"))
    await asyncio.sleep(0.01)
    gds.pods["acme.test"] = "pod2"
    orders = [asyncio.create_task(asked.again("acme.test", "order")) for _ in range(5)]
    await asyncio.sleep(0.01)
    gds.gate.set()
    assert await before == "pod1"
    assert await asyncio.gather(*orders) == ["pod2"] * 5
    assert gds.asked["acme.test"] == 2

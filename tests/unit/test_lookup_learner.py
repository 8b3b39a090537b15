"""What is learned: as revisions of an epoch of its own, which go on where the disk ends; and the pods file."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from xds.audit import Audit
from xds.cache import Cache
from xds.directory import Directory
from xds.errors import HoldError, OrderError, RecordError, SettingsError
from xds.gate import Gate
from xds.gds.model import Endpoint, Pod, Snapshot
from xds.guard import Limits as GuardLimits
from xds.hold import Hold
from xds.in_slices import InSlices
from xds.lookup import pods_file
from xds.lookup.asking import NotAnswered
from xds.lookup.learner import EPOCH, Learner, Options
from xds.lookup.resolver import Limits
from xds.operator import Caller, Operator
from xds.pipeline import Pace, Pipeline
from xds.resources.edge import EdgeResources
from xds.resources.listeners import Edge
from xds.slices import Work, drained
from xds.standing import Standing
from xds.state.format import State

PODS = [{"name": name, "endpoints": [{"address": "127.0.0.1", "port": 1}]} for name in ("pod1", "pod2")]


class Gds:
    shown = "http://gds.test"

    def __init__(self, pods: Mapping[str, str]) -> None:
        self.pods = dict(pods)
        self.asked: list[str] = []

    async def ask(self, host: str) -> str | None:
        self.asked.append(host)
        return self.pods.get(host)


def gate(kept: Snapshot | None = None, hold: Hold | None = None) -> Gate:
    """It has ``kept`` and ``hold`` from disk."""
    turn = itertools.count()
    resources = EdgeResources(4, timedelta(seconds=1), asking=True)
    pipeline = Pipeline(
        resources, Cache(), Edge(), Pace(0.0, 0.0), later=lambda _, call: call(), clock=lambda: float(next(turn))
    )
    made = Gate(pipeline, GuardLimits(allow_empty=True, removed=3), now=lambda: 0.0, clock=lambda: 0.0)
    if kept is not None:
        made.resume(drained(Directory.loaded(kept)), hold)
    return made


@contextlib.asynccontextmanager
async def learning(
    folder: Path, gds: Gds, of: Gate, in_slices: InSlices | None = None, **options: object
) -> AsyncIterator[Learner]:
    (folder / "pods.json").write_text(json.dumps(PODS))
    made = Options(folder / "pods.json", Limits(), **options)  # type: ignore[arg-type]
    learner = Learner(of, of, gds, made, in_slices or InSlices())
    running = asyncio.create_task(learner.run())
    try:
        while learner.status.state == "starting" and not running.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield learner
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def followed(of: Gate, domains: dict[str, str]) -> None:
    async with asyncio.timeout(30):
        while dict(of.followed.domains) != domains:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_is_asked_for_is_known_from_then_on_and_asked_no_more(tmp_path: Path) -> None:
    gds, of = Gds({"acme.test": "pod1"}), gate()
    async with learning(tmp_path, gds, of) as learner:
        assert await learner.where("acme.test") == "pod1"
        await followed(of, {"acme.test": "pod1"})
        assert await learner.where("acme.test") == "pod1"
        assert await learner.where("nobody.test") is None
        assert gds.asked == ["acme.test", "nobody.test"]
        assert of.followed.epoch.startswith(EPOCH)


async def test_after_a_restart_its_epoch_and_revisions_go_on(tmp_path: Path) -> None:
    pods = (Pod("pod1", endpoints=(Endpoint("127.0.0.1", 1),)),)
    of = gate(Snapshot(f"{EPOCH}abc", 41, pods, [("acme.test", "pod1")]))
    async with learning(tmp_path, Gds({}), of) as learner:
        assert (of.followed.epoch, of.followed.revision) == (f"{EPOCH}abc", 42)
        assert await learner.where("acme.test") == "pod1"
        assert sorted(of.edge.pods) == ["pod1", "pod2"]
        assert len(learner.rounds) == 1


TWENTY = {f"h{number}.test": "pod1" for number in range(20)}


def small_edge() -> Gate:
    pods = (Pod("pod1", endpoints=(Endpoint("127.0.0.1", 1),)),)
    return gate(Snapshot(f"{EPOCH}abc", 41, pods, [*TWENTY.items()]))


async def test_a_gds_that_misses_most_of_a_small_edge_takes_none_of_it(tmp_path: Path) -> None:
    gds, of = Gds(dict([*TWENTY.items()][:8])), small_edge()
    async with learning(tmp_path, gds, of, refresh=1.0, grace=0.1), asyncio.timeout(60):
        while of.hold is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert (of.hold.reason, dict(of.edge.domains)) == ("removed", TWENTY)
        gds.pods = dict(TWENTY)
        while of.hold is not None or dict(of.followed.domains) != TWENTY:
            await asyncio.sleep(0)
            assert dict(of.edge.domains) == TWENTY


async def test_two_of_a_small_edge_that_are_gone_are_withdrawn(tmp_path: Path) -> None:
    left = dict([*TWENTY.items()][:18])
    of = small_edge()
    async with learning(tmp_path, Gds(left), of, refresh=1.0, grace=0.1):
        await followed(of, left)
        assert (of.hold, dict(of.edge.domains)) == (None, left)


async def test_orders_one_by_one_take_no_more_of_a_small_edge_than_two_a_minute(tmp_path: Path) -> None:
    of = small_edge()
    async with learning(tmp_path, Gds({}), of, refresh=3600.0) as learner:
        for number in range(5):
            await learner.refresh(f"h{number}.test")
        assert of.hold is not None
        assert (of.hold.reason, len(of.edge.domains)) == ("many", 18)
        assert "lookup.minimum" in of.hold.text


async def test_hosts_that_are_preloaded_after_a_rollback_are_told_to_be_held(tmp_path: Path) -> None:
    of, slices, pod = small_edge(), InSlices(), Pod("pod1", endpoints=(Endpoint("127.0.0.1", 1),))
    async with learning(tmp_path, Gds({}), of, slices, refresh=3600.0) as learner:
        found = await learner.preload({"first.test": "pod1", "h0.test": "pod1"})
        assert (found.taken, found.held, found.kept) == (1, 0, 1)
        await slices(of.rolling_back(State(f"{EPOCH}abc", 7, 0.0, {"pod1": pod}, {"acme.test": "pod1"}), "alice"))
        found = await learner.preload({"new.test": "pod1", "other.test": "pod1"})
        assert (found.taken, found.held) == (2, 2)
        assert "new.test" not in of.edge.domains


async def test_an_order_is_refused_by_name_when_the_edge_does_not_take_what_gds_says(tmp_path: Path) -> None:
    gds, of, audit = Gds({"h3.test": "pod9"}), small_edge(), Audit()
    async with learning(tmp_path, gds, of, refresh=3600.0) as learner:
        operator = Operator(cast(Standing, SimpleNamespace(gate=of)), audit, learner)
        for host in ("h0.test", "h1.test"):
            assert await operator.refresh(host, Caller("ann", "")) == ("pod1", None)
        with pytest.raises(
            HoldError, match=r"h2.test: GDS says nobody, and that is held, the edge stays with pod1: .*"
        ):
            await operator.refresh("h2.test", Caller("ann", ""))
        drained(of.releasing("ann"))
        with pytest.raises(HoldError, match=r"h3.test: GDS says pod9, which isn't in the pods file .*503"):
            await operator.refresh("h3.test", Caller("ann", ""))
        assert [entry.outcome for entry in audit.newest_first()] == ["refused", "refused", "done", "done"]


async def test_of_more_moves_than_the_guard_lets_pass_each_order_tells_whether_the_edge_has_it(tmp_path: Path) -> None:
    domains = {f"h{number}.test": "pod1" for number in range(300)}
    pods = [Pod(name, endpoints=(Endpoint("127.0.0.1", 1),)) for name in ("pod1", "pod2")]
    of = gate(Snapshot(f"{EPOCH}abc", 41, tuple(pods), [*domains.items()]))
    said: dict[str, str] = {}
    async with learning(tmp_path, Gds(dict.fromkeys(domains, "pod2")), of, refresh=3600.0) as learner:
        operator = Operator(cast(Standing, SimpleNamespace(gate=of)), Audit(), learner)
        for host in [*domains][:150]:
            try:
                said[host] = str((await operator.refresh(host, Caller("ann", "")))[1])
            except HoldError as error:
                said[host] = "held" if "that is held" in str(error) else str(error)
        moved = {host for host, pod in of.edge.domains.items() if pod == "pod2"}
        assert 90 <= len(moved) <= 100
        assert said == {host: "pod2" if host in moved else "held" for host in said}


@pytest.mark.parametrize("before", [f"{EPOCH}abc", f"{EPOCH}older", "of-a-watch"])
async def test_a_restart_after_a_rollback_gives_no_revision_twice(tmp_path: Path, before: str) -> None:
    pod = Pod("pod1", endpoints=(Endpoint("127.0.0.1", 1),))
    of, slices = gate(Snapshot(f"{EPOCH}abc", 41, (pod,), [("acme.test", "pod1")])), InSlices()
    async with learning(tmp_path, Gds({"new.test": "pod1"}), of, slices) as learner:
        await learner.refresh("new.test")
        epoch, reached = of.followed.epoch, of.followed.revision
        await slices(of.rolling_back(State(before, 7, 0.0, {"pod1": pod}, {"acme.test": "pod1"}), "alice"))
    edge = of.edge
    assert (epoch, reached, edge.epoch, edge.revision) == (f"{EPOCH}abc", 43, before, 7)
    again = gate(Snapshot(edge.epoch, edge.revision, (pod,), [*edge.domains.items()]), of.hold)
    async with learning(tmp_path, Gds({}), again):
        assert (again.followed.epoch, again.followed.revision) == (epoch, reached + 1)
        assert (again.edge.epoch, again.edge.revision) == (before, 7)


async def test_what_was_known_from_watching_is_kept_but_for_wildcards(tmp_path: Path) -> None:
    of = gate(Snapshot("gds", 41, (Pod("pod1"),), [("acme.test", "pod1"), ("*.acme.test", "pod1")]))
    async with learning(tmp_path, Gds({}), of):
        assert dict(of.edge.domains) == {"acme.test": "pod1"}
        assert of.followed.epoch.startswith(EPOCH)


async def test_a_pod_that_the_file_has_not_leads_nowhere_until_it_has(tmp_path: Path) -> None:
    of = gate()
    async with learning(tmp_path, Gds({"acme.test": "pod9"}), of) as learner:
        with pytest.raises(NotAnswered, match="pods file"):
            await learner.where("acme.test")
        (tmp_path / "pods.json").write_text(json.dumps([*PODS, {"name": "pod9"}]))
        await followed(of, {"acme.test": "pod9"})
        assert await learner.where("acme.test") == "pod9"


async def test_more_domains_than_are_set_are_answered_and_not_kept(tmp_path: Path) -> None:
    of = gate()
    async with learning(tmp_path, Gds({f"h{n}.test": "pod1" for n in range(9)}), of, domains=3) as learner:
        assert [await learner.where(f"h{n}.test") for n in range(9)] == ["pod1"] * 9
        assert len(learner.rounds) == 3
        assert learner.full == 6


async def test_an_order_takes_what_gds_says_before_it_is_answered(tmp_path: Path) -> None:
    gds, of = Gds({"acme.test": "pod1"}), gate()
    async with learning(tmp_path, gds, of, refresh=3600.0) as learner:
        assert await learner.where("acme.test") == "pod1"
        gds.pods["acme.test"] = "pod2"
        assert await learner.refresh("acme.test") == "pod2"
        assert dict(of.edge.domains) == {"acme.test": "pod2"}
        del gds.pods["acme.test"]
        assert await learner.refresh("acme.test") is None
        assert dict(of.edge.domains) == {}


async def test_without_a_pods_file_it_does_not_begin(tmp_path: Path) -> None:
    learner = Learner(gate(), gate(), Gds({}), Options(tmp_path / "none.json"), InSlices())
    with pytest.raises(SettingsError, match=r"none\.json.*lookup\.pods"):
        await learner.run()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a JSON list"),
        (b"[]", "no pods"),
        (b"\xff", "not a JSON list"),
        (b'[{"name": "a:b"}]', "the name must be"),
        (b'[{"name": "pod1"}, {"name": "pod1"}]', "twice"),
        (b'[{"name": "pod1", "endpoints": [{"address": "pod1.internal", "port": 1}]}]', "not an IP address"),
    ],
)
def test_a_pods_file_that_cannot_be_used_says_why(data: bytes, why: str) -> None:
    with pytest.raises(RecordError, match=why):
        pods_file.parse(data)


async def test_a_host_whose_turn_comes_before_it_is_followed_is_asked_again_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xds.lookup.learner._AFTER", 1.5)
    gds, of = Gds({"acme.test": "pod1"}), gate()
    async with learning(tmp_path, gds, of, refresh=0.2) as learner:
        assert await learner.where("acme.test") == "pod1"
        await followed(of, {"acme.test": "pod1"})
        gds.pods["acme.test"] = "pod2"
        await followed(of, {"acme.test": "pod2"})


class WithAnAnswerAfter(InSlices):
    """Once, right after a piece of work, ``then`` is awaited before the work's owner goes on."""

    then: Callable[[], Awaitable[object]] | None = None

    async def __call__(self, work: Work[None]) -> None:
        await super().__call__(work)
        if self.then:
            then, self.then = self.then, None
            await then()


async def test_a_domain_that_comes_back_while_it_is_withdrawn_is_asked_again_all_the_same(tmp_path: Path) -> None:
    gds, of, slices = Gds({"acme.test": "pod1"}), gate(), WithAnAnswerAfter()
    async with learning(tmp_path, gds, of, slices, refresh=3600.0) as learner:
        await learner.refresh("acme.test")
        del gds.pods["acme.test"]

        async def comes_back() -> None:
            gds.pods["acme.test"] = "pod2"
            await learner.resolver.again("acme.test", "refresh")

        slices.then = comes_back
        await learner.refresh("acme.test")
        await followed(of, {"acme.test": "pod2"})
        assert len(learner.rounds) == 1


@pytest.mark.parametrize("slices", [1, 2, 3, 4, 6, 1_000])
async def test_what_gds_says_is_there_while_it_is_being_withdrawn_with_others_stays(
    tmp_path: Path, slices: int
) -> None:
    left = dict([*TWENTY.items()][:18])
    gds, of = Gds(left), small_edge()
    came: list[str | None] = []

    class WithAnAnswerDuring(InSlices):
        """Once, after so many slices of the withdrawal of several, GDS has h18.test again."""

        async def __call__(self, work: Work[None]) -> None:
            if getattr(work, "__name__", "") == "_leaving" and not came:
                for _ in itertools.islice(work, slices):
                    pass
                gds.pods["h18.test"] = "pod1"
                came.append(await learner.resolver.again("h18.test", "refresh"))
            await super().__call__(work)

    async with learning(tmp_path, gds, of, WithAnAnswerDuring(), refresh=3600.0, grace=0.0) as learner:
        # Both are ripe together, as after a doubt.
        learner.departures.known, revision = 20, of.edge.revision_of("h18.test")
        for host in ("h18.test", "h19.test"):
            learner.departures.missing(host, 0.0)
        await learner.resolver.again("h18.test", "refresh")
        await followed(of, {**left, "h18.test": "pod1"})
        assert came == ["pod1"]
        assert len(learner.rounds) == 19
        if slices == 1:  # nothing was withdrawn yet
            assert of.edge.revision_of("h18.test") == revision


async def test_of_several_changes_of_the_pods_file_the_last_one_counts(tmp_path: Path) -> None:
    of = small_edge()
    async with learning(tmp_path, Gds({"new.test": "pod1"}), of, refresh=3600.0) as learner:
        before = pods_file.read(tmp_path / "pods.json")
        learner._take_pods([Pod("pod1", endpoints=(Endpoint("127.0.0.1", 2),)), before[1]])
        learner._take_pods(before)
        await learner.refresh("new.test")  # comes after them
        assert dict(of.followed.pods) == {pod.name: pod for pod in before}


async def test_a_domain_that_gds_no_longer_has_is_withdrawn_when_the_grace_time_is_over_though_a_round_is_long(
    tmp_path: Path,
) -> None:
    domains = {f"h{number}.test": "pod1" for number in range(2_000)}
    of = gate(Snapshot(f"{EPOCH}abc", 41, (Pod("pod1", endpoints=(Endpoint("127.0.0.1", 1),)),), [*domains.items()]))
    gds = Gds({host: "pod1" for host in domains if host != "h5.test"})
    async with learning(tmp_path, gds, of, refresh=1.0, refresh_rate=20.0, grace=2.0), asyncio.timeout(20):
        del domains["h5.test"]
        await followed(of, domains)  # its second turn would come after 100 s


async def test_a_wildcard_is_not_asked_for(tmp_path: Path) -> None:
    gds, of = Gds({"*.acme.test": "pod1"}), gate()
    async with learning(tmp_path, gds, of) as learner:
        with pytest.raises(OrderError, match="wildcard"):
            await learner.refresh("*.acme.test")
    assert gds.asked == []


async def test_when_a_gds_that_had_lost_its_customers_has_them_again_none_is_withdrawn_meanwhile(
    tmp_path: Path,
) -> None:
    domains = {f"h{number}.test": "pod1" for number in range(300)}
    of = gate(Snapshot(f"{EPOCH}abc", 41, (Pod("pod1", endpoints=(Endpoint("127.0.0.1", 1),)),), [*domains.items()]))
    gds = Gds(dict([*domains.items()][:100]))
    async with learning(tmp_path, gds, of, refresh=2.0, refresh_rate=2000.0, grace=0.1), asyncio.timeout(60):
        while of.hold is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        gds.pods = dict(domains, **{"h299.test": "pod2"})
        least = len(of.edge.domains)
        while of.hold is not None or of.edge.domains.get("h299.test") != "pod2":
            await asyncio.sleep(0)
            least = min(least, len(of.edge.domains))
        assert least == 300


LIVE = {f"live{number}.test": "pod1" for number in range(160)}
DEAD = {f"dead{number}.test": "pod1" for number in range(40)}


async def test_a_fifth_of_an_old_map_that_is_of_nobody_goes_without_a_hold_and_so_do_customers_later(
    tmp_path: Path,
) -> None:
    """The map was never invalidated: what it has too much is no change of GDS's."""
    gds, of = Gds(LIVE), gate()
    async with learning(tmp_path, gds, of, refresh=1.0, refresh_rate=2_000.0, grace=0.2) as learner:
        assert (await learner.preload({**LIVE, **DEAD})).taken == 200
        await followed(of, LIVE)
        assert (of.hold, dict(of.edge.domains), learner.doubtful) == (None, LIVE, False)
        assert sorted(learner.imported.left) == sorted(DEAD)
        del gds.pods["live0.test"]
        await followed(of, gds.pods)
        assert (of.hold, dict(of.edge.domains)) == (None, gds.pods)


async def test_many_of_an_old_map_that_moved_are_right_without_a_hold(tmp_path: Path) -> None:
    hosts = {f"h{number}.test": "pod1" for number in range(400)}
    now = {host: "pod2" if number % 3 == 0 else "pod1" for number, host in enumerate(hosts)}
    of = gate()
    async with learning(tmp_path, Gds(now), of, refresh=1.0, refresh_rate=2_000.0) as learner:
        await learner.preload(hosts)
        await followed(of, now)
        assert (of.hold, dict(of.edge.domains), learner.imported.moved) == (None, now, 134)


async def test_a_gds_that_has_nobody_of_a_map_takes_none_of_it(tmp_path: Path) -> None:
    hosts = {**LIVE, **DEAD}
    gds, of = Gds({}), gate()
    async with learning(tmp_path, gds, of, refresh=1.0, refresh_rate=2_000.0, grace=0.2) as learner:
        await learner.preload(hosts)
        async with asyncio.timeout(20):
            while of.hold is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (of.hold.reason, dict(of.edge.domains)) == ("empty", hosts)
        gds.pods = dict(hosts)
        async with asyncio.timeout(20):
            while of.hold is not None:
                await asyncio.sleep(0)
                assert dict(of.edge.domains) == hosts
        await followed(of, hosts)
        assert dict(of.edge.domains) == hosts


async def test_a_gds_that_loses_its_customers_during_the_first_round_of_a_map_takes_none_of_it(tmp_path: Path) -> None:
    """What it was heard to have tells that it isn't itself, so what it never said waits, too."""
    gds, of = Gds(LIVE), gate()
    async with learning(tmp_path, gds, of, refresh=1.0, refresh_rate=2_000.0, grace=0.5) as learner:
        await learner.preload({**LIVE, **DEAD})
        while len(learner.imported) > 40 or not learner.imported.missing:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        gds.pods.clear()
        async with asyncio.timeout(20):
            while of.hold is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert set(LIVE) <= set(of.edge.domains)


async def test_an_order_that_finds_an_imported_host_gone_withdraws_it_and_the_guard_counts_it_not(
    tmp_path: Path,
) -> None:
    of = gate()
    async with learning(tmp_path, Gds(LIVE), of, refresh=3600.0) as learner:
        await learner.preload({**LIVE, **DEAD})
        for host in [*LIVE][:50]:
            await learner.refresh(host)
        assert {await learner.refresh(host) for host in DEAD} == {None}
        assert (of.hold, dict(of.edge.domains)) == (None, LIVE)

"""A folder of certificates that misbehaves: emptied, unreadable, linked elsewhere, outrun; and what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

import pytest

import xds.certificates.folder
from demo.issuer import Issuer, Made, replace, write_flat
from xds.certificates.checks import Facts
from xds.certificates.folder import Folder
from xds.certificates.index import Entry, Index
from xds.certificates.layouts import Place
from xds.certificates.losses import FEW, Limits, Losses
from xds.certificates.pairs import Pairs
from xds.errors import CertificateError
from xds.resources.secrets import CertificatePair

CA = Issuer()
MADE = {name: CA.issue(name) for name in ("a.test", "b.test", "c.test")}


class Followed:
    def __init__(self, path: Path, used: Collection[str] = (), own: str = "") -> None:
        self.told: list[str] = []
        self.ahead = 0.0
        self.folder = Folder(
            path, self._changed, lambda name: name in used, own=own, clock=lambda: time.time() + self.ahead
        )

    async def _changed(self, names: Collection[str]) -> None:
        self.told += names

    async def until(self, ready: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not ready():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def covers(self, host: str) -> str:
        found = self.folder.index.covering(host)
        return found.place.name if found else ""

    def since(self, name: str) -> tuple[str, bool]:
        """When it became the one of its name, by the hour, and whether it was at the start."""
        entry = self.folder.index.get(name)
        assert entry is not None
        hours = round((entry.since - time.time()) / 3_600.0)
        return ("since the start", "since then", "since later")[hours], entry.first

    async def shows(self, name: str, made: Made) -> bool:
        pair = await self.folder.load(name)
        return pair is not None and pair.chain == made.chain


@contextlib.asynccontextmanager
async def following(path: Path, used: Collection[str] = (), own: str = "") -> AsyncIterator[Followed]:
    followed = Followed(path, used, own)
    task = asyncio.create_task(followed.folder.run())
    index = followed.folder.index
    try:
        await followed.until(
            lambda: index.complete and all(entry.checked for name in index if (entry := index.get(name)))
        )
        followed.told.clear()
        yield followed
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_folder_that_is_emptied_withdraws_nothing_until_that_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    for name, made in MADE.items():
        write_flat(folder, name, made)
    async with following(folder, used=MADE) as followed:
        for name in MADE:
            assert await followed.folder.load(name)
        folder.rename(tmp_path / "away")
        folder.mkdir()
        await followed.until(lambda: len(followed.folder.missing) == 3)
        assert followed.told == []
        for name, made in MADE.items():
            assert await followed.shows(name, made)
        write_flat(folder, "a.test", MADE["a.test"])
        await followed.until(lambda: followed.folder.missing.keys() == {"b.test", "c.test"})
        assert sorted(await followed.folder.accept_losses()) == ["b.test", "c.test"]
        assert (list(followed.folder.index), sorted(followed.told)) == (["a.test"], ["b.test", "c.test"])


async def test_one_that_is_removed_goes_at_once_and_the_services_own_never(tmp_path: Path) -> None:
    for name, made in MADE.items():
        write_flat(tmp_path, name, made)
    async with following(tmp_path, used=("c.test",), own="c.test") as followed:
        (tmp_path / "a.test.crt").unlink()
        await followed.until(lambda: followed.told == ["a.test"])
        assert followed.covers("a.test") == ""
        assert await followed.shows("c.test", MADE["c.test"])
        (tmp_path / "c.test.crt").unlink()
        await followed.until(lambda: "c.test" in followed.folder.index.aside)
        assert await followed.shows("c.test", MADE["c.test"])
        write_flat(tmp_path, "c.test", MADE["c.test"])
        await followed.until(lambda: not followed.folder.index.aside and not followed.folder.missing)


async def test_a_folder_that_cannot_be_listed_is_kept_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Path) -> list[Place]:
        raise PermissionError(13, "Permission denied")

    for name, made in MADE.items():
        write_flat(tmp_path, name, made)
    async with following(tmp_path) as followed:
        monkeypatch.setattr(xds.certificates.folder, "places", broken)
        (tmp_path / "live").mkdir()  # whatever is below may be anybody's: all is looked at
        await followed.until(lambda: "Permission denied" in followed.folder.trouble)
        assert (len(followed.folder.index), followed.told) == (3, [])


async def test_what_a_link_leads_to_elsewhere_is_followed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xds.certificates.folder, "_ROUND", 0.2)
    folder, elsewhere = tmp_path / "certs", tmp_path / "elsewhere"
    folder.mkdir()
    write_flat(elsewhere, "a", MADE["a.test"])
    for ending in ("crt", "key"):
        (folder / f"a.{ending}").symlink_to(elsewhere / f"a.{ending}")
    async with following(folder) as followed:
        renewed = CA.issue("a.test", "new.test")
        write_flat(elsewhere, "a", renewed)
        await followed.until(lambda: followed.covers("new.test") == "a")
        assert await followed.shows("a", renewed)
        assert "a" in followed.told


async def test_a_renewal_that_a_client_saw_before_the_watch_did_is_told(tmp_path: Path) -> None:
    write_flat(tmp_path, "a", MADE["a.test"])
    told: list[str] = []

    async def changed(names: Collection[str]) -> None:
        told.extend(names)

    folder = Folder(tmp_path, changed, lambda name: True)
    assert await folder.load("a")
    renewed = CA.issue("a.test")
    write_flat(tmp_path, "a", renewed)
    folder._pairs.drop("a")  # as if it was read otherwise: what an Envoy holds is the older one
    told.clear()
    assert await folder.load("a")
    assert told == ["a"]


async def test_an_expired_certificate_gives_way_to_a_valid_wildcard_and_is_set_aside(tmp_path: Path) -> None:
    write_flat(tmp_path, "exact", CA.issue("a.wild.test", days=1))
    write_flat(tmp_path, "wild", CA.issue("*.wild.test", days=90))
    async with following(tmp_path, used=("exact",)) as followed:
        assert followed.covers("a.wild.test") == "exact"
        followed.ahead = 2 * 86_400.0
        await followed.until(lambda: "exact" in followed.told)
        assert followed.covers("a.wild.test") == "wild"
        assert followed.folder.index.aside["exact"].kind == "dates"
        followed.ahead = 0.0  # the clock was wrong
        await followed.until(lambda: followed.covers("a.wild.test") == "exact")
        assert not followed.folder.index.aside


async def test_an_ocsp_response_is_withdrawn_when_its_end_comes(tmp_path: Path) -> None:
    made = CA.issue("a.test", chained=True)
    write_flat(tmp_path, "a", made, CA.staple(made.certificate, days=1))
    async with following(tmp_path, used=("a",)) as followed:
        index = followed.folder.index
        pair = await followed.folder.load("a")
        assert pair is not None
        assert pair.staple
        assert (list(index.stapled), list(index.unstapled)) == (["a"], [])
        followed.ahead = 2 * 86_400.0
        await followed.until(lambda: "a" in followed.told)
        pair = await followed.folder.load("a")
        assert pair is not None
        assert pair.staple is None
        assert (list(index.stapled), list(index.unstapled)) == ([], ["a"])


async def test_what_an_envoy_rejects_is_set_aside_and_the_pair_before_is_used(tmp_path: Path) -> None:
    write_flat(tmp_path, "a", MADE["a.test"])
    async with following(tmp_path, used=("a",)) as followed:
        folder = followed.folder
        assert await folder.load("a")
        assert followed.since("a") == ("since the start", True)
        followed.ahead = 3_600.0
        renewed = CA.issue("a.test", "new.test")
        write_flat(tmp_path, "a", renewed)
        await followed.until(lambda: followed.told == ["a"])
        assert followed.since("a") == ("since then", False)
        followed.ahead = 7_200.0
        pair = await folder.load("a")
        assert pair is not None
        folder.settled("a", pair, "no such curve")
        await followed.until(lambda: followed.told == ["a", "a"])
        assert await followed.shows("a", MADE["a.test"])
        assert followed.since("a") == ("since later", False), "the one before, but not all the time"
        assert (folder.index.aside["a"].kind, followed.covers("new.test")) == ("envoy", "")
        assert "no such curve" in folder.index.aside["a"].reason
        replace(tmp_path / "a.crt", renewed.chain)  # the same once more
        await asyncio.sleep(1.5)
        assert await followed.shows("a", MADE["a.test"])
        write_flat(tmp_path, "a", CA.issue("a.test", "third.test"))
        await followed.until(lambda: followed.covers("third.test") == "a" and not folder.index.aside)


async def test_what_another_envoy_took_is_not_set_aside(tmp_path: Path) -> None:
    write_flat(tmp_path, "a", MADE["a.test"])
    async with following(tmp_path, used=("a",)) as followed:
        pair = await followed.folder.load("a")
        assert pair is not None
        followed.folder.settled("a", pair, None)
        followed.folder.settled("a", pair, "odd Envoy")
        await asyncio.sleep(0.5)
        assert (followed.told, dict(followed.folder.index.aside)) == ([], {})


def test_a_service_certificate_that_is_half_written_at_the_start_is_waited_for(tmp_path: Path) -> None:
    made, before = CA.issue("a.test"), CA.issue("a.test")
    write_flat(tmp_path, "edge", Made(made.certificate, before.key))
    timer = threading.Timer(1.0, lambda: replace(tmp_path / "edge.key", made.private, 0o600))
    timer.start()
    try:
        pair, _ = Followed(tmp_path).folder.first("edge")
    finally:
        timer.join()
    assert pair.chain == made.chain
    os.truncate(tmp_path / "edge.key", 10)
    with pytest.raises(CertificateError, match=r"edge\.key"):
        Followed(tmp_path).folder.first("edge", patience=0.5)


def pair(name: str, content: bytes = b"") -> CertificatePair:
    return CertificatePair(name, content, b"")


ENTRY = Entry(Place("a", 0), Facts((), 0.0, 0.0, ""))


def test_a_pair_in_use_is_kept_however_many_others_are_asked_for() -> None:
    pairs = Pairs(lambda name: name == "used", beside=4)
    pairs.put("used", pair("used"), None)
    for number in range(100):
        pairs.put(str(number), pair(str(number)), None)
    assert "used" in pairs
    assert "99" in pairs
    assert len(pairs) <= 9


def test_the_pair_to_go_back_to_is_the_one_that_an_envoy_took_last() -> None:
    pairs = Pairs(lambda name: True)
    first, second, third = (pair("a", content) for content in (b"1", b"2", b"3"))
    pairs.put("a", first, None)
    pairs.put("a", second, ENTRY)
    pairs.accepted("a", second, ENTRY)
    pairs.put("a", third, ENTRY)
    assert pairs.rejects("a", third)
    assert pairs.go_back("a", "why", keep=False) is ENTRY
    assert (pairs.get("a"), pairs.rejected("a", third), pairs.rejected("a", second)) == (second, "why", "")


def test_without_one_before_the_services_own_is_kept_and_another_is_not() -> None:
    for keep in (True, False):
        pairs = Pairs(lambda name: True)
        pairs.put("a", pair("a"), None)
        assert pairs.go_back("a", "why", keep=keep) is None
        assert ("a" in pairs) == keep


@pytest.mark.parametrize(
    ("gone", "held", "may"),
    [
        (1, 1, True),
        (1, 5, True),
        (5, 5, False),
        (FEW, 50, True),
        (FEW + 1, 50, False),
        (100, 1_000, True),
        (101, 1_000, False),
    ],
)
def test_few_may_go_and_many_or_all_may_not(gone: int, held: int, may: bool) -> None:
    assert Losses(Limits()).may_go(gone, held, 0.0) == may
    assert Losses(Limits(enabled=False)).may_go(gone, held, 0.0)


def test_many_small_losses_within_the_window_are_one_large_one() -> None:
    losses = Losses(Limits(window=60.0))
    went = [losses.may_go(1, 50 - number, float(number)) for number in range(20)]
    assert went.count(True) == FEW
    assert losses.may_go(1, 40, 200.0)


def test_what_has_ended_is_said_once() -> None:
    index = Index()
    index.put(Entry(Place("a", 0), Facts(("a.test",), 0.0, 100.0, "")), 0.0)
    assert [index.ended(now) == [] for now in (99.0, 100.0, 101.0)] == [True, False, True]

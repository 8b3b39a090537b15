"""The folder's layouts, and the folder followed: what comes, changes, breaks and goes."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from demo.issuer import Issuer, write_certbot, write_flat, write_mounted
from xds.certificates.folder import Folder
from xds.certificates.layouts import place, places, touched
from xds.errors import CertificateError

CA = Issuer()
PATIENCE = 20.0


def test_every_layout_is_found_and_each_name_once(tmp_path: Path) -> None:
    write_flat(tmp_path, "flat.test", CA.issue("flat.test"))
    write_certbot(tmp_path, "bot.test", CA.issue("bot.test"))
    write_mounted(tmp_path, "mounted", CA.issue("m.test"))
    write_mounted(tmp_path, "flat.test", CA.issue("flat.test"))
    (tmp_path / "live" / "README").write_text("certbot's")
    (tmp_path / ".hidden.crt").write_text("")
    assert sorted(each.name for each in places(tmp_path)) == ["bot.test", "flat.test", "mounted"]
    for name, chain in (
        ("flat.test", "flat.test.crt"),
        ("bot.test", "live/bot.test/fullchain.pem"),
        ("mounted", "mounted/tls.crt"),
    ):
        found = place(tmp_path, name)
        assert found is not None
        assert found.files(tmp_path).chain == f"{tmp_path}/{chain}"
    assert place(tmp_path, "README") is None
    assert [each.name for each in places(tmp_path / "live")] == ["bot.test"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.test.crt", "a.test"),
        ("a.test.key", "a.test"),
        ("a.test.ocsp", "a.test"),
        (".a.test.crt.new", ""),
        ("a.test", "a.test"),
        ("live/a.test/privkey.pem", "a.test"),
        ("archive/a.test/privkey2.pem", "a.test"),
        ("secret/..data", "secret"),
        ("..data", None),
        ("live", None),
    ],
)
def test_a_change_concerns_only_whose_file_it_is(tmp_path: Path, path: str, name: str | None) -> None:
    assert touched(tmp_path, str(tmp_path / path)) == name


class Following:
    """A folder that is followed, and what was told of it."""

    def __init__(self, path: Path, used: Collection[str] = ()) -> None:
        self.told: list[str] = []
        self.ahead = 0.0
        self.folder = Folder(path, self._changed, lambda name: name in used, clock=lambda: time.time() + self.ahead)

    async def _changed(self, names: Collection[str]) -> None:
        self.told += names

    async def until(self, ready: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not ready():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def covers(self, host: str) -> str:
        found = self.folder.index.covering(host)
        return found.place.name if found else ""


@contextlib.asynccontextmanager
async def following(path: Path, used: Collection[str] = ()) -> AsyncIterator[Following]:
    followed = Following(path, used)
    task = asyncio.create_task(followed.folder.run())
    try:
        await followed.until(lambda: followed.folder.index.complete)
        yield followed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_is_there_is_known_and_all_of_it_is_checked_in_time(tmp_path: Path) -> None:
    good, bad = CA.issue("good.test"), CA.issue("bad.test")
    write_flat(tmp_path, "good", good)
    write_flat(tmp_path, "bad", bad)
    (tmp_path / "bad.key").write_bytes(good.private)
    async with following(tmp_path) as followed:
        await followed.until(lambda: followed.folder.index.aside.keys() == {"bad"})
        index = followed.folder.index
        await followed.until(lambda: all(entry.checked for name in index if (entry := index.get(name))))
        assert (followed.covers("good.test"), followed.covers("bad.test")) == ("good", "")
        assert await followed.folder.load("bad") is None
        pair = await followed.folder.load("good")
        assert pair is not None
        assert pair.chain == good.chain


async def test_what_is_set_aside_is_logged_as_it_is_found_and_not_at_the_end_of_the_look(tmp_path: Path) -> None:
    good = CA.issue("a.test")
    for number in range(100):
        write_flat(tmp_path, f"a{number:03}", good)
    (tmp_path / "a000.key").write_bytes(CA.issue("b.test").private)
    with capture_logs() as logs:
        async with following(tmp_path) as followed:
            aside, index = followed.folder.index.aside, followed.folder.index
            await followed.until(lambda: "a000" in aside)
            assert [each["certificate"] for each in logs if each["event"] == "certificate"] == ["a000"]
            await followed.until(lambda: all(entry.checked for name in index if (entry := index.get(name))))
    assert [each["certificate"] for each in logs if each["event"] == "certificate"] == ["a000"]


@pytest.mark.parametrize("write", [write_flat, write_certbot, write_mounted])
async def test_it_is_told_what_comes_changes_and_goes(tmp_path: Path, write: Callable[..., None]) -> None:
    async with following(tmp_path) as followed:
        made = CA.issue("a.test")
        write(tmp_path, "a", made)
        await followed.until(lambda: followed.covers("a.test") == "a")
        renewed = CA.issue("a.test", "b.test")
        write(tmp_path, "a", renewed, *(() if write is write_flat else (2,)))
        await followed.until(lambda: followed.covers("b.test") == "a")
        pair = await followed.folder.load("a")
        assert pair is not None
        assert pair.chain == renewed.chain
        followed.told.clear()
        _empty(tmp_path)
        await followed.until(lambda: followed.covers("a.test") == "")
        await followed.until(lambda: "a" in followed.told)


def _empty(folder: Path) -> None:
    for path in list(folder.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


async def test_a_bad_successor_is_set_aside_and_the_one_in_use_stays(tmp_path: Path) -> None:
    write_flat(tmp_path, "a", CA.issue("a.test"))
    async with following(tmp_path, used={"a"}) as followed:
        await followed.until(lambda: followed.covers("a.test") == "a")
        write_flat(tmp_path, "a", CA.issue("a.test", days=-1))
        await followed.until(lambda: "a" in followed.folder.index.aside)
        assert followed.covers("a.test") == "a"
        assert followed.folder.index.aside["a"].kind == "dates"
        write_flat(tmp_path, "a", CA.issue("a.test"))
        await followed.until(lambda: "a" not in followed.folder.index.aside)


async def test_a_certificate_whose_time_comes_is_used_then_though_no_file_changes(tmp_path: Path) -> None:
    write_flat(tmp_path, "a", CA.issue("a.test", starts=1))
    async with following(tmp_path) as followed:
        write_flat(tmp_path, "b", CA.issue("b.test", starts=1))
        await followed.until(lambda: followed.folder.index.aside.keys() == {"a", "b"})
        await asyncio.sleep(1.0)
        assert followed.folder.index.aside.keys() == {"a", "b"}
        followed.ahead = 86_400.0 + 60.0
        await followed.until(lambda: not followed.folder.index.aside)
        assert (followed.covers("a.test"), followed.covers("b.test")) == ("a", "b")
        await followed.until(lambda: {"a", "b"} <= set(followed.told))


async def test_a_folder_that_is_replaced_is_followed(tmp_path: Path) -> None:
    first, second, link = tmp_path / "1", tmp_path / "2", tmp_path / "link"
    write_flat(first, "a", CA.issue("a.test"))
    write_flat(second, "b", CA.issue("b.test"))
    link.symlink_to(first)
    async with following(link) as followed:
        await followed.until(lambda: followed.covers("a.test") == "a")
        link.unlink()
        link.symlink_to(second)
        await followed.until(lambda: followed.covers("b.test") == "b" and followed.covers("a.test") == "")


def test_the_first_one_must_be_there_and_may_be_expired(tmp_path: Path) -> None:
    folder = Following(tmp_path).folder
    with pytest.raises(CertificateError, match=r"has no edge\.crt"):
        folder.first("edge")
    write_flat(tmp_path, "edge", CA.issue("a.test", days=-1))
    pair, entry = folder.first("edge")
    assert (pair.name, entry.facts.names) == ("edge", ("a.test",))
    with pytest.raises(CertificateError, match="there is none"):
        Following(tmp_path / "none").folder.first("edge")

"""What is sent to those who watch: only what changed, rendered once for all, and the newest to the slow."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from xds.http.page.live import APART, Live, Shown


class Clockwork:
    """Renders what it is told, by a clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.looks = 0
        self.sections = {"way": "a", "pods": "b"}
        self.token = 0
        self.leaving = False
        self.live = Live(self._look, lambda: self.token, clock=lambda: self.now, sleep=self._sleep)

    def _look(self) -> Shown:
        self.looks += 1
        return Shown(self.now, dict(self.sections))

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def say(self, name: str, html: str) -> None:
        self.sections[name] = html
        self.token += 1


async def test_a_viewer_gets_everything_and_then_only_what_changed() -> None:
    work = Clockwork()
    async with aclosing(work.live.follow(lambda: False)) as messages:
        first = [(await anext(messages)).section for _ in range(3)]
        assert first == ["way", "pods", None]
        work.say("pods", "c")
        news = await anext(messages)
        assert (news.section, news.html) == ("pods", "c")
        assert work.now < 101


async def test_a_second_without_news_is_told_as_such() -> None:
    work = Clockwork()
    async with aclosing(work.live.follow(lambda: False)) as messages:
        for _ in range(3):
            await anext(messages)
        assert (await anext(messages)).section is None
        assert work.now >= 101


async def test_it_is_rendered_once_however_many_watch() -> None:
    work = Clockwork()
    viewers = [work.live.follow(lambda: False) for _ in range(10)]
    for viewer in viewers:
        await anext(viewer)
    assert work.looks == 1
    for viewer in viewers:
        await viewer.aclose()


async def test_a_burst_is_shown_as_one_and_a_slow_viewer_gets_the_newest() -> None:
    work = Clockwork()
    async with aclosing(work.live.follow(lambda: False)) as messages:
        for _ in range(3):
            await anext(messages)
        for number in range(1_000):
            work.say("way", str(number))
        before = work.looks
        assert (await anext(messages)).html == "999"
        assert work.looks == before + 1


async def test_nothing_is_rendered_while_nobody_watches() -> None:
    work = Clockwork()
    async with aclosing(work.live.follow(lambda: False)) as messages:
        await anext(messages)
    looks = work.looks
    work.say("way", "z")
    await asyncio.sleep(APART)
    assert work.looks == looks


async def test_it_ends_when_the_server_leaves() -> None:
    work = Clockwork()
    viewers = [work.live.follow(lambda: work.leaving) for _ in range(5)]
    for viewer in viewers:
        await anext(viewer)
    work.leaving = True
    for viewer in viewers:
        assert len([message async for message in viewer]) <= 2
